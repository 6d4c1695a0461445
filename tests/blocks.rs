//! A blocked identity gets nothing any more: on every broker, on kept connections too.

use leasehold_client::wire::{BlockRequest, RenewRequest};
use leasehold_client::{Client, ClientError};
use leasehold_testkit::{Installation, PgFixture, wait_until};

use crate::ground;
use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage, mint};

leasehold_testkit::each_version! { a_block_holds_at_once_and_everywhere }

fn billing() -> BlockRequest {
    BlockRequest { identity: "spiffe://dev.local/billing".to_owned(), reason: Some("it was taken over".to_owned()) }
}

fn status<T>(answer: Result<T, ClientError>) -> u16 {
    match answer {
        Err(ClientError::Problem(problem)) => problem.status,
        Err(other) => panic!("no problem document: {other}"),
        Ok(_) => 200,
    }
}

async fn everything_is_refused(client: &Client, lease: &str) {
    assert_eq!(status(mint(client, "10m").await), 403);
    assert_eq!(status(client.renew(lease, &RenewRequest::default()).await), 403);
    assert_eq!(status(client.lease(lease).await), 403);
    assert_eq!(status(client.roles().await), 403);
}

async fn a_block_holds_at_once_and_everywhere(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let stage = Stage::new(pg.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"\nmax_ttl = \"1h\"");
    let stage = stage.with_store_on(&pg).await;
    let one = stage.broker().await;
    let dir = tempfile::tempdir().expect("a directory");
    let two = ground::start(ground::options(&stage.config.in_another_directory(dir.path()))).await;
    // Kept connections: each client has one from here on.
    let (on_one, on_two) = (stage.client(&one, BILLING), stage.client(&two, BILLING));
    let held = mint(&on_one, "10m").await.expect("a mint");
    let mut session = stage.session(&held).await;
    mint(&on_two, "10m").await.map(drop).expect("a mint on the other");

    let operator = stage.client(&one, OPERATOR);
    assert_eq!(status(on_one.block(&billing()).await), 403, "not by anybody");
    let done = operator.block(&billing()).await.expect("a block");
    assert!(done.blocked && done.changed);
    assert!(!operator.block(&billing()).await.expect("once more").changed);
    // The statement that records a lease refuses it, on the other broker too, before that one has read the list.
    assert_eq!(status(mint(&on_two, "10m").await), 403);
    everything_is_refused(&on_one, &held.lease.id).await;
    wait_until(SOON, "the other broker to read the list", || async { on_two.roles().await.is_err() }).await;
    everything_is_refused(&on_two, &held.lease.id).await;

    // What it has lives on until somebody ends it.
    assert!(session.is_alive().await);
    let listed = operator.blocks().await.expect("the blocks").blocks;
    assert_eq!((listed.len(), listed[0].reason.as_deref()), (1, Some("it was taken over")));

    let lifted = stage.client(&two, OPERATOR).unblock(&billing()).await.expect("lift it");
    assert!(!lifted.blocked && lifted.changed);
    mint(&on_two, "10m").await.map(drop).expect("a mint again");
    let log = std::fs::read_to_string(stage.config.audit_path()).expect("the audit log");
    assert!(log.contains("identity_block") && log.contains("this identity is blocked"));
}
