//! Any bytes as a certificate, through the reader and the leaf rules of the verifier.
#![no_main]

use leasehold_identity::inspect_der;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    if let Ok(report) = inspect_der(der)
        && !report.is_ca
        && report.violations.is_empty()
    {
        let id = report.spiffe_id.expect("a leaf that breaks no rule has an ID");
        assert!(!id.path().is_empty());
    }
});
