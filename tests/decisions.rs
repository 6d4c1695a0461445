//! Grants: what they allow, what is said when they do not, and which of them are refused at start.

use leasehold_client::wire::{DecisionRequest, DecisionResponse, MintRequest};
use leasehold_testkit::ConfigFile;
use secrecy::ExposeSecret;

use crate::rig::{AUDITOR, BILLING, Ground, OPERATOR, READ, Rig, STRANGER, TENANT, TENANTS, mint};

async fn decide(
    rig: &Rig,
    asker: &str,
    about: Option<&str>,
    action: &str,
    role: &str,
    tenant: Option<&str>,
) -> DecisionResponse {
    let client = rig.client(asker);
    let ask = DecisionRequest {
        identity: about.map(|path| format!("spiffe://dev.local{path}")),
        action: action.to_owned(),
        role: role.to_owned(),
        params: tenant.map(|value| [("tenant".to_owned(), value.to_owned())].into()),
        subject: None,
    };
    let decided = client.decide(&ask).await.expect("a decision");
    client.close().await;
    decided
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_says_by_which_grant_or_what_is_missing() {
    let rig = Rig::new().await;
    let allowed = decide(&rig, BILLING, None, "mint", READ, None).await;
    assert_eq!((allowed.allowed, allowed.grant.as_deref(), allowed.reason), (true, Some("billing reads"), None));
    for (who, action, role, why) in [
        (BILLING, "mint", TENANT, "no grant lets this identity mint on role \"orders-tenant\""),
        (BILLING, "mint", "nowhere", "no grant lets this identity mint on role \"nowhere\""),
        (BILLING, "read", READ, "no grant lets this identity read"),
        (STRANGER, "admin", READ, "no grant lets this identity admin"),
        (AUDITOR, "revoke", READ, "no grant lets this identity revoke"),
        (OPERATOR, "mint", READ, "no grant lets this identity mint"),
        (OPERATOR, "exchange", READ, "no grant lets this identity exchange"),
    ] {
        let denied = decide(&rig, who, None, action, role, None).await;
        assert!(!denied.allowed && denied.grant.is_none(), "{who} {action}: {denied:?}");
        assert!(denied.reason.as_deref().is_some_and(|said| said.contains(why)), "{who} {action}: {denied:?}");
    }
    let looks = decide(&rig, AUDITOR, None, "read", READ, None).await;
    assert_eq!(looks.grant.as_deref(), Some("auditors look"));
    // The id leads to a line that says who asked about whom, and what was answered.
    let asked = decide(&rig, AUDITOR, Some(STRANGER), "mint", READ, None).await;
    for (answer, about, action, allowed) in [(looks, AUDITOR, "read", true), (asked, STRANGER, "mint", false)] {
        let line = rig.audit().into_iter().find(|line| line["decision_id"] == answer.decision_id.as_str());
        let line = line.unwrap_or_else(|| panic!("not on record: {answer:?}"));
        assert_eq!(
            (&line["event"], &line["action"], &line["allowed"]),
            (&"question".into(), &action.into(), &allowed.into())
        );
        assert!(line["identity"].as_str().is_some_and(|id| id.ends_with(AUDITOR)), "{line}");
        assert!(line["about"].as_str().is_some_and(|id| id.ends_with(about)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_asked_about_with_a_read_grant_only() {
    let rig = Rig::new().await;
    for asker in [AUDITOR, OPERATOR] {
        let about = decide(&rig, asker, Some(BILLING), "mint", READ, None).await;
        assert_eq!(about.grant.as_deref(), Some("billing reads"));
        let about = decide(&rig, asker, Some(STRANGER), "mint", READ, None).await;
        assert!(!about.allowed);
    }
    let body = r#"{"identity":"spiffe://dev.local/billing","action":"mint","role":"orders-read"}"#;
    rig.ask(STRANGER, "POST", "/v1/decisions", Some(body)).await.problem(403);
    rig.ask(TENANTS, "POST", "/v1/decisions", Some(body)).await.problem(403);
    // About oneself by name is about oneself.
    assert!(decide(&rig, BILLING, Some(BILLING), "mint", READ, None).await.allowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn params_are_narrowed_by_the_grant_and_reach_the_login() {
    let rig = Rig::new().await;
    for (tenant, allowed, why) in [
        (Some("41"), true, ""),
        (Some("50"), false, "must have the form \"4[0-9]\""),
        (Some("4x"), false, "must have the form \"[0-9]{1,9}\""),
        (None, false, "param \"tenant\" is missing"),
    ] {
        let decided = decide(&rig, TENANTS, None, "mint", TENANT, tenant).await;
        assert_eq!(decided.allowed, allowed, "{decided:?}");
        assert!(decided.reason.unwrap_or_default().contains(why), "{tenant:?}");
    }
    let client = rig.client(TENANTS);
    let ask = MintRequest { params: Some([("tenant".to_owned(), "42".to_owned())].into()), ..MintRequest::default() };
    let (lease, login) = mint(&client, TENANT, &ask).await.expect("a mint");
    let mut session = rig.ground.pg.session(&login.username, login.password.expose_secret()).await;
    assert_eq!(session.text("SHOW app.tenant").await.expect("the setting").as_deref(), Some("42"));
    // The params are part of the lease: a renewal is decided by them.
    client.renew(&lease.id, &Default::default()).await.expect("a renewal");
    let narrower = rig.config.text().replace("4[0-9]", "4[3-9]");
    std::fs::write(rig.config.dir().join("leasehold.toml"), narrower).expect("write");
    rig.broker.reload().expect("reload");
    leasehold_testkit::wait_until(crate::rig::SOON, "the renewal to be refused", || async {
        client.renew(&lease.id, &Default::default()).await.is_err_and(|e| e.status() == Some(403))
    })
    .await;
    client.revoke(&lease.id).await.expect("one's own lease can always be revoked");
    client.close().await;
}

/// The last line of `text` that has `part`, counted from 1.
fn line_of(text: &str, part: &str) -> usize {
    let lines: Vec<_> = text.lines().collect();
    lines.iter().rposition(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part} in {text}")) + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn over_broad_grants_are_refused_with_their_line() {
    let ground = Ground::new().await;
    let with = |identity: &str, roles: &str, action: &str| -> ConfigFile {
        ground.config().grant("wide", &[identity], &[roles], &[action])
    };
    for (config, part, why) in [
        (with("spiffe://*/billing", READ, "mint"), "spiffe://*/billing", "over-broad"),
        (with("spiffe://dev.local/**", READ, "mint"), "spiffe://dev.local/**", "over-broad"),
        (with("spiffe://dev.local/*", READ, "mint"), "spiffe://dev.local/*", "over-broad"),
        (with("spiffe://dev.local/*/*", READ, "read"), "spiffe://dev.local/*/*", "over-broad"),
        (with("spiffe://dev.local/ns/bill*", READ, "mint"), "bill*", "over-broad"),
        (with("*", READ, "mint"), "identities = [\"*\"]", "not a SPIFFE ID"),
        (with("spiffe://other.example/x", READ, "mint"), "other.example", "identity.bundles"),
        (with("spiffe://dev.local/x", "*", "mint"), "roles = [\"*\"]", "over-broad"),
        (with("spiffe://dev.local/x", "nowhere", "mint"), "nowhere", "unknown role"),
        (with("spiffe://dev.local/x", READ, "own"), "\"own\"", "must be one of"),
    ] {
        let said = ground.refused(&config).await;
        let place = format!("{}/leasehold.toml:{}: grants", ground.dir().display(), line_of(&config.text(), part));
        assert!(said.lines().any(|line| line.starts_with(&place)), "{place}: {said}");
        assert!(said.contains(why), "{part}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_of_another_zone_are_refused() {
    let ground = Ground::new().await;
    let in_zone = |broker: &str, target: &str| {
        let config = if broker.is_empty() { ground.config() } else { ground.config().broker(broker) };
        config.postgres("vault", &ground.admin.url, &ground.admin.password, target)
    };
    let other = in_zone("zones = [\"public\"]", "zone = \"restricted\"");
    let said = ground.refused(&other).await;
    let line = line_of(&other.text(), "zone = \"restricted\"");
    assert!(said.contains(&format!("leasehold.toml:{line}: targets.vault.zone")), "{said}");
    assert!(said.contains("restricted") && said.contains("public"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_listed_for_whom_they_are() {
    let rig = Rig::new().await;
    for (who, roles) in [(BILLING, vec![READ]), (TENANTS, vec![TENANT]), (OPERATOR, vec![]), (STRANGER, vec![])] {
        let client = rig.client(who);
        let listed = client.roles().await.expect("a list").roles;
        client.close().await;
        assert_eq!(listed.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(), roles, "{who}");
        for role in listed {
            assert_eq!((role.target.as_str(), role.kind.as_str()), ("orders", "database"));
            assert_eq!((role.ttl.as_str(), role.max_ttl.as_str()), ("10m", "1h"));
        }
    }
}
