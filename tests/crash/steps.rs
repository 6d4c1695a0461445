//! SIGKILL at each named step, with an admin that is a superuser and with one that is not.

use std::os::unix::process::ExitStatusExt;

use futures_util::StreamExt;
use leasehold_client::wire::RenewRequest;
use leasehold_sdk::failpoint::STEPS;
use leasehold_testkit::{Installation, PgFixture};

use crate::stage::{BILLING, Held, ROLE, Rights, SOON, Stage, find, mint};

/// How many of these stories run at once: each waits more than it works.
const AT_ONCE: usize = 6;

leasehold_testkit::each_version! {
    killed_at_each_step_with_a_superuser,
    killed_at_each_step_without_a_superuser,
}

async fn killed_at_each_step_with_a_superuser(postgres: Installation) {
    at_each_step(postgres, Rights::Superuser).await;
}

async fn killed_at_each_step_without_a_superuser(postgres: Installation) {
    at_each_step(postgres, Rights::CreateRole).await;
}

async fn at_each_step(postgres: Installation, rights: Rights) {
    let pg = PgFixture::shared(postgres).await;
    // Orders, rotations and takeovers have stories of their own.
    let kinds = ["mint.", "renew.", "revoke.", "outbox."];
    let stories = STEPS.iter().filter(|step| kinds.iter().any(|kind| step.starts_with(kind))).map(|step| {
        let pg = pg.same();
        async move {
            match step.split('.').next() {
                Some("mint") => minting(pg, rights, step).await,
                Some("renew") => renewing(pg, rights, step).await,
                _ => ending(pg, rights, step).await,
            }
        }
    });
    futures_util::stream::iter(stories).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

async fn stage(pg: PgFixture, rights: Rights) -> Stage {
    // Short, because a mint whose outcome nobody heard can only be judged once its deadline has passed.
    Stage::new(pg, rights).await.with_target("ttl = \"10m\"").limit("mint_milliseconds_max", 3000)
}

/// The broker dies in the middle of a mint.
async fn minting(pg: PgFixture, rights: Rights, step: &str) {
    let stage = stage(pg, rights).await;
    let mut first = stage.broker().await;
    let bystander = mint(&stage.client(&first, BILLING), "10m").await.expect("the bystander's mint");
    first.kill().await.expect("kill the first broker");

    let mut broker = stage.broker_that_dies_at(step).await;
    mint(&stage.client(&broker, BILLING), "4s").await.map(|_| ()).expect_err("a mint that never ends");
    assert_eq!(broker.wait_for_exit().await.expect("it dies").signal(), Some(9), "{step}");
    drop(broker);

    let broker = stage.broker().await;
    // Active but handed to nobody is what a death just before the answer leaves: it ends by its expiry.
    leasehold_testkit::wait_until(SOON, &format!("{step}: the interrupted mint to end"), || async {
        stage.leases(&broker).await.iter().all(|l| l.id == bystander.lease.id || l.is_over())
    })
    .await;
    let leases = stage.quiet(&broker).await;
    let interrupted: Vec<_> = leases.iter().filter(|l| l.id != bystander.lease.id).collect();
    let expected = match step {
        "mint.decided" => vec![],
        "mint.recorded" | "mint.made" => vec![("revoked", Some("failed"))],
        _ => vec![("revoked", Some("expiry"))],
    };
    let found: Vec<_> = interrupted.iter().map(|l| (l.state.as_str(), l.ended_by.as_deref())).collect();
    assert_eq!(found, expected, "{step}");
    still_good(&stage, &leases, &bystander).await;
    stage.assert_audit_holds(&broker).await;
}

/// The broker dies in the middle of a renewal: the lease lives, by its old end or its new one.
async fn renewing(pg: PgFixture, rights: Rights, step: &str) {
    let stage = stage(pg, rights).await;
    let mut broker = stage.broker_that_dies_at(step).await;
    let client = stage.client(&broker, BILLING);
    let held = mint(&client, "5m").await.expect("a mint");
    let mut session = stage.session(&held).await;
    let ask = RenewRequest { ttl: Some("9m".to_owned()) };
    client.renew(&held.lease.id, &ask).await.expect_err("a renewal that never ends");
    assert_eq!(broker.wait_for_exit().await.expect("it dies").signal(), Some(9), "{step}");
    drop(broker);

    let broker = stage.broker().await;
    let leases = stage.quiet(&broker).await;
    let lease = find(&leases, &held.lease.id);
    let moved = lease.expires_at > held.lease.expires_at;
    assert_eq!((lease.state.as_str(), moved), ("active", step == "renew.renewed"), "{step}");
    assert!(lease.worst_case_until.as_ref().is_some_and(|until| *until >= lease.expires_at), "{step}: {lease:?}");
    assert!(session.is_alive().await, "{step}");
    stage.session(&held).await;
    let renewed = stage.client(&broker, BILLING).renew(&held.lease.id, &ask).await.expect("a renewal");
    assert!(renewed.expires_at > held.lease.expires_at, "{step}");
    stage.client(&broker, BILLING).revoke(&held.lease.id).await.expect("a revocation");
    session.wait_until_dead(SOON).await;
    stage.quiet(&broker).await;
    stage.assert_audit_holds(&broker).await;
}

/// The broker dies in the middle of ending a lease whose account has an open session and owns a table.
async fn ending(pg: PgFixture, rights: Rights, step: &str) {
    let stage = stage(pg, rights).await;
    let mut broker = stage.broker_that_dies_at(step).await;
    let client = stage.client(&broker, BILLING);
    let bystander = mint(&client, "10m").await.expect("the bystander's mint");
    let mut alive = stage.session(&bystander).await;
    let victim = mint(&client, "10m").await.expect("the victim's mint");
    let mut session = stage.session(&victim).await;
    let table = format!("{}_ledger", stage.cluster);
    session.execute(&format!("CREATE TABLE public.{table} (id int)")).await.expect("the account makes a table");

    let _ = client.revoke(&victim.lease.id).await;
    assert_eq!(broker.wait_for_exit().await.expect("it dies").signal(), Some(9), "{step}");
    drop(broker);

    let broker = stage.broker().await;
    if step == "outbox.written" {
        // It may have been the line of the decision, before anything was ordered: whoever had no answer asks again.
        stage.client(&broker, BILLING).revoke(&victim.lease.id).await.expect("a revocation");
    }
    let leases = stage.quiet(&broker).await;
    let ended = find(&leases, &victim.lease.id);
    assert_eq!((ended.state.as_str(), ended.ended_by.as_deref()), ("revoked", Some("caller")), "{step}");
    session.wait_until_dead(SOON).await;
    stage.assert_refused(&victim).await;
    let owner = format!("SELECT tableowner::text FROM pg_catalog.pg_tables WHERE tablename = '{table}'");
    let owner = stage.pg.superuser().await.text(&owner).await.expect("look at the table");
    assert!(owner.as_deref().is_some_and(|o| o.starts_with(&format!("lh_{}", stage.cluster))), "{step}: {owner:?}");
    assert!(alive.is_alive().await, "{step}: the bystander's session");
    still_good(&stage, &leases, &bystander).await;
    stage.assert_audit_holds(&broker).await;
}

async fn still_good(stage: &Stage, leases: &[leasehold_client::wire::Lease], bystander: &Held) {
    let lease = find(leases, &bystander.lease.id);
    assert_eq!((lease.state.as_str(), lease.role.as_str()), ("active", ROLE));
    stage.session(bystander).await;
}
