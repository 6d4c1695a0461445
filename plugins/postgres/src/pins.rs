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

/// Settings that version 13 does not know, and the first that does. A server refuses the first that it does not know, so
/// that with the oldest first one refusal tells all.
const NEWER: [(&str, u32); 4] = [
    ("idle_session_timeout", 14),
    ("client_connection_check_interval", 14),
    ("createrole_self_grant", 16),
    ("transaction_timeout", 17),
];

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
    let newer = |name| match name {
        "transaction_timeout" => open_max(config.statement_timeout * 3),
        // A statement whose client has gone ends within a second, instead of running on for nobody.
        "client_connection_check_interval" => "1000".to_owned(),
        "createrole_self_grant" => String::new(),
        _ => "0".to_owned(),
    };
    pins.extend(NEWER.iter().filter(|(_, since)| *since <= major).map(|(name, _)| (*name, newer(*name))));
    pins
}

/// The newest major version without the setting that a server's refusal names. It may have translated the rest of the text.
pub(crate) fn newest_without(refusal: &str) -> Option<u32> {
    NEWER.iter().find(|(name, _)| refusal.contains(name)).map(|(_, since)| since - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_setting_tells_how_old_the_server_is() {
        let text = |name| format!("unrecognized configuration parameter \"{name}\"");
        assert_eq!(newest_without(&text("idle_session_timeout")), Some(13));
        assert_eq!(newest_without(&text("createrole_self_grant")), Some(15));
        assert_eq!(newest_without("unbekannter Konfigurationsparameter »transaction_timeout«"), Some(16));
        assert_eq!(newest_without(&text("idle_in_transaction_session_timeout")), None);
    }

    #[test]
    fn the_oldest_come_first() {
        assert!(NEWER.is_sorted_by_key(|(_, since)| *since));
    }
}
