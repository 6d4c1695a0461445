//! A credential that reaches nobody is ended at once (law 1), and a client that hangs up leaves no mint half-way.

use std::process::Stdio;
use std::time::Duration;

use leasehold_testkit::{Broker, PgFixture, Proxy, wait_until};

use crate::stage::{BILLING, Line, ROLE, Rights, SOON, Stage, end, mint, request};

/// A warm broker that reaches its database through a proxy, so that a mint can be held in the middle.
async fn behind_proxy() -> (Stage, Proxy, Broker) {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let proxy = Proxy::start(pg.server().port()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await;
    let url = format!("postgres://{}@{}/{}", stage.admin.name, proxy.address(), stage.pg.database());
    let stage = stage.with_target_at(&url, "", "ttl = \"10m\"");
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let warm = mint(&client, "10m").await.expect("the first mint");
    client.revoke(&warm.lease.id).await.expect("end it");
    (stage, proxy, broker)
}

fn create(stage: &Stage) -> String {
    format!("CREATE ROLE \"lh_{}_", stage.cluster)
}

/// Sends a request for a credential, and does not wait for the answer.
async fn ask(line: &mut Line) {
    line.send(request("POST", &format!("/v1/credentials/{ROLE}"), None)).await.expect("send the request");
}

/// Waits until the newest lease has ended because its credential could not be delivered; no account is left.
async fn ends_undelivered(stage: &Stage, broker: &Broker) {
    wait_until(SOON, "the undelivered lease to end", || async {
        stage.leases(broker).await.first().is_some_and(|lease| end(lease) == ("revoked", Some("failed")))
    })
    .await;
    assert!(stage.accounts().await.is_empty());
    assert_eq!(stage.leases(broker).await.len(), 2, "the warm one and this one");
    stage.assert_audit_holds(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_before_the_answer() {
    let (stage, proxy, broker) = behind_proxy().await;
    let mut line = stage.line(&broker, BILLING).await;
    proxy.hold(&create(&stage));
    ask(&mut line).await;
    proxy.wait_caught(1, SOON).await;
    drop(line);
    proxy.mend();
    ends_undelivered(&stage, &broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_before_the_answer() {
    let (stage, proxy, broker) = behind_proxy().await;
    let mut line = stage.line(&broker, BILLING).await;
    proxy.hold(&create(&stage));
    ask(&mut line).await;
    proxy.wait_caught(1, SOON).await;
    line.close().await;
    proxy.mend();
    ends_undelivered(&stage, &broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_with_the_answer_unread() {
    let (stage, _proxy, broker) = behind_proxy().await;
    let mut line = stage.line(&broker, BILLING).await;
    ask(&mut line).await;
    wait_until(SOON, "the mint to be answered", || async {
        stage.leases(&broker).await.first().is_some_and(|lease| lease.state == "active")
    })
    .await;
    drop(line);
    ends_undelivered(&stage, &broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_and_closes_keeps_its_credential() {
    let (stage, _proxy, broker) = behind_proxy().await;
    let mut line = stage.line(&broker, BILLING).await;
    ask(&mut line).await;
    let answer = line.read_until("\"password\"").await;
    assert!(answer.starts_with("HTTP/1.1 201"), "it was refused");
    line.close().await;
    // A connection that has ended is told at once; a later request shows that the broker has been round since.
    let client = stage.client(&broker, BILLING);
    for _ in 0..3 {
        mint(&client, "10m").await.expect("another mint");
    }
    let leases = stage.quiet(&broker).await;
    assert_eq!(leases.iter().filter(|lease| lease.state == "active").count(), 4, "{leases:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_killed_in_the_middle() {
    let (stage, proxy, broker) = behind_proxy().await;
    proxy.hold(&create(&stage));
    let mut command = broker.command(&stage.svid(BILLING));
    let mut child = command.args(["get", ROLE]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start it");
    proxy.wait_caught(1, SOON).await;
    child.kill().await.expect("kill it");
    tokio::time::timeout(Duration::from_secs(10), child.wait()).await.expect("it is gone").expect("its status");
    proxy.mend();
    ends_undelivered(&stage, &broker).await;
}
