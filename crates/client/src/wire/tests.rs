//! The JSON, member by member, against DESIGN 5.

use secrecy::ExposeSecret;
use serde_json::{Value, from_str, from_value, json, to_value};

use super::*;

fn lease() -> Value {
    json!({
        "id": "06f0r2", "role": "orders-read", "target": "orders", "identity": "spiffe://dev.local/billing",
        "state": "active", "ended_by": null, "issued_at": "2026-01-02T03:04:05.678Z",
        "expires_at": "2026-01-02T04:04:05.678Z", "max_expires_at": "2026-01-02T11:04:05.678Z",
        "rotate_at": "2026-01-02T10:59:05.678Z", "renewable": true, "revocable": "immediate",
        "worst_case_until": "2026-01-02T04:04:05.678Z", "account": "lh_dev_ab12_06f0r2",
    })
}

#[test]
fn a_lease_travels_with_these_members_and_no_others() {
    let read: Lease = from_value(lease()).unwrap();
    assert_eq!(to_value(&read).unwrap(), lease());
    assert!(!read.is_over());

    let mut revoking = lease();
    revoking["state"] = "revoking".into();
    revoking["ended_by"] = "expiry".into();
    revoking["attempts"] = 3.into();
    revoking["last_error"] = "connection refused".into();
    let read: Lease = from_value(revoking.clone()).unwrap();
    assert_eq!(to_value(&read).unwrap(), revoking);

    let page = json!({"leases": [lease()], "next_cursor": null});
    assert_eq!(to_value(from_value::<LeaseList>(page.clone()).unwrap()).unwrap(), page);
}

#[test]
fn requests_leave_out_what_was_not_said() {
    assert_eq!(to_value(MintRequest::default()).unwrap(), json!({}));
    assert_eq!(to_value(RenewRequest::default()).unwrap(), json!({}));
    assert_eq!(to_value(ReconcileRequest::default()).unwrap(), json!({}));
    assert_eq!(to_value(RevokeManyRequest::of(Selector::All)).unwrap(), json!({"all": true}));
    let full = json!({"ttl": "15m", "params": {"tenant": "7"}, "replaces": "06f0r2"});
    assert_eq!(to_value(from_value::<MintRequest>(full.clone()).unwrap()).unwrap(), full);
    let order = json!({"target": "orders", "dry_run": true, "strays": "adopt"});
    assert_eq!(to_value(from_value::<ReconcileRequest>(order.clone()).unwrap()).unwrap(), order);
}

#[test]
fn requests_refuse_what_they_do_not_know() {
    assert!(from_str::<MintRequest>(r#"{"tll": "15m"}"#).unwrap_err().to_string().contains("tll"));
    assert!(from_str::<MintRequest>(r#"{"ttl": 900}"#).is_err());
    assert!(from_str::<MintRequest>(r#"{"ttl": "1m", "ttl": "2m"}"#).is_err());
    assert!(
        from_str::<MintRequest>(r#"{"params": {"a": "1", "a": "1"}}"#).unwrap_err().to_string().contains("duplicate")
    );
    assert!(from_str::<MintRequest>(r#"{"params": null}"#).unwrap().params.is_none());
    assert!(from_str::<RenewRequest>(r#"{"x": 1}"#).is_err());
    assert!(from_str::<RevokeManyRequest>(r#"{"everything": true}"#).is_err());
    assert!(from_str::<DecisionRequest>(r#"{"action": "mint", "role": "r", "x": 1}"#).is_err());
    assert!(from_str::<ReconcileRequest>(r#"{"strays": "drop"}"#).is_err());
}

#[test]
fn answers_ignore_what_they_do_not_know() {
    let mut newer = lease();
    newer["colour"] = "green".into();
    assert!(from_value::<LeaseResponse>(json!({"lease": newer, "more": 1})).is_ok());
}

#[test]
fn a_bulk_revocation_means_exactly_one_set() {
    let read = |text: &str| from_str::<RevokeManyRequest>(text).unwrap().selector();
    assert_eq!(read(r#"{"role": "r"}"#), Ok(Selector::Role("r".into())));
    assert_eq!(read(r#"{"all": true, "expect": 3}"#), Ok(Selector::All));
    for wrong in ["{}", r#"{"all": false}"#, r#"{"role": "r", "target": "t"}"#, r#"{"role": "r", "all": false}"#] {
        assert_eq!(read(wrong), Err(SelectorError), "{wrong}");
    }
}

#[test]
fn a_problem_says_what_and_which() {
    let refused = json!({
        "type": "/problems/no-grant", "title": "No grant", "status": 403, "detail": "no grant lets …",
        "request_id": "r1", "decision_id": "d1",
    });
    assert_eq!(to_value(from_value::<Problem>(refused.clone()).unwrap()).unwrap(), refused);
    let limited = json!({
        "type": "/problems/limit", "title": "Limit", "status": 429, "detail": "…", "request_id": "r2",
        "limit": "mints_per_minute_per_identity_and_role", "retry_after": 20,
    });
    assert_eq!(to_value(from_value::<Problem>(limited.clone()).unwrap()).unwrap(), limited);
}

const DATABASE: &str = r#"{"kind": "database", "username": "lh_dev_ab12_06f0r2", "password": "s3cr\u0065t-canary", "host": "db",
    "port": 5432, "database": "orders", "url": "postgres://lh:s3cret-canary@db:5432/orders", "new": [1]}"#;

#[test]
fn a_credential_is_read_and_never_shown() {
    let text = format!(r#"{{"lease": {}, "credential": {DATABASE}}}"#, lease());
    let answer: MintResponse = from_str(&text).unwrap();
    assert!(!format!("{answer:?}").contains("canary"));
    assert_eq!(answer.credential.kind(), "database");
    let Credential::Database(login) = answer.credential else { panic!("another kind") };
    assert_eq!(login.password.expose_secret(), "s3cret-canary");
    assert_eq!(login.url.expose_secret(), "postgres://lh:s3cret-canary@db:5432/orders");
    assert_eq!((login.host.as_str(), login.port, login.database.as_str()), ("db", 5432, "orders"));
}

#[test]
fn a_credential_of_another_kind_or_with_holes_is_an_error() {
    let wrong = |text: &str| from_str::<Credential>(text).unwrap_err().to_string();
    assert!(wrong(r#"{"kind": "gcp", "access_token": "x"}"#).contains("\"gcp\""));
    assert!(wrong(r#"{"kind": "aws", "access_key_id": "x"}"#).contains("without secret_access_key"));
    assert!(wrong(r#"{"kind": "database", "username": "u"}"#).contains("without password"));
    assert!(from_str::<Credential>(r#"{"kind": "database", "password": 7}"#).is_err());
    assert!(from_str::<Credential>("{}").is_err());
}
