//! A broker with everything around it, for tests that talk to its API and its command line as others would.

mod stranger;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use leasehold_client::wire::{DatabaseCredential, Lease, MintRequest};
use leasehold_client::{Client, ClientError};
use leasehold_identity::{BundleSource, Identity, IdentityConfig, SvidSource, TrustDomain};
use leasehold_testkit::{Broker, ConfigFile, Installation, PgFixture, Svid, TestCa, distribution};
use serde_json::Value;

use crate::ground::{self, Group, Rights, TARGET, mint_of};

pub use crate::ground::{Answer, BILLING, Ground, Line, OPERATOR, SOON, for_ttl, load, request};
pub use stranger::{Stranger, hello_of_tls_1_2};

/// May mint [`TENANT`], for the tenants 40 to 49.
pub const TENANTS: &str = "/tenants";
/// May see every lease.
pub const AUDITOR: &str = "/auditor";
/// Has a good SVID and no grant.
pub const STRANGER: &str = "/stranger";

/// A role without params, which [`BILLING`] may mint: for 10 minutes, at most an hour.
pub const READ: &str = "orders-read";
/// A role with the param `tenant`, which its logins have as the setting `app.tenant`.
pub const TENANT: &str = "orders-tenant";

/// A broker that runs.
pub struct Rig {
    /// What it stands on.
    pub ground: Ground,
    /// Its configuration.
    pub config: ConfigFile,
    /// The broker.
    pub broker: Broker,
}

impl Ground {
    /// On the database server that all tests share.
    pub async fn new() -> Self {
        Self::on(distribution()).await
    }

    /// On the shared server of this version.
    pub async fn on(postgres: Installation) -> Self {
        Self::in_database(PgFixture::shared(postgres).await, Rights::Superuser, Group::Reader).await
    }

    /// The configuration that most tests want, with the files that it names.
    pub fn config(&self) -> ConfigFile {
        let group = &self.group;
        let read = format!("target = \"{TARGET}\"\nttl = \"10m\"\nmax_ttl = \"1h\"\nmember_of = [\"{group}\"]");
        self.bare_config()
            .role(READ, &read)
            .role(TENANT, &format!("{read}\nparams = {{ tenant = \"[0-9]{{1,9}}\" }}\ncreation_statements = [\"ALTER ROLE {{{{name}}}} SET app.tenant = {{{{params.tenant}}}}\"]"))
            .grant("billing reads", &["spiffe://dev.local/billing"], &[READ], &["mint"])
            .table("[[grants]]", &format!(
                "name = \"tenants of the forties\"\nidentities = [\"spiffe://dev.local/tenants\"]\nroles = [\"{TENANT}\"]\nparams = {{ tenant = \"4[0-9]\" }}"
            ))
            .grant("auditors look", &["spiffe://dev.local/auditor"], &["*"], &["read"])
            .grant("operators run it", &["spiffe://dev.local/operator"], &["*"], &["read", "revoke", "admin"])
    }

    /// A target and nothing that can be asked for.
    fn bare_config(&self) -> ConfigFile {
        self.ca.equip_broker(self.dir());
        self.target(self.empty_config(), &self.admin.url, "")
    }

    /// A workload of another trust domain, which knows the broker's bundle.
    pub fn of_partner(&self, ca: &TestCa, path: &str) -> Arc<Identity> {
        let svid = ca.svid(path);
        let domain = |name: &str| TrustDomain::parse(name).expect("a trust domain");
        let bundles = BTreeMap::from([
            (domain(ca.trust_domain()), BundleSource::File(svid.bundle)),
            (domain("dev.local"), BundleSource::File(self.dir().join("bundle.pem"))),
        ]);
        let svid = SvidSource::Files { cert: svid.cert, key: svid.key };
        Identity::load(IdentityConfig { trust_domain: domain(ca.trust_domain()), svid, bundles }).expect("load")
    }

    /// Starts a broker with this configuration.
    pub async fn start(self, config: ConfigFile) -> Rig {
        let broker = ground::start(ground::options(&config)).await;
        Rig { ground: self, config, broker }
    }

