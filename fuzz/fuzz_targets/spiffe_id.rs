//! Any text: parsing never panics, and an accepted ID is made of its parts.
#![no_main]

use leasehold_identity::SpiffeId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(id) = SpiffeId::parse(text) {
        assert_eq!(id.as_str(), text);
        let path: String = id.segments().map(|segment| format!("/{segment}")).collect();
        assert_eq!(format!("spiffe://{}{path}", id.trust_domain()), text);
        assert!(id.segments().all(|segment| !["", ".", ".."].contains(&segment)));
        assert!(text.is_ascii() && text.len() <= 2048 && !text.ends_with('/'));
    }
});
