//! Tokens that were ended before their time.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use leasehold_client::token::{Refused, StatusPolicy, Verified, Verifier};
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::issuer::{DEADLINE, Issuer, judge, now};
use super::signer::Signer;

const LIST: &str = "/oauth2/status/1";
const ALL: [StatusPolicy; 3] = [StatusPolicy::Ignore, StatusPolicy::IfReachable, StatusPolicy::Require];

struct Scene {
    signer: Signer,
    issuer: Issuer,
}

impl Scene {
    async fn set() -> Self {
        let signer = Signer::new(Algorithm::ES256);
        let issuer = Issuer::start(&[&signer]).await;
        let scene = Self { signer, issuer };
        scene.put(scene.list());
        scene
    }

    /// A list of sixteen of which the tenth was ended.
    fn list(&self) -> Value {
        json!({
            "iss": self.issuer.url, "sub": format!("{}{LIST}", self.issuer.url), "iat": now(), "exp": now() + 600, "ttl": 30,
            "status_list": {"bits": 1, "lst": packed(&[0, 0b0000_0010])},
        })
    }

    fn put(&self, list: Value) {
        self.issuer.put(LIST, self.signer.sign(&self.signer.header("statuslist+jwt"), &list));
    }

    fn token(&self, index: u64, uri: &str) -> String {
        let status = json!({"status_list": {"idx": index, "uri": uri}});
        self.signer.token(&self.issuer.claims_with("status", status))
    }

    fn verifier(&self, policy: StatusPolicy) -> Verifier {
        Verifier::new(self.issuer.config().status(policy)).unwrap()
    }

    /// A judgement by somebody who has asked nobody yet.
    async fn judge(&self, policy: StatusPolicy, index: u64) -> Result<Verified, Refused> {
        judge(&self.verifier(policy), &self.token(index, &format!("{}{LIST}", self.issuer.url))).await
    }
}

fn packed(bits: &[u8]) -> String {
    BASE64URL_NOPAD.encode(&compress_to_vec_zlib(bits, 9))
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_others_are_not() {
    let scene = Scene::set().await;
    for policy in [StatusPolicy::IfReachable, StatusPolicy::Require] {
        let verifier = scene.verifier(policy);
        let before = scene.issuer.asked_for(LIST);
        for index in 0..16 {
            let token = scene.token(index, &format!("{}{LIST}", scene.issuer.url));
            let found = judge(&verifier, &token).await;
            if index == 9 {
                assert_eq!(found.unwrap_err(), Refused::Revoked);
            } else {
                found.unwrap();
            }
        }
        assert_eq!(scene.issuer.asked_for(LIST), before + 1, "one list is fetched once");
        // A place that is not in the list is not one that is good.
        let beyond = judge(&verifier, &scene.token(16, &format!("{}{LIST}", scene.issuer.url))).await;
        assert!(matches!(beyond.unwrap_err(), Refused::StatusNotKnown { .. }));
    }
    scene.judge(StatusPolicy::Ignore, 9).await.unwrap();
    // A token without a status is good without one.
    judge(&scene.verifier(StatusPolicy::Require), &scene.signer.token(&scene.issuer.claims())).await.unwrap();
}

#[tokio::test]
async fn a_list_that_cannot_be_judged_says_nothing() {
    let scene = Scene::set().await;
    let with = |name: &str, value: Value| {
        let mut list = scene.list();
        list[name] = value;
        list
    };
    let bomb = packed(&vec![0; 100 * 1024 * 1024]);
    for (list, why) in [
        (with("exp", json!(now() - 60)), "expired"),
        (with("iat", json!(now() + 60)), "future"),
        (with("sub", json!(format!("{}/oauth2/status/2", scene.issuer.url))), "another list"),
        (with("iss", json!("https://other.example")), "another issuer"),
        (with("status_list", json!({"bits": 1, "lst": bomb})), "too large"),
        (with("status_list", json!({"bits": 8, "lst": packed(&[0])})), "one bit"),
    ] {
        scene.put(list);
        let no = scene.judge(StatusPolicy::Require, 1).await.unwrap_err();
        assert!(matches!(&no, Refused::StatusNotKnown { why: said } if said.contains(why)), "{why}: {no}");
        assert_eq!(no.status(), 503);
        scene.judge(StatusPolicy::IfReachable, 1).await.unwrap();
    }
    // What somebody else has signed, or the issuer for another use.
    let mallory = Signer::new(Algorithm::ES256);
    let mut stolen_name = mallory.header("statuslist+jwt");
    stolen_name["kid"] = json!(scene.signer.kid);
    for (list, why) in [
        (mallory.sign(&mallory.header("statuslist+jwt"), &scene.list()), "does not have"),
        (mallory.sign(&stolen_name, &scene.list()), "signature is wrong"),
        (scene.signer.token(&scene.list()), "no status list"),
        ("nonsense".to_owned(), "three parts"),
    ] {
        scene.issuer.put(LIST, list);
        let no = scene.judge(StatusPolicy::Require, 1).await.unwrap_err();
        assert!(matches!(&no, Refused::StatusNotKnown { why: said } if said.contains(why)), "{why}: {no}");
    }
}

#[tokio::test]
async fn a_list_is_asked_for_at_its_issuer_only() {
    let scene = Scene::set().await;
    let issuer = &scene.issuer.url;
    for uri in [
        "https://other.example/oauth2/status/1".to_owned(),
        format!("{issuer}.other.example/oauth2/status/1"),
        format!("{issuer}@other.example/oauth2/status/1"),
        format!("{issuer}/oauth2/jwks"),
        "file:///etc/passwd".to_owned(),
        String::new(),
    ] {
        for policy in ALL {
            let no = judge(&scene.verifier(policy), &scene.token(1, &uri)).await.unwrap_err();
            assert!(matches!(no, Refused::Malformed(_)), "{uri}: {no}");
        }
    }
    assert_eq!(scene.issuer.asked_for(LIST), 0);
}

#[tokio::test]
async fn a_list_that_is_known_goes_on_while_there_is_no_newer() {
    let scene = Scene::set().await;
    let url = format!("{}{LIST}", scene.issuer.url);
    let verifier = scene.verifier(StatusPolicy::Require);
    // Fresh for a second, and valid for ten minutes.
    let mut list = scene.list();
    list["ttl"] = json!(1);
    scene.put(list);
    judge(&verifier, &scene.token(1, &url)).await.unwrap();
    scene.issuer.remove(LIST);
    let deadline = Instant::now() + DEADLINE;
    while scene.issuer.asked_for(LIST) < 2 {
        assert!(Instant::now() < deadline, "not asked for again");
        judge(&verifier, &scene.token(1, &url)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(judge(&verifier, &scene.token(9, &url)).await.unwrap_err(), Refused::Revoked);
    let no = scene.judge(StatusPolicy::Require, 1).await.unwrap_err();
    assert!(no.to_string().contains("answers 404"), "{no}");
}
