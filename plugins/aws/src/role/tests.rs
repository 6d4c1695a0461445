//! Each key of a role, right and wrong.

use serde_json::{Value, json};

use super::*;

const ROLE: &str = "arn:aws:iam::123456789012:role/invoices";
const OWN: &str = "arn:aws:iam::123456789012:role/leasehold";

fn object(value: Value) -> Settings {
    let Value::Object(map) = value else { unreachable!() };
    map
}

fn target(more: Value) -> TargetConfig {
    let mut settings = object(json!({ "region": "eu-central-1", "auth": "environment" }));
    settings.extend(object(more));
    TargetConfig::read(settings).unwrap()
}

/// A role of this account, whose credentials live so many seconds.
fn read(account: &TargetConfig, settings: Value, ttl: u64, max_ttl: u64) -> Result<RoleConfig, SettingError> {
    let (ttl, max_ttl) = (Duration::from_secs(ttl), Duration::from_secs(max_ttl));
    let context = RoleContext { role: "invoices".into(), params: Vec::new(), ttl, max_ttl };
    RoleConfig::read(&context, object(settings), account, Path::new("/nowhere"))
}

fn wrong(account: &TargetConfig, settings: Value) -> (String, String) {
    match read(account, settings.clone(), 3600, 3600) {
        Err(e) => (e.key, e.why),
        Ok(_) => panic!("{settings} is taken"),
    }
}

#[test]
fn each_key_is_checked() {
    let account = target(json!({}));
    let many = |n: usize| (0..n).map(|n| format!("arn:aws:iam::aws:policy/{n}")).collect::<Vec<_>>();
    let tags = |n: usize| (0..n).map(|n| (format!("t{n}"), "x")).collect::<BTreeMap<_, _>>();
    let long = format!("arn:aws:iam::aws:policy/{}", "a".repeat(2048 - 24));
    for (settings, key) in [
        (json!({}), "role_arn"),
        (json!({ "role_arn": "invoices" }), "role_arn"),
        (json!({ "role_arn": "arn:aws:iam::123456789012:user/invoices" }), "role_arn"),
        (json!({ "method": "root" }), "method"),
        (json!({ "role_arn": ROLE, "external_id": "x" }), "external_id"),
        (json!({ "role_arn": ROLE, "external_id": "ten ant" }), "external_id"),
        (json!({ "role_arn": ROLE, "revocation": "maybe" }), "revocation"),
        (json!({ "role_arn": ROLE, "source_identity": "yes" }), "source_identity"),
        (json!({ "role_arn": ROLE, "session_policy": "{}" }), "session_policy"),
        (json!({ "role_arn": ROLE, "session_policy": { "file": "not-there.json" } }), "session_policy.file"),
        (json!({ "role_arn": ROLE, "user_policy": { "file": "x" } }), "user_policy"),
        (json!({ "role_arn": ROLE, "groups": ["x"] }), "groups"),
        (json!({ "role_arn": ROLE, "policy_arns": ["ReadOnlyAccess"] }), "policy_arns"),
        (json!({ "role_arn": ROLE, "policy_arns": many(11) }), "policy_arns"),
        (json!({ "role_arn": ROLE, "policy_arns": [long, "arn:aws:iam::aws:policy/x"] }), "policy_arns"),
        (json!({ "role_arn": ROLE, "tags": tags(41) }), "tags"),
        (json!({ "role_arn": ROLE, "tags": { "aws:x": "y" } }), "tags"),
        (json!({ "role_arn": ROLE, "tags": { "Leasehold:identity": "y" } }), "tags"),
        (json!({ "role_arn": ROLE, "tags": { "": "y" } }), "tags"),
        (json!({ "role_arn": ROLE, "tags": { "x": "a".repeat(257) } }), "tags"),
        (json!({ "role_arn": ROLE, "tags": { "x": "a\nb" } }), "tags"),
        (json!({ "method": "iam_user", "role_arn": ROLE }), "role_arn"),
        (json!({ "method": "iam_user", "revocation": "deny" }), "revocation"),
        (json!({ "method": "iam_user", "session_policy": { "file": "x" } }), "session_policy"),
        (json!({ "method": "iam_user", "user_policy": { "file": "not-there.json" } }), "user_policy.file"),
        (json!({ "method": "iam_user", "groups": ["a/b"] }), "groups"),
        (json!({ "method": "iam_user", "permissions_boundary": ROLE }), "permissions_boundary"),
        (json!({ "method": "federation_token" }), "session_policy"),
        (json!({ "method": "federation_token", "external_id": "xx" }), "external_id"),
        (json!({ "method": "session_token" }), "allow_dangerous"),
        (json!({ "method": "session_token", "allow_dangerous": ["superuser"] }), "allow_dangerous"),
        (json!({ "method": "session_token", "allow_dangerous": ["own_rights"], "tags": { "a": "b" } }), "method"),
    ] {
        let (said, why) = wrong(&account, settings.clone());
        assert_eq!(said, key, "{settings}: {why}");
    }
}

