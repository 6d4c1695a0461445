//! Rules 1 to 5: SPIFFE IDs and trust domains as text.

use leasehold_identity::{IdError, SpiffeId, TrustDomain};
use proptest::prelude::*;

use crate::kit::{BILLING, id};

#[test]
fn good_ids() {
    let longest_domain = format!("spiffe://{}/x", "d".repeat(255));
    for good in [
        "spiffe://example.org",
        "spiffe://example.org/a",
        "spiffe://example.org/A.b-c_d/...",
        "spiffe://10.0.0.1/x",
        "spiffe://a_b-c.d/x",
        "spiffe://-/-",
        longest_domain.as_str(),
    ] {
        let parsed = SpiffeId::parse(good).unwrap_or_else(|e| panic!("{good}: {e}"));
        assert_eq!(parsed.to_string(), good);
        assert_eq!(parsed.trust_domain().id(parsed.path()), Ok(parsed.clone()));
    }
}

#[test]
fn bad_ids() {
    let too_long = format!("spiffe://a/{}", "x".repeat(2048 - 10));
    let long_domain = format!("spiffe://{}/x", "d".repeat(256));
    for (bad, why) in [
        ("", IdError::NotSpiffe),
        ("example.org/a", IdError::NotSpiffe),
        ("Spiffe://example.org/a", IdError::NotSpiffe),
        ("spiffe:/example.org/a", IdError::NotSpiffe),
        (" spiffe://example.org/a", IdError::NotSpiffe),
        ("spiffe://", IdError::NoTrustDomain),
        ("spiffe:///a", IdError::NoTrustDomain),
        ("spiffe://Example.org/a", IdError::TrustDomainUpperCase),
        ("spiffe://u@example.org/a", IdError::UserInfo),
        ("spiffe://example.org:1/a", IdError::Port),
        ("spiffe://[::1]/a", IdError::TrustDomainChar('[')),
        ("spiffe://ex%61mple.org/a", IdError::PercentEncoding),
        ("spiffe://ex ample/a", IdError::TrustDomainChar(' ')),
        ("spiffe://exämple/a", IdError::TrustDomainChar('ä')),
        ("spiffe://example.org/a?b", IdError::Query),
        ("spiffe://example.org?b", IdError::Query),
        ("spiffe://example.org/a#b", IdError::Fragment),
        ("spiffe://example.org/%61", IdError::PercentEncoding),
        ("spiffe://example.org/", IdError::TrailingSlash),
        ("spiffe://example.org/a/", IdError::TrailingSlash),
        ("spiffe://example.org//a", IdError::EmptySegment),
        ("spiffe://example.org/./a", IdError::DotSegment),
        ("spiffe://example.org/a/..", IdError::DotSegment),
        ("spiffe://example.org/a:b", IdError::PathChar(':')),
        ("spiffe://example.org/a b", IdError::PathChar(' ')),
        ("spiffe://example.org/\u{e9}", IdError::PathChar('\u{e9}')),
        ("spiffe://example.org/a\0", IdError::PathChar('\0')),
        ("spiffe://example.org/*", IdError::PathChar('*')),
        (too_long.as_str(), IdError::TooLong { bytes: 2049 }),
        (long_domain.as_str(), IdError::TrustDomainTooLong { bytes: 256 }),
    ] {
        assert_eq!(SpiffeId::parse(bad), Err(why), "{bad}");
    }
}

#[test]
fn ids_are_compared_whole() {
    assert_ne!(id("spiffe://example.org/ns/a"), id("spiffe://example.org/ns/ab"));
    assert_ne!(id("spiffe://example.org/ns/a"), id("spiffe://example.org/ns/A"));
    assert_ne!(TrustDomain::parse("a.b"), TrustDomain::parse("b"));
}

#[test]
fn ids_travel_as_text() {
    let text = serde_json::to_string(&id(BILLING)).expect("text");
    assert_eq!(text, format!("\"{BILLING}\""));
    assert_eq!(serde_json::from_str::<SpiffeId>(&text).expect("an ID"), id(BILLING));
    assert!(serde_json::from_str::<SpiffeId>("\"spiffe://A/b\"").is_err());
    // Escapes in JSON force an owned copy on the way.
    assert!(serde_json::from_str::<SpiffeId>("\"spiffe://a\\u002fb\"").is_ok());
}

fn keeps_all_rules(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else { return false };
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(d, p)| (d, Some(p)));
    let domain_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    let path_char = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let segment = |s: &str| !["", ".", ".."].contains(&s) && s.chars().all(path_char);
    text.len() <= 2048
        && (1..=255).contains(&domain.len())
        && domain.chars().all(domain_char)
        && path.is_none_or(|path| path.split('/').all(segment))
}

proptest! {
    #[test]
    fn any_text_is_judged_by_the_rules(text in ".{0,80}") {
        prop_assert_eq!(SpiffeId::parse(&text).is_ok(), keeps_all_rules(&text));
    }

    #[test]
    fn near_misses_are_judged_by_the_rules(rest in "[a-zA-Z0-9._/%?#@:*é-]{0,30}") {
        let text = format!("spiffe://{rest}");
        let parsed = SpiffeId::parse(&text);
        prop_assert_eq!(parsed.is_ok(), keeps_all_rules(&text));
        if let Ok(id) = parsed {
            let segments: Vec<_> = id.segments().collect();
            let again: String = segments.iter().map(|s| format!("/{s}")).collect();
            prop_assert_eq!(id.path(), again);
            prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
        }
    }
}
