//! What the broker itself says to clouds, apart from all that workloads hold.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::*;
use crate::store::Sealed;

const TOKENS: Purpose = Purpose::Tokens(JwtAlgorithm::Rs256);

async fn asserting() -> House {
    let house = House::new().await;
    house.look(&Purpose::ALL, clock::wall()).await;
    house
}

fn about(role: &str) -> CloudAssertion {
    CloudAssertion { audience: "sts.amazonaws.com".into(), about: role.into(), claims: Map::new() }
}

impl House {
    async fn assert(&self, assertion: CloudAssertion) -> String {
        self.issuer.assert(assertion).await.unwrap().expose_secret().to_owned()
    }

    fn told(&self, path: &str) -> Value {
        serde_json::from_str(&self.issuer.published(path).unwrap_or_else(|| panic!("{path}")).body).unwrap()
    }

    fn kids(&self, path: &str) -> BTreeSet<String> {
        let keys = self.told(path)["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// As whoever trusts this key set and this issuer reads it.
    fn read(&self, jwks: &str, issuer: &str, token: &str) -> Option<Map<String, Value>> {
        let keys: JwkSet = serde_json::from_value(self.told(jwks)).unwrap();
        let key = keys.find(decode_header(token).ok()?.kid.as_deref()?)?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&["sts.amazonaws.com"]);
        validation.set_issuer(&[issuer]);
        Some(decode(token, &DecodingKey::from_jwk(key).unwrap(), &validation).ok()?.claims)
    }
}

const CLOUD: (&str, &str) = ("/cloud/jwks", "https://issuer.test/cloud");
const WORKLOADS: (&str, &str) = ("/oauth2/jwks", "https://issuer.test");

#[tokio::test]
async fn a_cloud_reads_who_asks_and_about_what() {
    let house = asserting().await;
    assert_eq!(house.issuer.cloud_issuer().as_deref(), Some(CLOUD.1));
    let mut order = about("deploy");
    order.claims.insert("https://aws.amazon.com/tags".into(), json!({ "principal_tags": { "lease": ["x"] } }));
    let token = house.assert(order).await;
    let header = decode_header(&token).unwrap();
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::RS256, Some("JWT")));
    let claims = house.read(CLOUD.0, CLOUD.1, &token).expect("a good one");
    assert_eq!(claims["sub"], "leasehold:test:deploy");
    assert_eq!(claims["aud"], "sts.amazonaws.com", "one text");
    assert_eq!(claims["https://aws.amazon.com/tags"]["principal_tags"]["lease"][0], "x");
    let (iat, exp) = (claims["iat"].as_i64().expect("whole seconds"), claims["exp"].as_i64().expect("whole seconds"));
    let now = clock::wall().unix_ms() / 1000;
    assert!(iat <= now && now < exp && exp - iat <= 300, "{claims:?}");
    let again = house.read(CLOUD.0, CLOUD.1, &house.assert(about("deploy")).await).unwrap();
    assert_ne!(claims["jti"], again["jti"]);
}

#[tokio::test]
async fn what_the_core_says_nobody_else_does() {
    let house = asserting().await;
    for name in ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"] {
        let mut order = about("deploy");
        order.claims.insert(name.into(), "mine".into());
        let why = house.issuer.assert(order).await.unwrap_err();
        assert!(matches!(&why, EngineError::Refused { .. }) && why.to_string().contains(name), "{why}");
    }
    for name in ["", "a:b", "a b", "a/b", "*"] {
        assert!(matches!(house.issuer.assert(about(name)).await, Err(EngineError::Refused { .. })), "{name:?}");
    }
    let nobody = CloudAssertion { audience: String::new(), ..about("deploy") };
    assert!(matches!(house.issuer.assert(nobody).await, Err(EngineError::Refused { .. })));
    let mut long = about("deploy");
    long.claims.insert("x".into(), "y".repeat(20_000).into());
    assert!(house.issuer.assert(long).await.unwrap_err().to_string().contains("20000 is the most"));
}

#[tokio::test]
async fn the_keys_of_one_are_never_those_of_the_other() {
    let house = asserting().await;
    let (workloads, clouds) = (house.kids(WORKLOADS.0), house.kids(CLOUD.0));
    assert_eq!((workloads.len(), clouds.len()), (3, 1));
    assert!(workloads.is_disjoint(&clouds));

    let assertion = house.assert(about("deploy")).await;
    let claims =
        json!({ "aud": "sts.amazonaws.com", "sub": "leasehold:test:deploy", "iss": CLOUD.1, "exp": 4_000_000_000_u64 });
    let order = JwtOrder {
        algorithm: JwtAlgorithm::Rs256,
        typ: "JWT",
        claims: claims.as_object().cloned().unwrap(),
        slot: None,
    };
    let token = house.issuer.sign_jwt(order).await.unwrap().expose_secret().to_owned();
    // Each is good where it belongs. Elsewhere neither its key nor its issuer is known, whatever the one who wrote it put there.
    for (jwks, issuer, its_own) in [(CLOUD.0, CLOUD.1, &assertion), (WORKLOADS.0, WORKLOADS.1, &token)] {
        for shown in [&assertion, &token] {
            assert_eq!(house.read(jwks, issuer, shown).is_some(), shown == its_own, "{jwks}");
        }
    }
    assert!(
        house.read(WORKLOADS.0, CLOUD.1, &token).is_none() && house.read(CLOUD.0, WORKLOADS.1, &assertion).is_none()
    );
    assert_eq!(house.issuer.read(&assertion), None, "nor is it introspected as a token");
}

