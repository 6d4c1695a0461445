//! Tokens that are kept. Logins of databases are kept in the tests of the root package, with a whole broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use http::Response;
use http_body_util::Full;
use leasehold_client::wire::{Credential, Lease};
use leasehold_client::{Client, Credentials, Ending, Held, Wanted};
use leasehold_identity::Identity;
use secrecy::ExposeSecret;

use crate::server::{Server, answer};

/// Long enough for what is to happen at once, and far shorter than any token here lives.
const SOON: Duration = Duration::from_secs(10);

/// What the issuer binds its tokens to.
#[derive(Clone, Copy)]
enum Bound {
    /// The certificate that was shown.
    Shown,
    /// Nothing.
    Nothing,
    /// A certificate that nobody has.
    Other,
}

fn token(shown: &str, bound: Bound, number: usize, seconds: u64) -> String {
    const ISSUED: u64 = 1_800_000_000;
    let hash = match bound {
        Bound::Shown => shown.to_owned(),
        Bound::Nothing => String::new(),
        Bound::Other => "00".repeat(32),
    };
    let hash = BASE64URL_NOPAD.encode(&HEXLOWER.decode(hash.as_bytes()).unwrap());
    let cnf =
        if matches!(bound, Bound::Nothing) { String::new() } else { format!(r#", "cnf": {{"x5t#S256": "{hash}"}}"#) };
    let payload = format!(r#"{{"jti": "t{number}", "iat": {ISSUED}, "exp": {}{cnf}}}"#, ISSUED + seconds);
    let jwt = format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(payload.as_bytes()));
    let end = "2036-01-02T03:04:05.678Z";
    format!(
        r#"{{"kind": "token", "access_token": "{jwt}", "token_type": "Bearer", "scope": "payments:read", "expires_at": "{end}"}}"#
    )
}

fn lease(id: &str) -> String {
    format!(
        r#"{{"id": "{id}", "role": "r", "target": "t", "identity": "spiffe://dev.local/billing", "state": "active",
        "ended_by": null, "issued_at": "2026-01-02T03:00:00.000Z", "expires_at": "2026-01-02T04:00:00.000Z",
        "max_expires_at": "2026-01-02T04:00:00.000Z", "rotate_at": "2026-01-02T03:50:00.000Z", "renewable": false,
        "revocable": "eventual", "worst_case_until": "2026-01-02T04:00:00.000Z", "account": "lh_a_b_{id}"}}"#
    )
}

/// An issuer whose tokens live an hour under a lease, or two seconds without one.
async fn issuer(bound: Bound, leased: bool) -> Server {
    let minted = AtomicUsize::new(0);
    Server::start_knowing(move |asked, shown| respond(asked, shown, bound, leased, &minted)).await
}

