//! What verifiers read without showing who they are.

use std::net::SocketAddr;

use leasehold_client::wire::RotateKeyRequest;
use leasehold_identity::{AnonymousConnector, ServerBundle};
use leasehold_testkit::{ConfigFile, wait_until};
use serde_json::Value;
use tokio::net::TcpStream;

use super::world::{ISSUER, SHOP, World};
use crate::ground::{Answer, Line, OPERATOR, SOON, request};
use crate::rig::AUDITOR;

/// A connection without a client certificate, to a server that shows the broker's SVID.
pub async fn anonymous(world: &World) -> Line {
    let tcp = TcpStream::connect(public(world)).await.expect("connect");
    Line::over(connector(world).connect(tcp).await.expect("a handshake"))
}

/// What makes such a connection.
pub fn connector(world: &World) -> AnonymousConnector {
    let bundle = ServerBundle::File(world.rig.ground.dir().join("bundle.pem"));
    AnonymousConnector::new("spiffe://dev.local/leasehold".parse().expect("an ID"), bundle)
}

/// Where it listens.
pub fn public(world: &World) -> SocketAddr {
    world.rig.broker.addresses().public.expect("a public listener")
}

async fn get(world: &World, path: &str) -> Answer {
    anonymous(world).await.ask("GET", path, None).await
}

