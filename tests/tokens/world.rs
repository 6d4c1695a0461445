//! A broker that issues tokens for two services, and ways to ask it.

use data_encoding::BASE64URL_NOPAD;
use leasehold_testkit::{ConfigFile, TestCa};
use serde_json::Value;

use crate::ground::{Answer, Line};
use crate::rig::{Ground, Rig};

/// Whom most tokens are for.
pub const PAYMENTS: &str = "https://payments.example.org";
/// Whom payments itself calls.
pub const LEDGER: &str = "https://ledger.example.org";

/// The issuer.
pub const ISSUER: &str = "https://leasehold.example.org";

/// The service that pays.
pub const SHOP: &str = "/ns/shop/sa/web";
/// The service that is paid, to which tokens are sent.
pub const RECEIVER: &str = "/ns/payments/sa/api";
/// Another of its team.
pub const COLLEAGUE: &str = "/ns/payments/sa/batch";

/// Tokens that write, for the tenant that is asked for.
pub const WRITE: &str = "payments-write";
/// Tokens that read.
pub const LOOK: &str = "payments-read";
/// Tokens for the ledger.
pub const BOOK: &str = "ledger-book";
/// Tokens that say the team of whoever asked.
pub const TEAM: &str = "ledger-team";
/// Tokens that nobody can end.
pub const BRIEF: &str = "payments-brief";

const CONFIG: &str = r#"
[token]
issuer = "https://leasehold.example.org"
publish_before = "5s"

[targets.payments]
plugin = "token"
audience = "https://payments.example.org"
verifiers = ["spiffe://dev.local/ns/payments/sa/api"]

[targets.ledger]
plugin = "token"
audience = "https://ledger.example.org"

[roles.payments-write]
target = "payments"
ttl = "10m"
scopes = ["payments:read", "payments:write"]
params = { tenant = "[0-9]{1,9}" }
claims = { tenant = "{{ params.tenant }}", tier = "gold" }

[roles.payments-read]
target = "payments"
ttl = "5m"
max_ttl = "1h"
scopes = ["payments:read"]
bind = "none"
algorithm = "EdDSA"

[roles.payments-brief]
target = "payments"
ttl = "1m"
scopes = ["payments:ping"]
lease = false

[roles.ledger-book]
target = "ledger"
ttl = "1h"
scopes = ["payments:write", "ledger:book"]
params = { tenant = "[0-9]{1,9}" }
claims = { tenant = "{{ params.tenant }}" }
algorithm = "RS256"

[roles.ledger-team]
target = "ledger"
ttl = "5m"
scopes = ["ledger:team"]
claims = { team = "{{ identity.team }}" }

[[grants]]
name = "shops pay for the forties"
identities = ["spiffe://dev.local/ns/shop/sa/*"]
roles = ["payments-write"]
params = { tenant = "4[0-9]" }

[[grants]]
name = "shops look"
identities = ["spiffe://dev.local/ns/shop/sa/*"]
roles = ["payments-read", "payments-brief"]

[[grants]]
name = "a partner pays for itself"
identities = ["spiffe://partner.example/shop"]
roles = ["payments-write"]
params = { tenant = "700" }

[[grants]]
name = "payments books on behalf of shops"
identities = ["spiffe://dev.local/ns/payments/sa/api"]
subjects = ["spiffe://dev.local/ns/shop/sa/*"]
roles = ["ledger-book"]
actions = ["exchange"]

[[grants]]
name = "teams say who they are"
identities = ["spiffe://dev.local/ns/{team}/sa/*"]
roles = ["ledger-team"]
"#;

/// What [`World::form`] answers.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub json: Value,
}

impl Told {
    /// The text of a member, or nothing.
    pub fn text(&self, member: &str) -> &str {
        self.json[member].as_str().unwrap_or_default()
    }
}

