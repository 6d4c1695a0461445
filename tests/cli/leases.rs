//! `lease list|show|renew|revoke`, also of very many.

use std::sync::Arc;

use leasehold_testkit::wait_until;
use serde_json::{Value, json as object};

use super::{failed, json, printed, said};
use crate::rig::{AUDITOR, BILLING, OPERATOR, READ, Rig, SOON, STRANGER, TENANT, TENANTS, for_ttl, mint};

async fn api(rig: &Rig, who: &str, uri: &str) -> Value {
    rig.ask(who, "GET", uri, None).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_the_apis_own() {
    let rig = Rig::new().await;
    let id =
        json(&rig.run(BILLING, &["get", READ, "--format", "json"]).await)["lease_id"].as_str().expect("id").to_owned();
    rig.run(TENANTS, &["get", TENANT, "--param", "tenant=40"]).await;
    let cases: [(&str, &[&str], String); 6] = [
        (BILLING, &["lease", "show", &id], format!("/v1/leases/{id}")),
        (AUDITOR, &["lease", "list"], "/v1/leases".into()),
        (
            AUDITOR,
            &["lease", "list", "--role", READ, "--state", "active"],
            format!("/v1/leases?role={READ}&state=active"),
        ),
        (
            AUDITOR,
            &["lease", "list", "--identity", "spiffe://dev.local/tenants"],
            "/v1/leases?identity=spiffe://dev.local/tenants".into(),
        ),
        (AUDITOR, &["lease", "list", "--target", "nowhere"], "/v1/leases?target=nowhere".into()),
        (BILLING, &["role", "list"], "/v1/roles".into()),
    ];
    for (who, arguments, uri) in cases {
        let by_cli = json(&rig.run(who, &[arguments, &["--output", "json"]].concat()).await);
        assert_eq!(by_cli, api(&rig, who, &uri).await, "{arguments:?}");
        assert!(!printed(&rig.run(who, arguments).await).is_empty(), "{arguments:?}");
    }
    let before = api(&rig, BILLING, &format!("/v1/leases/{id}")).await;
    let renewed = json(&rig.run(BILLING, &["lease", "renew", &id, "--ttl", "30m", "--output", "json"]).await);
    assert!(renewed["lease"]["expires_at"].as_str() > before["lease"]["expires_at"].as_str());
    assert_eq!(renewed, api(&rig, BILLING, &format!("/v1/leases/{id}")).await);
    let ended = json(&rig.run(BILLING, &["lease", "revoke", &id, "--wait", "--output", "json"]).await);
    assert_eq!(ended["lease"]["state"], "revoked");
    assert_eq!(ended, api(&rig, BILLING, &format!("/v1/leases/{id}")).await);
    assert!(failed(&rig.run(BILLING, &["lease", "renew", &id]).await, 1).contains("revoked"));
    // Ending what has ended is done.
    printed(&rig.run(BILLING, &["lease", "revoke", &id]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_lease_it_is_decides_who_sees_and_ends_it() {
    let rig = Rig::new().await;
    let client = rig.client(BILLING);
    let (lease, _) = mint(&client, READ, &for_ttl("10m")).await.expect("a mint");
    client.close().await;
    for who in [STRANGER, TENANTS] {
        for command in ["show", "renew", "revoke"] {
            failed(&rig.run(who, &["lease", command, &lease.id]).await, 1);
        }
        let listed = json(&rig.run(who, &["lease", "list", "--output", "json"]).await);
        assert_eq!(listed, object!({"leases": [], "next_cursor": null}));
    }
    assert!(printed(&rig.run(AUDITOR, &["lease", "show", &lease.id]).await).contains(&lease.account));
    failed(&rig.run(AUDITOR, &["lease", "revoke", &lease.id]).await, 1);
    failed(&rig.run(AUDITOR, &["lease", "renew", &lease.id]).await, 1);
    failed(&rig.run(OPERATOR, &["lease", "renew", &lease.id]).await, 1);
    assert_eq!(rig.lease(&lease.id).await.state, "active");
    // A replica with a certificate of its own for the same SPIFFE ID may do what the first may; an operator may end it.
    assert!(printed(&rig.run(BILLING, &["lease", "renew", &lease.id]).await).contains("active"));
    printed(&rig.run(OPERATOR, &["lease", "revoke", &lease.id, "--wait"]).await);
    let after = rig.lease(&lease.id).await;
    assert_eq!((after.state.as_str(), after.ended_by.as_deref()), ("revoked", Some("operator")));
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_are_listed_to_the_end_and_ended_in_one_order() {
    let rig = Rig::with(|c| {
        c.limit("live_leases_per_identity_and_role", 5000).limit("mints_per_minute_per_identity_and_role", 100_000)
    })
    .await;
    const MANY: usize = 1010;
    let client = Arc::new(rig.client(BILLING));
    let workers = (0..8).map(|worker| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..MANY / 8 + usize::from(worker < MANY % 8) {
                mint(&client, READ, &for_ttl("1h")).await.expect("a mint");
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("its mints");
    }
    let listed = json(&rig.run(AUDITOR, &["lease", "list", "--output", "json"]).await);
    let ids: Vec<_> =
        listed["leases"].as_array().expect("a list").iter().map(|l| l["id"].as_str().expect("an id")).collect();
    assert_eq!((ids.len(), &listed["next_cursor"]), (MANY, &Value::Null));
    assert!(ids.is_sorted_by(|a, b| a > b), "newest first, none twice");

    // So many are not ended by a slip of the pen.
    let all = &["lease", "revoke", "--role", READ];
    let counted = json(&rig.run(OPERATOR, &[&all[..], &["--dry-run", "--output", "json"]].concat()).await);
    assert_eq!(counted, object!({"matched": MANY}));
    assert!(failed(&rig.run(OPERATOR, all).await, 2).contains("--yes"));
    let order = |expect: &str| format!("{{\"role\":\"{READ}\"{expect}}}");
    for expect in ["", ",\"expect\":7"] {
        let answer = rig.ask(OPERATOR, "POST", "/v1/leases/revoke", Some(&order(expect))).await;
        assert!(answer.problem(409)["detail"].as_str().is_some_and(|d| d.contains("1010")));
    }
    failed(&rig.run(BILLING, &[&all[..], &["--yes"]].concat()).await, 1);
    assert_eq!(rig.accounts().await.len(), MANY);
    let other = [&all[..], &["--yes", "--expect", "7"]].concat();
    assert!(failed(&rig.run(OPERATOR, &other).await, 1).contains("7 were expected"));
    assert_eq!(rig.accounts().await.len(), MANY);
    let waited = rig.run(OPERATOR, &[&all[..], &["--yes", "--wait", "--output", "json"]].concat()).await;
    let ended = json(&waited);
    assert_eq!(ended["matched"], MANY);
    assert!(said(&waited).contains("all 1010 leases are dead"), "{}", said(&waited));
    assert!(ended["order"].as_str().is_some_and(|order| order.starts_with("o-")), "{ended}");
    assert!(rig.accounts().await.is_empty());
    let order = format!("/v1/leases/revoke/{}", ended["order"].as_str().expect("an id"));
    let progress = rig.ask(OPERATOR, "GET", &order, None).await.json();
    assert_eq!((&progress["ordered"], &progress["left"]), (&Value::from(MANY), &Value::from(0)));
    assert!(progress["finished_at"].is_string(), "{progress}");
    // Whoever may see the leases may look at what ends them; nobody else learns that there is such an order.
    assert_eq!(rig.ask(AUDITOR, "GET", &order, None).await.status, 200);
    rig.ask(BILLING, "GET", &order, None).await.problem(404);
    // Kept in the store before anything was ended, and written from there.
    let on_record = async || {
        rig.audit().into_iter().any(|l| l["detail"]["order"] == ended["order"] && l["detail"]["matched"] == MANY)
    };
    wait_until(SOON, "the order to be on record", on_record).await;
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_at_once_and_each_set() {
    let rig = Rig::new().await;
    let client = rig.client(BILLING);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(mint(&client, READ, &for_ttl("10m")).await.expect("a mint").0.id);
    }
    client.close().await;
    let two = rig.run(BILLING, &["lease", "revoke", &ids[0], &ids[1], "--output", "json"]).await;
    assert_eq!(json(&two)["leases"].as_array().map(Vec::len), Some(2));
    // One that is wrong does not keep the others alive.
    let mixed = rig.run(BILLING, &["lease", "revoke", "06f0c00000000000000000000g", &ids[2]]).await;
    assert!(failed(&mixed, 1).contains("06f0c00000000000000000000g"));
    wait_until(SOON, "three to be dead", || async { rig.accounts().await.len() == 1 }).await;
    for (set, matched) in [
        (&["--identity", "spiffe://dev.local/tenants"][..], 0),
        (&["--target", "nowhere"], 0),
        (&["--identity", "spiffe://dev.local/billing"], 1),
        (&["--target", "orders"], 1),
        (&["--all"], 1),
    ] {
        let counted =
            json(&rig.run(OPERATOR, &[&["lease", "revoke", "--dry-run", "--output", "json"], set].concat()).await);
        assert_eq!(counted["matched"], matched, "{set:?}");
    }
    printed(&rig.run(OPERATOR, &["lease", "revoke", "--all", "--yes", "--wait"]).await);
    assert!(rig.accounts().await.is_empty());
    for wrong in [&["--all", "--role", READ][..], &[], &[&ids[3], "--all"]] {
        failed(&rig.run(OPERATOR, &[&["lease", "revoke"], wrong].concat()).await, 2);
    }
}