async fn kids(world: &World) -> Vec<String> {
    let keys = get(world, "/oauth2/jwks").await.json();
    keys["keys"].as_array().expect("keys").iter().filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_reads_where_everything_is_and_by_which_keys() {
    let world = World::in_public(&[]).await;
    let mut line = anonymous(&world).await;
    let both = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];
    let mut told: Vec<Value> = Vec::new();
    for path in both {
        let answer = line.ask("GET", path, None).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert!(answer.header("cache-control").is_some_and(|age| age.starts_with("public, max-age=")), "{answer:?}");
        told.push(answer.json());
    }
    assert_eq!(told[0], told[1]);
    let told = &told[0];
    let api = format!("https://leasehold.example.org:{}", 0);
    assert_eq!(told["issuer"], ISSUER);
    assert_eq!(told["jwks_uri"], format!("{ISSUER}/oauth2/jwks"));
    assert_eq!(told["mtls_endpoint_aliases"]["token_endpoint"], format!("{api}/oauth2/token"));
    assert_eq!(told["token_endpoint_auth_methods_supported"], serde_json::json!(["tls_client_auth"]));
    assert_eq!(told["tls_client_certificate_bound_access_tokens"], true);

    let keys = line.ask("GET", "/oauth2/jwks", None).await.json();
    let keys = keys["keys"].as_array().expect("keys").clone();
    let mut algorithms: Vec<_> = keys.iter().filter_map(|key| key["alg"].as_str()).collect();
    algorithms.sort_unstable();
    assert_eq!(algorithms, ["ES256", "EdDSA", "RS256"], "one for each that a role uses");
    for key in &keys {
        assert!(["d", "p", "q", "k"].iter().all(|part| key.get(part).is_none()), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_list_tells_what_was_revoked() {
    let world = World::in_public(&[]).await;
    let told = world.token("payments:write").await;
    let (_, claims) = super::world::opened(told.text("access_token"));
    let slot = &claims["status"]["status_list"];
    let uri = slot["uri"].as_str().expect("an address").strip_prefix(ISSUER).expect("the issuer's").to_owned();
    let index = slot["idx"].as_u64().expect("a place") as usize;
    assert!(!is_set(&world, &uri, index).await);
    assert_eq!(world.form(SHOP, "/oauth2/revoke", &[("token", told.text("access_token"))]).await.status, 200);
    wait_until(SOON, "the list to tell", || is_set(&world, &uri, index)).await;
    let lists = get(&world, "/oauth2/status").await.json();
    assert!(lists["status_lists"].as_array().expect("a list").contains(&format!("{ISSUER}{uri}").into()), "{lists}");
    assert_eq!(get(&world, "/oauth2/status/0123456789abcdef").await.status, 404);
}

async fn is_set(world: &World, uri: &str, index: usize) -> bool {
    let answer = get(world, uri).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/statuslist+jwt")), "{uri}");
    let (header, claims) = super::world::opened(&answer.body);
    assert_eq!((&header["typ"], &claims["sub"]), (&"statuslist+jwt".into(), &format!("{ISSUER}{uri}").into()));
    let packed = claims["status_list"]["lst"].as_str().expect("a list").as_bytes();
    let packed = data_encoding::BASE64URL_NOPAD.decode(packed).expect("base64url");
    let bits = miniz_oxide::inflate::decompress_to_vec_zlib(&packed).expect("zlib");
    bits[index / 8] >> (index % 8) & 1 == 1
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_there() {
    let world = World::in_public(&[]).await;
    let mut line = anonymous(&world).await;
    let nothing =
        ["/", "/v1/roles", "/v1/leases", "/oauth2/token", "/oauth2/status/", "/oauth2/status/a/b", "/metrics"];
    // No target of these asserts to a cloud.
    let no_cloud =
        ["/cloud/jwks", "/cloud/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/cloud"];
    for path in nothing.into_iter().chain(no_cloud) {
        assert_eq!(line.ask("GET", path, None).await.status, 404, "{path}");
    }
    // A question about the answer: its head alone, so that what is asked next is answered next.
    line.send(request("HEAD", "/oauth2/jwks", None)).await.expect("send");
    let head = line.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    for method in ["POST", "PUT", "DELETE", "BREW"] {
        let answer = line.ask(method, "/oauth2/jwks", None).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_all_places_of_the_public_listener_takes_none_of_the_api() {
    let world = World::in_public(&[("public_connections_at_once_per_address_max", 2), ("header_seconds_max", 2)]).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        idle.push(TcpStream::connect(public(&world)).await.expect("connect"));
    }
    wait_until(SOON, "the places to be taken", || async {
        let tcp = TcpStream::connect(public(&world)).await.expect("connect");
        connector(&world).connect(tcp).await.is_err()
    })
    .await;
    assert_eq!(world.token("payments:write").await.status, 200);
    // Whoever says nothing is cut off, and its place is free again.
    let free = || async {
        let tcp = TcpStream::connect(public(&world)).await.expect("connect");
        connector(&world).connect(tcp).await.is_ok()
    };
    wait_until(SOON, "a place to be free", free).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_published_before_they_sign_and_gone_at_once_in_an_emergency() {
    let world = World::in_public(&[]).await;
    let before = kids(&world).await;
    let operator = world.rig.client(OPERATOR);
    let only = RotateKeyRequest { algorithm: Some("ES256".into()), ..RotateKeyRequest::default() };
    let keys = operator.rotate_token_keys(&only).await.expect("another key").keys;
    let states: Vec<_> =
        keys.iter().filter(|key| key.algorithm == "ES256").map(|key| (key.generation, key.state.as_str())).collect();
    assert_eq!(states, [(1, "active"), (2, "next")]);
    assert_eq!(kids(&world).await.len(), before.len() + 1);
    let old = world.token("payments:write").await;
    let kid = |told: &super::world::Told| super::world::opened(told.text("access_token")).0["kid"].clone();
    assert!(before.iter().any(|known| kid(&old) == **known), "the new one does not sign yet");
    // `publish_before` of these tests is 5 s.
    wait_until(SOON, "the new key to sign", || async { kid(&world.token("payments:write").await) != kid(&old) }).await;
    assert_eq!(
        world.introspect(SHOP, old.text("access_token")).await["active"],
        true,
        "what the old one signed is good"
    );

    let leaked = RotateKeyRequest { emergency: Some(true), ..only };
    let keys = operator.rotate_token_keys(&leaked).await.expect("another key").keys;
    let left: Vec<_> =
        keys.iter().filter(|key| key.algorithm == "ES256").map(|key| (key.generation, key.state.as_str())).collect();
    assert_eq!(left, [(3, "active")]);
    assert!(kids(&world).await.iter().all(|known| kid(&old) != **known));
    assert_eq!(world.introspect(SHOP, old.text("access_token")).await["active"], false);
    assert_eq!(world.introspect(SHOP, world.token("payments:write").await.text("access_token")).await["active"], true);
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_can_be_exported() {
    let world = World::in_public(&[]).await;
    let dir = world.rig.ground.dir().join("exported");
    let words = ["token", "export-discovery", dir.to_str().expect("a path")];
    let done = world.rig.run(SHOP, &words).await;
    assert!(done.status.success(), "{done:?}");
    for path in [".well-known/openid-configuration", ".well-known/oauth-authorization-server", "oauth2/jwks"] {
        let text = std::fs::read_to_string(dir.join(path)).expect("a file");
        let file: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(file, get(&world, &format!("/{path}")).await.json(), "{path}");
    }
    let keys = world.rig.run(OPERATOR, &["token", "keys", "--output", "json"]).await;
    assert!(String::from_utf8_lossy(&keys.stdout).contains("\"active\""), "{keys:?}");
    let asked = world.rig.run(OPERATOR, &["token", "rotate-key", "--emergency"]).await;
    assert_eq!(asked.status.code(), Some(2), "without a terminal it must be said beforehand: {asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_rotates_keys_by_command() {
    let world = World::in_public(&[]).await;
    let rotated = async |more: &[&str]| {
        let words = [&["token", "rotate-key", "--output", "json", "--algorithm"], more].concat();
        let done = world.rig.run(OPERATOR, &words).await;
        assert!(done.status.success(), "{done:?}");
        let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        let keys = told["keys"].as_array().expect("keys").clone();
        let ours = keys.into_iter().filter(|key| key["algorithm"] == "EdDSA");
        ours.map(|key| (key["state"].clone(), key["kid"].as_str().expect("a name").to_owned())).collect::<Vec<_>>()
    };
    let keys = rotated(&["EdDSA"]).await;
    let states: Vec<_> = keys.iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["active", "next"]);
    let published = kids(&world).await;
    assert!(keys.iter().all(|(_, kid)| published.contains(kid)), "{published:?}");

    let left = rotated(&["EdDSA", "--emergency", "--yes"]).await;
    assert!(matches!(&*left, [(state, _)] if state == "active"), "{left:?}");
    let published = kids(&world).await;
    assert!(keys.iter().all(|(_, kid)| !published.contains(kid)) && published.contains(&left[0].1), "{published:?}");

    let wrong = world.rig.run(OPERATOR, &["token", "rotate-key", "--algorithm", "HS256"]).await;
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("must be ES256, EdDSA or RS256"), "{wrong:?}");
}

/// No engine here asserts to a cloud; an operator can have such keys made all the same.
#[tokio::test(flavor = "multi_thread")]
async fn clouds_are_told_of_keys_of_their_own() {
    let world = World::in_public(&[]).await;
    let workloads = kids(&world).await;
    let done = world.rig.run(OPERATOR, &["token", "rotate-key", "--cloud", "--output", "json"]).await;
    let told: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
    let clouds: Vec<_> = told["keys"].as_array().expect("keys").iter().filter(|key| key["cloud"] == true).collect();
    assert!(matches!(*clouds, [key] if key["algorithm"] == "RS256" && key["state"] == "active"), "{told}");

    let keys = get(&world, "/cloud/jwks").await.json();
    assert_eq!(keys["keys"].as_array().expect("keys").len(), 1);
    assert_eq!(keys["keys"][0]["kid"], clouds[0]["kid"]);
    assert_eq!(kids(&world).await, workloads, "verifiers of tokens are told nothing of it");
    let discovery = get(&world, "/cloud/.well-known/openid-configuration").await.json();
    assert_eq!(discovery["issuer"], format!("{ISSUER}/cloud"));
    assert_eq!(discovery["jwks_uri"], format!("{ISSUER}/cloud/jwks"));
    assert_eq!(get(&world, "/.well-known/oauth-authorization-server/cloud").await.json(), discovery);

    let dir = world.rig.ground.dir().join("exported");
    let done = world.rig.run(SHOP, &["token", "export-discovery", dir.to_str().expect("a path")]).await;
    assert!(done.status.success(), "{done:?}");
    for path in ["cloud/.well-known/openid-configuration", "cloud/jwks", "oauth2/jwks"] {
        let text = std::fs::read_to_string(dir.join(path)).expect("a file");
        let file: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(file, get(&world, &format!("/{path}")).await.json(), "{path}");
    }

    let both = RotateKeyRequest { algorithm: Some("RS256".into()), cloud: Some(true), ..RotateKeyRequest::default() };
    let operator = world.rig.client(OPERATOR);
    assert!(operator.rotate_token_keys(&both).await.is_err(), "which of the two is meant?");
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_to_who_reads_all_or_changes_them() {
    let keeper = |config: ConfigFile| config.grant("keepers", &["spiffe://dev.local/keeper"], &["*"], &["admin"]);
    let world = World::with(keeper).await;
    for path in ["/keeper", AUDITOR] {
        let client = world.rig.client(path);
        assert!(!client.token_keys().await.expect("the keys").keys.is_empty(), "{path}");
        client.close().await;
    }
    world.rig.ask(SHOP, "GET", "/v1/token/keys", None).await.problem(403);
    world.rig.ask(AUDITOR, "POST", "/v1/token/rotate-key", None).await.problem(403);
}