#[test]
fn what_is_right_is_taken() {
    let account = target(json!({}));
    let of = |settings: Value| read(&account, settings, 3600, 3600).unwrap();
    let full = json!({
        "role_arn": ROLE, "external_id": "tenant-7", "revocation": "deny", "source_identity": false,
        "policy_arns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"], "tags": { "Team Ä": "billing @ home" },
    });
    let config = of(full);
    let kept = RoleConfig::from_settings(&config.clone().into_settings()).unwrap();
    assert_eq!(kept, config);
    assert!(matches!(config.method, Method::AssumeRole { revocation: Revocation::Deny, source_identity: false, .. }));
    let Method::AssumeRole { revocation, source_identity, .. } = of(json!({ "role_arn": ROLE })).method else {
        unreachable!()
    };
    assert_eq!((revocation, source_identity), (Revocation::None, true), "what edits a role's policies is asked for");
    of(
        json!({ "method": "iam_user", "groups": ["readers"], "permissions_boundary": "arn:aws:iam::123456789012:policy/x" }),
    );
    of(json!({ "method": "federation_token", "policy_arns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"] }));
    of(json!({ "method": "session_token", "allow_dangerous": ["own_rights"] }));
}

#[test]
fn a_method_needs_a_login_that_it_is_for() {
    let none = target(json!({ "auth": "web_identity" }));
    let role = target(json!({ "auth": "web_identity", "role_arn": OWN }));
    assert_eq!(wrong(&none, json!({ "role_arn": ROLE, "revocation": "deny" })).0, "method");
    assert_eq!(wrong(&none, json!({ "method": "iam_user" })).0, "method");
    assert_eq!(wrong(&none, json!({ "role_arn": ROLE, "external_id": "tenant-7" })).0, "external_id");
    read(&role, json!({ "role_arn": ROLE, "revocation": "deny", "external_id": "tenant-7" }), 3600, 3600).unwrap();
    for settings in [
        json!({ "method": "federation_token", "policy_arns": ["arn:aws:iam::aws:policy/x"] }),
        json!({ "method": "session_token", "allow_dangerous": ["own_rights"] }),
    ] {
        assert_eq!(wrong(&role, settings).0, "method");
    }
}

#[test]
fn lives_are_those_that_aws_gives() {
    let (own, role) = (target(json!({})), target(json!({ "auth": "web_identity", "role_arn": OWN })));
    let none = target(json!({ "auth": "web_identity" }));
    let assume = || json!({ "role_arn": ROLE });
    let federate = || json!({ "method": "federation_token", "policy_arns": ["arn:aws:iam::aws:policy/x"] });
    for (account, settings, ttl, max_ttl, key) in [
        (&own, assume(), 899, 3600, Some("ttl")),
        (&own, assume(), 900, 12 * 3600, None),
        (&own, assume(), 900, 12 * 3600 + 1, Some("max_ttl")),
        (&own, assume(), 13 * 3600, 13 * 3600, Some("ttl")),
        (&none, assume(), 900, 12 * 3600, None),
        (&role, assume(), 900, 3600, None),
        (&role, assume(), 900, 3601, Some("max_ttl")),
        (&own, federate(), 900, 36 * 3600, None),
        (&own, federate(), 900, 36 * 3600 + 1, Some("max_ttl")),
        (&role, json!({ "method": "iam_user" }), 60, 90 * 24 * 3600, None),
    ] {
        let said = read(account, settings.clone(), ttl, max_ttl).err().map(|e| e.key);
        assert_eq!(said.as_deref(), key, "{settings} for {ttl} to {max_ttl} s");
    }
}
