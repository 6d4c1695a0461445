//! What our sessions pin in their start-up packet.

use std::time::Duration;

use crate::config::TargetConfig;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Pieces of work, each a short transaction.
    Work,
    /// One transaction that stays open.
    Standing,
}

/// Defaults for the start-up packet, as a server of this major version knows them.
pub(crate) fn pins(config: &TargetConfig, major: u32, r#for: Use) -> Vec<(&'static str, String)> {
    let ms = |d: Duration| d.as_millis().to_string();
    let mut pins: Vec<(&'static str, String)> = [
        ("search_path", ""),
        ("default_transaction_read_only", "off"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_deferrable", "off"),
        ("role", "none"),
        ("standard_conforming_strings", "on"),
        ("transform_null_equals", "off"),
        ("quote_all_identifiers", "off"),
        ("bytea_output", "hex"),
        ("synchronous_commit", "on"),
        ("local_preload_libraries", ""),
        ("client_min_messages", "warning"),
        ("row_security", "on"),
        ("jit", "off"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    pins.push(("statement_timeout", ms(config.statement_timeout)));
    pins.push(("lock_timeout", ms(config.lock_timeout)));
    let standing = r#for == Use::Standing;
    let open_max = |t: Duration| if standing { "0".to_owned() } else { ms(t) };
    pins.push(("idle_in_transaction_session_timeout", open_max(config.statement_timeout)));
    if major >= 14 {
        pins.push(("idle_session_timeout", "0".into()));
        // A statement whose client has gone ends within a second, instead of running on for nobody.
        pins.push(("client_connection_check_interval", "1000".into()));
    }
    if major >= 16 {
        pins.push(("createrole_self_grant", String::new()));
    }
    if major >= 17 {
        pins.push(("transaction_timeout", open_max(config.statement_timeout * 3)));
    }
    pins
}
