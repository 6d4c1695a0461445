//! Any file content as a trust bundle: reading never panics, and what is left is usable.
#![no_main]

use leasehold_identity::TrustBundle;
use libfuzzer_sys::fuzz_target;

const NOW_UNIX_MS: i64 = 1_800_000_000_000;

fuzz_target!(|content: &[u8]| {
    if let Ok(bundle) = TrustBundle::parse(content, NOW_UNIX_MS) {
        assert_eq!(bundle.is_empty(), bundle.len() == 0);
        assert!(bundle.earliest_not_after_unix_ms().is_none_or(|end| end >= NOW_UNIX_MS));
    }
});
