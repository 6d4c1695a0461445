//! Any text as a configuration file, with the real plugins: reading never panics, and every error is one line with a place.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use leasehold::host::Core;
use leasehold_postgres::Postgres;
use leasehold_sdk::EngineKind;
use leasehold_token::Token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let kinds: [Box<dyn EngineKind>; 2] = [Box::new(Postgres), Box::new(Token::new(Arc::new(Core::default())))];
    if let Err(errors) = leasehold::config::parse(Path::new("/etc/leasehold.toml"), text, &kinds, "fuzz") {
        assert!(errors.iter().count() > 0);
        for error in errors.iter() {
            assert!(error.line.is_some(), "{error}");
            assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
        }
    }
});