fn respond(asked: &str, shown: &str, bound: Bound, leased: bool, minted: &AtomicUsize) -> Response<Full<Bytes>> {
    if asked.starts_with("POST /v1/credentials/") {
        let number = minted.fetch_add(1, Ordering::SeqCst) + 1;
        let (lease, seconds) = if leased { (lease(&format!("l{number}")), 3600) } else { ("null".to_owned(), 2) };
        return answer(201, format!(r#"{{"lease": {lease}, "credential": {}}}"#, token(shown, bound, number, seconds)));
    }
    // A lease that is asked about lives; nobody waits here for its end, so that the answer must not come at once.
    answer(503, r#"{"type": "x", "title": "x", "status": 503, "detail": "later", "request_id": "r"}"#)
}

fn keep(server: &Server, wanted: Wanted) -> (Credentials, Arc<Identity>) {
    let config = server.config(&server.ca, "billing");
    let identity = config.identity.clone();
    (Credentials::keep(Client::new(config).unwrap(), wanted), identity)
}

fn minted(server: &Server) -> Vec<String> {
    server.asked().into_iter().filter(|line| line.starts_with("POST /v1/credentials/")).collect()
}

/// The certificate that a token is bound to.
fn bound_to(held: &Held) -> String {
    let Credential::Token(token) = &*held.credential else { panic!("no token") };
    let payload = token.access_token.expose_secret().split('.').nth(1).unwrap();
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap();
    let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    HEXLOWER.encode(&BASE64URL_NOPAD.decode(payload["cnf"]["x5t#S256"].as_str().unwrap().as_bytes()).unwrap())
}

async fn next(kept: &Credentials, after: u64) -> Arc<Held> {
    tokio::time::timeout(SOON, kept.changed(after)).await.expect("another generation")
}

#[tokio::test]
async fn a_bound_token_follows_the_certificate_at_once() {
    let server = issuer(Bound::Shown, true).await;
    let wanted = Wanted { scope: Some("payments:read".into()), ..Wanted::role("r") };
    let (kept, identity) = keep(&server, wanted);
    let first = kept.ready().await.unwrap();
    assert_eq!(Some(bound_to(&first)), identity.svid_sha256());
    server.rotate("billing", &identity);
    let second = next(&kept, 1).await;
    assert_ne!(bound_to(&first), bound_to(&second));
    assert_eq!(Some(bound_to(&second)), identity.svid_sha256(), "it was asked for on a connection by the new one");
    server.rotate("billing", &identity);
    let third = next(&kept, 2).await;
    assert_eq!(Some(bound_to(&third)), identity.svid_sha256());
    let asked = minted(&server);
    assert_eq!(asked[0], r#"POST /v1/credentials/r {"scope":"payments:read"}"#);
    assert_eq!(asked[1], r#"POST /v1/credentials/r {"scope":"payments:read","replaces":"l1"}"#);
    assert_eq!((asked.len(), kept.counts().rotations), (3, 2));

    // The old ones end as in any rotation: when all have changed to the new one.
    kept.retire(3).await;
    let ended: Vec<_> = server.asked().into_iter().filter(|line| line.ends_with("/revoke")).collect();
    assert_eq!(ended, ["POST /v1/leases/l1/revoke", "POST /v1/leases/l2/revoke"]);
}

#[tokio::test]
async fn one_that_an_earlier_process_fetched_by_another_certificate_is_replaced_at_once() {
    let server = issuer(Bound::Shown, true).await;
    let (kept, identity) = keep(&server, Wanted::role("r"));
    let first = kept.ready().await.unwrap();
    kept.close(Ending::Leave).await;
    let old = |bound: &str| -> Credential { serde_json::from_str(&token(bound, Bound::Shown, 7, 3600)).unwrap() };
    // By whatever clock, it has long to live.
    let lease: Lease = serde_json::from_str(
        &lease("l7").replace("2026-01-02T04", "2096-01-02T04").replace("2026-01-02T03:50", "2096-01-02T03:50"),
    )
    .unwrap();
    let resume = |bound: &str| {
        let held = Held::resumed(7, Some(lease.clone()), old(bound)).unwrap();
        let mut config = server.config(&server.ca, "billing");
        config.identity = identity.clone();
        Credentials::resume(Client::new(config).unwrap(), Wanted::role("r"), held)
    };
    assert_eq!(next(&resume(&"00".repeat(32)), 7).await.generation, 8);
    // By ours it is as good as it was.
    let kept = resume(&bound_to(&first));
    assert!(tokio::time::timeout(Duration::from_millis(300), kept.changed(7)).await.is_err());
}

#[tokio::test]
async fn what_a_new_certificate_would_not_change_is_left_alone() {
    for bound in [Bound::Nothing, Bound::Other] {
        let server = issuer(bound, true).await;
        let (kept, identity) = keep(&server, Wanted::role("r"));
        kept.ready().await.unwrap();
        if matches!(bound, Bound::Nothing) {
            server.rotate("billing", &identity);
        }
        assert!(tokio::time::timeout(Duration::from_millis(300), kept.changed(1)).await.is_err());
        assert_eq!(minted(&server).len(), 1);
        // Another certificate is another chance, once.
        if matches!(bound, Bound::Other) {
            server.rotate("billing", &identity);
            next(&kept, 1).await;
            assert!(tokio::time::timeout(Duration::from_millis(300), kept.changed(2)).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_token_without_a_lease_is_fetched_again_before_its_end_and_nobody_is_asked_about_it() {
    let server = issuer(Bound::Nothing, false).await;
    let (kept, _) = keep(&server, Wanted::role("r"));
    let first = kept.ready().await.unwrap();
    assert!(first.lease.is_none() && first.time_left() <= Duration::from_secs(2));
    let second = next(&kept, 1).await;
    assert!(!first.time_left().is_zero(), "it still lives");
    assert_eq!(second.generation, 2);
    assert!(kept.retire(2).await.is_empty() && kept.close(Ending::Revoke).await.is_empty());
    assert!(server.asked().iter().all(|line| line.starts_with("POST /v1/credentials/r")), "{:?}", server.asked());
}

#[tokio::test]
async fn one_that_cannot_follow_the_certificate_is_cause_for_alarm() {
    let minted = AtomicUsize::new(0);
    let server = Server::start_knowing(move |asked, shown| match minted.load(Ordering::SeqCst) {
        1 if asked.starts_with("POST") => {
            minted.store(2, Ordering::SeqCst);
            answer(
                503,
                r#"{"type": "x", "title": "x", "status": 503, "detail": "the store is away", "request_id": "r"}"#,
            )
        }
        _ => respond(asked, shown, Bound::Shown, true, &minted),
    })
    .await;
    let (kept, identity) = keep(&server, Wanted::role("r"));
    kept.ready().await.unwrap();
    let well = kept.health();
    server.rotate("billing", &identity);
    let health = tokio::time::timeout(SOON, kept.health_changed(&well)).await.expect("a try that fails");
    assert!(health.alarm && health.last_error.is_some_and(|why| why.contains("the store is away")));
    let second = next(&kept, 1).await;
    assert_eq!(Some(bound_to(&second)), identity.svid_sha256());
    assert!(!kept.health().alarm);
}
