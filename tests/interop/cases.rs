//! What is shown to each receiver, and what it must say.

use std::net::SocketAddr;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use leasehold_testkit::Svid;
use tokio::time::{Instant, sleep};

use super::world::{TENANT, World};
use crate::ground::{Answer, Line, SOON, load};
use crate::tokens::world::opened;

/// One request.
pub struct Case {
    pub name: &'static str,
    pub token: Option<String>,
    /// Whose certificate is shown in TLS.
    pub shown: Svid,
    pub tenant: &'static str,
    pub wanted: Wanted,
}

/// What a receiver must answer.
#[derive(Clone, Copy)]
pub enum Wanted {
    Accepted,
    /// With this status and error code, and one of these words in its reason: each library has words of its own.
    Refused(u16, &'static str, &'static [&'static str]),
}

const INVALID: &str = "error=\"invalid_token\"";
const INSUFFICIENT: &str = "error=\"insufficient_scope\"";

/// The receivers take it until their leeway of 10 s is over.
const EXPIRED: &str = "expired";

/// All but what was revoked. The one that expires is the last: it has the longest time for it.
pub async fn all(world: &World) -> Vec<Case> {
    let (billing, batch) = (&world.billing, &world.batch);
    let flash = world.token(billing, "payments-write", None, Some("1s")).await;
    let good = world.token(billing, "payments-write", None, None).await;
    let eddsa = world.token(batch, "payments-eddsa", None, None).await;
    let rs256 = world.token(batch, "payments-rs256", None, None).await;
    let loose = world.token(batch, "payments-loose", None, None).await;
    let reads = world.token(billing, "payments-write", Some("payments:read"), None).await;
    let ledger = world.token(billing, "ledger-write", None, None).await;
    let list = status_list(world, &good).await;
    let case = |name, token: String, shown: &Svid, wanted| Case {
        name,
        token: Some(token),
        shown: shown.clone(),
        tenant: TENANT,
        wanted,
    };
    let invalid = |words| Wanted::Refused(401, INVALID, words);
    vec![
        case("ES256", good.clone(), billing, Wanted::Accepted),
        case("EdDSA", eddsa, batch, Wanted::Accepted),
        case("RS256", rs256, batch, Wanted::Accepted),
        case("wrong audience", ledger, billing, invalid(&["aud"])),
        case("wrong scope", reads, billing, Wanted::Refused(403, INSUFFICIENT, &["scope payments:write"])),
        Case {
            tenant: "43",
            ..case("wrong tenant", good.clone(), billing, Wanted::Refused(403, INSUFFICIENT, &["tenant"]))
        },
        case("stolen: another certificate", good.clone(), batch, invalid(&["another certificate"])),
        case("bound to no certificate", loose, batch, invalid(&["no certificate"])),
        case("another claim, old signature", tampered(&good), billing, invalid(&["signature"])),
        case("algorithm none", unsigned(&good), billing, invalid(&["alg", "signing method none", "not a jws"])),
        case("HS256 by the public key", by_public_key(&good), billing, invalid(&["alg", "signing method", "such key"])),
        case("of no known key", of_unknown_key(&good), billing, invalid(&["key"])),
        case("a status list", list, billing, invalid(&["typ"])),
        Case { token: None, ..case("no token", String::new(), billing, Wanted::Refused(401, "Bearer", &[""])) },
        case(EXPIRED, flash, billing, invalid(&["exp"])),
    ]
}

fn encoded(json: &serde_json::Value) -> String {
    BASE64URL_NOPAD.encode(json.to_string().as_bytes())
}

fn parts(token: &str) -> (String, String, String) {
    let mut parts = token.split('.').map(str::to_owned);
    let mut next = || parts.next().expect("a part");
    (next(), next(), next())
}

fn tampered(token: &str) -> String {
    let ((header, _, signature), (_, mut claims)) = (parts(token), opened(token));
    claims["jti"] = "lh_other".into();
    format!("{header}.{}.{signature}", encoded(&claims))
}

/// With another header, and this for a signature.
fn with(token: &str, change: impl FnOnce(&mut serde_json::Value), signature: Option<&str>) -> String {
    let ((_, claims, old), (mut header, _)) = (parts(token), opened(token));
    change(&mut header);
    format!("{}.{claims}.{}", encoded(&header), signature.unwrap_or(&old))
}

fn unsigned(token: &str) -> String {
    with(token, |header| header["alg"] = "none".into(), Some(""))
}

/// What signature is there does not matter: nobody may come to look at it.
fn by_public_key(token: &str) -> String {
    with(token, |header| header["alg"] = "HS256".into(), None)
}

fn of_unknown_key(token: &str) -> String {
    with(token, |header| header["kid"] = "nobody".into(), None)
}

/// Something else that the issuer has signed: the status list in which this token stands.
async fn status_list(world: &World, token: &str) -> String {
    let (_, claims) = opened(token);
    let uri = claims["status"]["status_list"]["uri"].as_str().expect("its list").to_owned();
    let mut curl = tokio::process::Command::new("curl");
    let got = curl.args(["-sSf", "--cacert"]).arg(&world.issuer_ca).arg(&uri).output().await.expect("run curl");
    assert!(got.status.success(), "{uri}: {got:?}");
    String::from_utf8(got.stdout).expect("a token")
}

impl Case {
    /// Asks a receiver, which must show the SVID of payments.
    pub async fn ask(&self, world: &World, at: SocketAddr) -> Answer {
        let line = Line::open_to(at, &load(&self.shown), &world.payments.id, &["http/1.1"]).await;
        let token = self.token.as_ref().map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        // What a client says of itself is worth nothing.
        let forged =
            ["subject", "actor", "scope", "claims", "id", "expires"].map(|name| format!("x-token-{name}: forged\r\n"));
        let request = format!(
            "POST /tenants/{}/payments HTTP/1.1\r\nhost: payments\r\nconnection: close\r\n{token}{}content-length: 0\r\n\r\n",
            self.tenant,
            forged.concat()
        );
        line.expect("a handshake").exchange(request).await
    }

    /// The same; a token that is to have expired is shown until it has: nobody answers otherwise then for long.
    pub async fn ask_when_due(&self, world: &World, at: SocketAddr) -> Answer {
        let deadline = Instant::now() + SOON;
        loop {
            let answer = self.ask(world, at).await;
            let is_early = self.name == EXPIRED && answer.status == 200 && Instant::now() < deadline;
            if !is_early {
                return answer;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// What a receiver says of it, in short. It must be what is wanted.
    pub fn judge(&self, receiver: &str, answer: &Answer) -> String {
        let said = answer.header("www-authenticate").unwrap_or_default();
        let name = self.name;
        match self.wanted {
            Wanted::Accepted => {
                let wanted = format!("{} pays for tenant {}", self.shown.id, self.tenant);
                assert_eq!(
                    (answer.status, answer.body.as_str()),
                    (200, wanted.as_str()),
                    "{receiver}: {name}: {answer:?}"
                );
                "accepted".to_owned()
            }
            Wanted::Refused(status, error, words) => {
                assert_eq!(answer.status, status, "{receiver}: {name}: {answer:?}");
                assert!(said.contains(error), "{receiver}: {name}: {answer:?}");
                let lower = said.to_lowercase();
                assert!(words.iter().any(|word| lower.contains(word)), "{receiver}: {name}: {answer:?}");
                let reason = said.split("error_description=\"").nth(1).and_then(|rest| rest.split('"').next());
                format!("{status}, {}", reason.unwrap_or("no reason, as nothing was shown"))
            }
        }
    }
}
