//! Any text as a configuration file, with the real plugins: reading never panics, and every error is one line with a place.
#![no_main]

use std::path::Path;

use leasehold_postgres::Postgres;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = leasehold::config::parse(Path::new("/etc/leasehold.toml"), text, &[&Postgres], "fuzz") {
        assert!(errors.iter().count() > 0);
        for error in errors.iter() {
            assert!(error.line.is_some(), "{error}");
            assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
        }
    }
});