/// A broker that runs.
pub struct World {
    pub rig: Rig,
    pub partner: TestCa,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// With a public listener, and these lines of `[limits]`.
    pub async fn in_public(limits: &[(&str, u64)]) -> Self {
        let with_limits = |config: ConfigFile| limits.iter().fold(config, |config, (key, n)| config.limit(key, *n));
        Self::with(|config| with_limits(config.listen("public = \"127.0.0.1:0\""))).await
    }

    /// With a public listener, of this issuer.
    pub async fn issued_by(issuer: &str) -> Self {
        Self::make(issuer, |config| config.listen("public = \"127.0.0.1:0\"")).await
    }

    /// With a change to the configuration.
    pub async fn with(change: impl FnOnce(ConfigFile) -> ConfigFile) -> Self {
        Self::make(ISSUER, change).await
    }

    async fn make(issuer: &str, change: impl FnOnce(ConfigFile) -> ConfigFile) -> Self {
        let (ground, partner) = (Ground::new().await, TestCa::new("partner.example"));
        std::fs::write(ground.dir().join("partner.pem"), partner.bundle_pem()).expect("write the partner's bundle");
        // Beside a shared store no broker makes one.
        let file = ground.dir().join("seal.key");
        let mut text = data_encoding::BASE64.encode(&leasehold_sdk::random::bytes::<32>());
        text.push('\n');
        std::fs::write(&file, text).expect("write the seal key");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("nobody else reads it");
        let key = file.display().to_string();
        let config = ground.config().bundle("partner.example", "partner.pem");
        let config =
            config.table("[seal]", &format!("key = {{ file = \"{key}\" }}\n{}", CONFIG.replace(ISSUER, issuer)));
        Self { rig: ground.start(change(config)).await, partner }
    }

    /// Sends a form as this workload.
    pub async fn form(&self, path: &str, uri: &str, fields: &[(&str, &str)]) -> Told {
        let mut line = self.rig.line(path).await;
        form(&mut line, uri, fields).await
    }

    /// A token for payments with these scopes, as a shop.
    pub async fn token(&self, scope: &str) -> Told {
        let tenant: &[(&str, &str)] = if scope.contains("write") { &[("tenant", "42")] } else { &[] };
        let ask = [&[("grant_type", "client_credentials"), ("resource", PAYMENTS), ("scope", scope)], tenant].concat();
        let told = self.form(SHOP, "/oauth2/token", &ask).await;
        assert_eq!(told.status, 200, "{told:?}");
        told
    }

    /// What introspection tells this workload.
    pub async fn introspect(&self, path: &str, token: &str) -> Value {
        let told = self.form(path, "/oauth2/introspect", &[("token", token)]).await;
        assert_eq!(told.status, 200, "{told:?}");
        told.json
    }
}

/// Sends a form on this connection.
pub async fn form(line: &mut Line, uri: &str, fields: &[(&str, &str)]) -> Told {
    let body = fields.iter().map(|(name, value)| format!("{}={}", percent(name), percent(value)));
    let body = body.collect::<Vec<_>>().join("&");
    told(&post(line, uri, "", &body).await)
}

/// A POST of a form with a further header, as it is.
pub async fn post(line: &mut Line, uri: &str, header: &str, body: &str) -> Answer {
    let kind = "content-type: application/x-www-form-urlencoded";
    let head =
        format!("POST {uri} HTTP/1.1\r\nhost: broker\r\n{kind}\r\n{header}content-length: {}\r\n\r\n", body.len());
    line.exchange(head + body).await
}

pub fn told(answer: &Answer) -> Told {
    Told { status: answer.status, json: serde_json::from_str(&answer.body).unwrap_or(Value::Null) }
}

fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Header and claims of a token, unverified: that its signature is good is for those who do not trust us to say.
pub fn opened(token: &str) -> (Value, Value) {
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "no token: {token}");
    let read = |part: &str| {
        serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("JSON")
    };
    (read(parts[0]), read(parts[1]))
}
