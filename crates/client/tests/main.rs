//! The client against a server over real mTLS. What needs a whole broker is tested in the root package.

mod credentials;
mod server;
mod token;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leasehold_client::wire::{LeaseQuery, MintRequest, RenewRequest, RevokeManyRequest, Selector};
use leasehold_client::{Client, ClientError};
use leasehold_identity::SpiffeId;
use leasehold_identity::dev::DevCa;
use server::{Server, answer};

const PROBLEM: &str = r#"{"type": "/problems/limit", "title": "Busy", "status": 503, "detail": "the target orders is away",
    "request_id": "r1"}"#;

fn lease(id: &str, state: &str) -> String {
    format!(
        r#"{{"id": "{id}", "role": "r", "target": "t", "identity": "spiffe://dev.local/billing", "state": "{state}",
        "ended_by": null, "issued_at": "2026-01-02T03:04:05.678Z", "expires_at": "2026-01-02T03:04:05.678Z",
        "max_expires_at": "2026-01-02T03:04:05.678Z", "rotate_at": "2026-01-02T03:04:05.678Z", "renewable": true,
        "revocable": "immediate", "worst_case_until": null, "account": "lh_a_b_{id}"}}"#
    )
}

#[tokio::test]
async fn calls_go_where_they_should_on_one_kept_connection() {
    let server = Server::start(|asked| match asked {
        "GET /v1/roles" => answer(200, r#"{"roles": []}"#),
        line if line.starts_with("POST /v1/credentials/") => {
            let login = r#"{"kind": "database", "username": "u", "password": "p", "host": "h", "port": 1, "database": "d", "url": "x"}"#;
            answer(201, format!(r#"{{"lease": {}, "credential": {login}}}"#, lease("a", "active")))
        }
        "POST /v1/leases/revoke" => answer(202, r#"{"order": "o1", "matched": 2}"#),
        "GET /v1/leases/revoke/o1" => {
            answer(200, r#"{"order": "o1", "matched": 2, "ordered": 2, "left": 0, "finished_at": "2026-01-02T03:04:05.678Z"}"#)
        }
        "POST /v1/targets/t/forget" => answer(200, r#"{"closed": 4}"#),
        _ => answer(200, format!(r#"{{"lease": {}}}"#, lease("a", "revoked"))),
    })
    .await;
    let client = server.client();
    client.roles().await.unwrap();
    let ask = MintRequest { ttl: Some("15m".into()), ..MintRequest::default() };
    assert_eq!(client.mint("odd/\"role\"", &ask).await.unwrap().lease.expect("a lease").id, "a");
    assert!(client.revoke("a").await.unwrap().is_over());
    client.renew("a", &RenewRequest::default()).await.unwrap();
    client.lease_while("a", "active", Duration::from_secs(30)).await.unwrap();
    let matched = client.revoke_many(&RevokeManyRequest::of(Selector::Role("r".into()))).await.unwrap();
    assert_eq!((matched.order.as_deref(), matched.matched), (Some("o1"), 2));
    assert!(client.order("o1").await.unwrap().is_over());
    assert_eq!(client.forget_target("t").await.unwrap().closed, 4);
    client.close().await;
    assert_eq!(
        server.asked(),
        [
            "GET /v1/roles",
            "POST /v1/credentials/odd%2F%22role%22 {\"ttl\":\"15m\"}",
            "POST /v1/leases/a/revoke",
            "POST /v1/leases/a/renew {}",
            "GET /v1/leases/a?while=active&wait=30s",
            "POST /v1/leases/revoke {\"role\":\"r\"}",
            "GET /v1/leases/revoke/o1",
            "POST /v1/targets/t/forget",
        ]
    );
    assert_eq!(server.opened(), 1);
    // The goodbye was TLS's: the server has nothing to take for a lost answer.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while server.closed_cleanly() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the connection was not closed cleanly");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn lists_are_followed_to_their_end_and_not_beyond() {
    let server = Server::start(|asked| {
        let page = |ids: &[&str], next: &str| {
            let leases: Vec<_> = ids.iter().map(|id| lease(id, "active")).collect();
            answer(200, format!(r#"{{"leases": [{}], "next_cursor": {next}}}"#, leases.join(",")))
        };
        match asked.split_once("cursor=").map(|(_, cursor)| cursor) {
            None => page(&["e", "d"], "\"d\""),
            Some("d") => page(&["c"], "\"c\""),
            // Goes round in circles.
            Some(_) => page(&["b"], "\"c\""),
        }
    })
    .await;
    let ask = LeaseQuery { role: Some("r".into()), limit: Some(2), ..LeaseQuery::default() };
    let all = server.client().all_leases(&ask).await.unwrap();
    assert_eq!(all.iter().map(|l| l.id.as_str()).collect::<Vec<_>>(), ["e", "d", "c", "b"]);
    assert_eq!(server.asked()[1], "GET /v1/leases?role=r&limit=2&cursor=d");
}

#[tokio::test]
async fn a_no_is_told_as_it_is() {
    let server = Server::start(|asked| match asked {
        "GET /v1/roles" => {
            let mut no = answer(503, PROBLEM);
            no.headers_mut().insert("retry-after", "7".parse().unwrap());
            no
        }
        "GET /v1/leases/page" => answer(502, "<html>Bad gateway</html>"),
        "GET /v1/leases/odd" => answer(200, "{\"lease\": 7}"),
        "GET /v1/leases/long" => answer(200, vec![b' '; 9 * 1024 * 1024]),
        _ => answer(201, r#"{"lease": "canary-in-a-wrong-place", "credential": {}}"#),
    })
    .await;
    let client = server.client();
    let busy = client.roles().await.unwrap_err();
    assert_eq!((busy.status(), busy.retry_after()), (Some(503), Some(Duration::from_secs(7))));
    assert!(busy.is_transient() && busy.to_string().starts_with("the target orders is away"));
    for (id, why) in [("page", "without a problem document"), ("odd", "invalid type"), ("long", "longer than")] {
        let odd = client.lease(id).await.unwrap_err();
        assert!(matches!(odd, ClientError::Protocol { .. }) && odd.to_string().contains(why), "{odd}");
    }
    // What does not fit where a secret may be is not repeated.
    let odd = client.mint("r", &MintRequest::default()).await.unwrap_err();
    assert!(matches!(odd, ClientError::Protocol { .. }) && !format!("{odd:?}").contains("canary"), "{odd:?}");
}

#[tokio::test]
async fn only_the_broker_is_talked_to() {
    let server = Server::start(|_| answer(200, r#"{"roles": []}"#)).await;
    let mut config = server.config(&server.ca, "billing");
    config.broker_id = SpiffeId::parse("spiffe://dev.local/other").unwrap();
    let error = Client::new(config).unwrap().roles().await.unwrap_err();
    assert!(matches!(&error, ClientError::Tls { refusal, .. } if refusal.reason() == "wrong_server_id"), "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_refused_certificate_is_told_as_one() {
    let server = Server::start(|_| answer(200, r#"{"roles": []}"#)).await;
    let stranger = DevCa::create(server.ca.trust_domain()).unwrap();
    let error = server.client_of(&stranger, "billing").roles().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("spiffe://dev.local/billing"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address() {
    let server = Server::start(|_| answer(200, "{}")).await;
    let mut config = server.config(&server.ca, "billing");
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    config.addr = format!("https://{free}");
    let error = Client::new(config).unwrap().roles().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&free.to_string()), "{error}");
}

#[tokio::test]
async fn a_certificate_that_ran_out_on_a_kept_connection_is_shown_anew() {
    let calls = AtomicUsize::new(0);
    let server = Server::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        1 => answer(401, PROBLEM.replace("503", "401")),
        _ => answer(200, r#"{"roles": []}"#),
    })
    .await;
    let client = server.client();
    client.roles().await.unwrap();
    client.roles().await.unwrap();
    assert_eq!((server.asked().len(), server.opened()), (3, 2));
}