/// By somebody who writes in the store and has no seal key.
#[tokio::test]
async fn a_key_that_is_copied_to_the_other_purpose_signs_nothing_there() {
    let house = asserting().await;
    let rows = house.store.sealed().await.unwrap();
    let cloud = rows.into_iter().find(|row| row.name == Purpose::Clouds.name()).expect("a row");
    assert_eq!(cloud.kind, "token_key");
    let copied = crate::store::SealedRow { name: TOKENS.name().into(), generation: 2, ..cloud };
    assert!(house.store.put_sealed(&copied).await.unwrap());
    let addresses = Addresses { api_url: "https://api.test".to_owned() };
    let (soon, none) = (clock::wall().plus(Duration::from_secs(120)), BTreeSet::new());
    let wrong = house.keeper.look(&config(), &addresses, &none, soon).await.unwrap_err();
    assert!(matches!(wrong, KeeperError::Seal { generation: 2, .. }), "{wrong}");
    assert!(house.kids(WORKLOADS.0).is_disjoint(&house.kids(CLOUD.0)));
}

#[tokio::test]
async fn clouds_find_their_keys_at_both_places_and_nothing_of_workloads() {
    let house = asserting().await;
    let (one, other) = ("/cloud/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/cloud");
    let told = house.told(one);
    assert_eq!(told, house.told(other));
    assert_eq!((&told["issuer"], &told["jwks_uri"]), (&json!(CLOUD.1), &json!("https://issuer.test/cloud/jwks")));
    assert_eq!(told["id_token_signing_alg_values_supported"], json!(["RS256"]));
    assert_eq!(told["response_types_supported"], json!(["id_token"]));
    assert_eq!(told["subject_types_supported"], json!(["public"]));
    assert!(told["claims_supported"].as_array().unwrap().contains(&json!("sub")));
    assert!(!told.to_string().contains("oauth2"), "there is nothing to call: {told}");
    assert!(!house.told("/.well-known/openid-configuration").to_string().contains("cloud"));
    assert_eq!(house.issuer.published("/cloud/jwks").unwrap().content_type, "application/jwk-set+json");
}

#[tokio::test]
async fn without_a_target_that_needs_them_there_are_no_keys() {
    let house = House::new().await;
    let now = clock::wall();
    assert_eq!(house.look(&[Purpose::Tokens(JwtAlgorithm::Es256)], now).await.len(), 1);
    for path in [CLOUD.0, "/cloud/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/cloud"] {
        assert_eq!(house.issuer.published(path), None, "{path}");
    }
    assert!(matches!(house.issuer.assert(about("deploy")).await, Err(EngineError::Retry { after: Some(_), .. })));
    assert_eq!(house.look(&[Purpose::Clouds], now).await, [(Purpose::Clouds, 1)]);
    house.assert(about("deploy")).await;
    house.issuer.follow(None);
    assert_eq!(house.issuer.cloud_issuer(), None, "the configuration has no issuer any more");
    assert!(matches!(house.issuer.assert(about("deploy")).await, Err(EngineError::Refused { .. })));
}

#[tokio::test]
async fn their_keys_change_as_all_do_and_by_themselves() {
    let house = House::new().await;
    let (wanted, start) = ([Purpose::Clouds, TOKENS], clock::wall());
    let at = |seconds| start.plus(Duration::from_secs(seconds));
    let signs = async || decode_header(house.assert(about("deploy")).await).unwrap().kid.unwrap();
    house.look(&wanted, start).await;
    let (first, workloads) = (signs().await, house.kids(WORKLOADS.0));

    let only = BTreeSet::from([Purpose::Clouds]);
    assert_eq!(house.keeper.rotate(&only, false, at(10)).await.unwrap(), [(Purpose::Clouds, 2)]);
    house.look(&wanted, at(10)).await;
    assert_eq!((signs().await, house.kids(CLOUD.0).len()), (first.clone(), 2), "published before it signs");
    house.look(&wanted, at(70)).await;
    assert_ne!(signs().await, first);
    let states: Vec<_> =
        house.issuer.keys().iter().map(|key| (key.purpose.is_for_clouds(), key.generation, key.state)).collect();
    assert_eq!(states, [(false, 1, "active"), (true, 1, "retiring"), (true, 2, "active")]);
    assert_eq!(house.kids(WORKLOADS.0), workloads, "those of workloads' tokens are as before");

    house.keeper.rotate(&only, true, at(80)).await.unwrap();
    house.look(&wanted, at(80)).await;
    assert_eq!(house.kids(CLOUD.0), BTreeSet::from([signs().await]), "those of before are gone at once");
    assert_eq!(house.look(&wanted, at(3700)).await, [(TOKENS, 2), (Purpose::Clouds, 4)], "by the same schedule");
}
