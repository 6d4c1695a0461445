//! A broker whose issuer ordinary libraries reach by its host name, and who is in the story.

use std::path::PathBuf;

use leasehold_client::wire::{Credential, MintRequest};
use leasehold_testkit::playground::free_port;
use leasehold_testkit::{Broker, Svid, WebTls};
use secrecy::ExposeSecret;

use crate::ground::{client_with, options};
use crate::rig::{Ground, Rig};

/// Whom tokens are for.
pub const PAYMENTS: &str = "https://payments.example.org";
/// The tenant of most tokens.
pub const TENANT: &str = "42";

const CONFIG: &str = r#"
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
claims = { tenant = "{{ params.tenant }}" }

[roles.payments-eddsa]
target = "payments"
ttl = "10m"
scopes = ["payments:write"]
params = { tenant = "[0-9]{1,9}" }
claims = { tenant = "{{ params.tenant }}" }
algorithm = "EdDSA"

[roles.payments-rs256]
target = "payments"
ttl = "10m"
scopes = ["payments:write"]
params = { tenant = "[0-9]{1,9}" }
claims = { tenant = "{{ params.tenant }}" }
algorithm = "RS256"

[roles.payments-loose]
target = "payments"
ttl = "10m"
scopes = ["payments:write"]
params = { tenant = "[0-9]{1,9}" }
claims = { tenant = "{{ params.tenant }}" }
bind = "none"

[roles.ledger-write]
target = "ledger"
ttl = "10m"
scopes = ["payments:write"]
params = { tenant = "[0-9]{1,9}" }
claims = { tenant = "{{ params.tenant }}" }

[[grants]]
name = "billing pays"
identities = ["spiffe://dev.local/ns/billing/sa/web"]
roles = ["payments-write", "ledger-write"]

[[grants]]
name = "others of billing try all there is"
identities = ["spiffe://dev.local/ns/billing/sa/batch"]
roles = ["payments-eddsa", "payments-rs256", "payments-loose"]
"#;

/// How often a port is tried that somebody else has taken meanwhile.
const TRIES: u32 = 5;

pub struct World {
    pub rig: Rig,
    pub issuer: String,
    /// The issuer's authority, in PEM.
    pub issuer_ca: PathBuf,
    /// Who pays.
    pub billing: Svid,
    /// Another of its team, who gets tokens of other kinds, and steals.
    pub batch: Svid,
    /// Who is paid.
    pub payments: Svid,
    /// The proxy in front of it.
    pub nginx: Svid,
}

impl World {
    pub async fn new() -> Self {
        let mut tries = 0;
        loop {
            match Self::at_a_port().await {
                Ok(world) => return world,
                Err(error) => assert!(tries < TRIES, "{error:#}"),
            }
            tries += 1;
        }
    }

    /// Issuer and API must be known before they listen: discovery names both.
    async fn at_a_port() -> anyhow::Result<Self> {
        let (ground, port) = (Ground::new().await, free_port()?);
        let api = format!("127.0.0.1:{}", free_port()?);
        let web = WebTls::write(ground.dir());
        let issuer = format!("https://127.0.0.1:{port}");
        let config = ground
            .config()
            .api(&api)
            .listen(&format!("api_url = \"https://{api}\""))
            .listen(&format!("public = \"127.0.0.1:{port}\""))
            .listen("public_tls = { cert = \"web.pem\", key = \"web-key.pem\" }")
            .table("[seal]", "key = { file = \"seal.key\" }")
            .table("[token]", &format!("issuer = \"{issuer}\"\n{CONFIG}"));
        let broker = Broker::start(options(&config)).await?;
        let svid = |path: &str| ground.svid(path);
        let (billing, batch) = (svid("/ns/billing/sa/web"), svid("/ns/billing/sa/batch"));
        let (payments, nginx) = (svid("/ns/payments/sa/api"), svid("/ns/payments/sa/nginx"));
        Ok(Self { rig: Rig { ground, config, broker }, issuer, issuer_ca: web.ca, billing, batch, payments, nginx })
    }

    /// A token that this one asks for, with these of the role's scopes, or all of them.
    pub async fn token(&self, who: &Svid, role: &str, scope: Option<&str>, ttl: Option<&str>) -> String {
        let ask = MintRequest {
            ttl: ttl.map(str::to_owned),
            scope: scope.map(str::to_owned),
            params: Some([("tenant".to_owned(), TENANT.to_owned())].into()),
            ..MintRequest::default()
        };
        let client = client_with(self.rig.broker.url(), who.clone(), None);
        let issued = client.mint(role, &ask).await.unwrap_or_else(|e| panic!("{role}: {e}"));
        client.close().await;
        let Credential::Token(token) = issued.credential else { panic!("{role}: no token") };
        token.access_token.expose_secret().to_owned()
    }
}