    /// Starts a broker that must refuse this configuration, and answers what it said.
    pub async fn refused(&self, config: &ConfigFile) -> String {
        let options = ground::options(config);
        let _ = std::fs::remove_file(self.dir().join("broker.log"));
        let (status, said) = Broker::start_refused(options).await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }
}

impl Rig {
    /// With the configuration that most tests want.
    pub async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// With a change to it.
    pub async fn with(change: impl FnOnce(ConfigFile) -> ConfigFile) -> Self {
        let ground = Ground::new().await;
        let config = change(ground.config());
        ground.start(config).await
    }

    /// Where the API is.
    pub fn api(&self) -> SocketAddr {
        self.broker.addresses().api
    }

    /// An SVID of `dev.local` in files.
    pub fn svid(&self, path: &str) -> Svid {
        self.ground.svid(path)
    }

    /// A connection of this workload, with HTTP/1.1 to be written on it by hand.
    pub async fn line(&self, path: &str) -> Line {
        Line::open(self.api(), &self.ground.identity(path)).await.expect("a handshake")
    }

    /// The same of somebody whose trust domain may be another.
    pub async fn line_of(&self, identity: &Arc<Identity>) -> Line {
        Line::open_to(self.api(), identity, "spiffe://dev.local/leasehold", &["http/1.1"]).await.expect("a handshake")
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, path: &str, method: &str, uri: &str, body: Option<&str>) -> Answer {
        let mut line = self.line(path).await;
        line.ask(method, uri, body).await
    }

    /// A client of this workload.
    pub fn client(&self, path: &str) -> Client {
        self.client_with(path, None)
    }

    /// A client that demands this ID of the broker.
    pub fn client_with(&self, path: &str, broker_id: Option<&str>) -> Client {
        self.ground.client_of(self.broker.url(), path, broker_id)
    }

    /// The program with these arguments as this workload.
    pub async fn run(&self, path: &str, arguments: &[&str]) -> Output {
        let command = self.command(path, arguments).output();
        tokio::time::timeout(SOON, command).await.expect("the command ends").expect("the command starts")
    }

    /// The same, not yet started.
    pub fn command(&self, path: &str, arguments: &[&str]) -> tokio::process::Command {
        let mut command = self.broker.command(&self.svid(path));
        command.args(arguments);
        command
    }

    /// Every lease there ever was, newest first.
    pub async fn leases(&self) -> Vec<Lease> {
        self.ground.leases(&self.broker).await
    }

    /// One lease, as the operator sees it.
    pub async fn lease(&self, id: &str) -> Lease {
        self.ground.lease(&self.broker, id).await
    }

    /// The accounts of this broker in the database.
    pub async fn accounts(&self) -> Vec<String> {
        let roles = self.ground.pg.roles_with_prefix(&format!("lh_{}_", self.ground.cluster)).await;
        // The estate keeps what accounts owned; nobody can log in as it.
        roles.into_iter().filter(|role| !role.ends_with("_estate")).collect()
    }

    /// The audit log's lines.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit_path()).expect("the audit log");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The audit log.
    pub fn audit_path(&self) -> PathBuf {
        self.config.audit_path()
    }

    /// How often a limit refused something.
    pub async fn hits(&self, limit: &str) -> f64 {
        self.broker.metric(&format!("leasehold_limit_hits_total{{limit=\"{limit}\"}}")).await.unwrap_or(0.0)
    }

    /// Demands that the broker is ready and mints.
    pub async fn assert_healthy(&self) {
        let (status, ready) = self.broker.ops("/readyz").await.expect("an answer");
        assert_eq!(status, 200, "{ready}");
        let client = self.client(BILLING);
        let (lease, _) = mint(&client, READ, &MintRequest::default()).await.expect("a healthy broker mints");
        client.revoke(&lease.id).await.expect("and revokes");
        client.close().await;
    }
}

/// Asks for a database credential.
pub async fn mint(client: &Client, role: &str, ask: &MintRequest) -> Result<(Lease, DatabaseCredential), ClientError> {
    mint_of(client, role, ask).await.map(|held| (held.lease, held.login))
}
