//! A whole stage for tests that look at a broker from outside: a database, a CA, a configuration, the real program.

mod quiet;
mod raw;

use std::path::Path;
use std::time::Duration;

use leasehold_client::wire::{Credential, DatabaseCredential, Lease, LeaseQuery, MintRequest};
use leasehold_client::{Client, ClientError, Settings};
use leasehold_testkit::{
    Admin, Broker, BrokerOptions, ConfigFile, PgFixture, Session, Svid, TestCa, unique, wait_until,
};
use secrecy::ExposeSecret;
use tempfile::TempDir;

pub use quiet::find;
pub use raw::Raw;

/// Longer than anything here takes on a busy machine; what is waited for usually comes within a second.
pub const SOON: Duration = Duration::from_secs(60);

/// The service of these stories.
pub const BILLING: &str = "/billing";
/// Who sees and ends everything.
pub const OPERATOR: &str = "/operator";
/// The target, and the role in it that [`Stage::new`] configures.
pub const TARGET: &str = "orders";
/// See [`TARGET`].
pub const ROLE: &str = "orders-write";

/// With which rights the broker works in the database.
#[derive(Clone, Copy, Debug)]
pub enum Rights {
    /// A superuser.
    Superuser,
    /// CREATEROLE, ADMIN on the groups, `pg_signal_backend`.
    CreateRole,
}

/// All that a broker needs around it. Each has a cluster of its own, so that many can share a database server.
pub struct Stage {
    /// The database.
    pub pg: PgFixture,
    /// Who issues SVIDs.
    pub ca: TestCa,
    /// The configuration; to be changed before [`Stage::broker`], or written again for a reload.
    pub config: ConfigFile,
    /// The cluster's name.
    pub cluster: String,
    /// The broker's login in the database.
    pub admin: Admin,
    /// The lines of the target beside URL and password, and of the role.
    pub group: String,
    _dir: TempDir,
}

/// A credential with its lease.
pub struct Held {
    /// The lease as it was when it was handed out.
    pub lease: Lease,
    /// The login.
    pub login: DatabaseCredential,
}

impl Stage {
    /// A stage on this database: a target `orders`, a role `orders-write` in it, `/billing` may mint it, `/operator` may
    /// do all else.
    pub async fn new(pg: PgFixture, rights: Rights) -> Self {
        // One at a time: PostgreSQL refuses two GRANTs at once on the same database.
        static SETTING_UP: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _alone = SETTING_UP.lock().await;
        let group = pg.writer_group().await;
        let admin = match rights {
            Rights::Superuser => pg.superuser_admin().await,
            Rights::CreateRole => pg.admin(&[&group]).await,
        };
        let (dir, ca, cluster) = (tempfile::tempdir().expect("a directory"), TestCa::new("dev.local"), unique("c"));
        ca.equip_broker(dir.path());
        let config = Self::bare(dir.path(), &cluster)
            .limit("revoke_retry_milliseconds_min", 100)
            .limit("mints_per_minute_per_identity_and_role", 100_000)
            .grant("billing writes", &["spiffe://dev.local/billing"], &[ROLE], &["mint"]);
        Self { pg, ca, config, cluster, admin, group, _dir: dir }
    }

    /// A configuration without targets and roles, for a broker of this cluster with its files in `dir`.
    pub fn bare(dir: &Path, cluster: &str) -> ConfigFile {
        let operators = ["spiffe://dev.local/operator"];
        ConfigFile::new(dir, cluster, "dev.local").grant("operators", &operators, &["*"], &["read", "revoke", "admin"])
    }

    /// Puts in the target as it is, and the role with these lines beside target and groups.
    pub fn with_target(self, role: &str) -> Self {
        let url = self.admin.url.clone();
        self.with_target_at(&url, "", role)
    }

    /// The same with another URL, such as a proxy's, and further lines of the target.
    pub fn with_target_at(mut self, url: &str, target: &str, role: &str) -> Self {
        let group = &self.group;
        let role = format!("target = \"{TARGET}\"\nmember_of = [\"{group}\"]\n{role}");
        // Few iterations: no password of these tests is worth guessing, and the machine has better things to do.
        let target = format!("scram_iterations = 64\n{target}");
        self.config = self.config.postgres(TARGET, url, &self.admin.password, &target).role(ROLE, &role);
        self
    }

    /// Sets a limit.
    pub fn limit(mut self, key: &str, value: u64) -> Self {
        self.config = self.config.limit(key, value);
        self
    }

    /// How the real program is started with this configuration.
    pub fn options(&self) -> BrokerOptions {
        BrokerOptions::new(env!("CARGO_BIN_EXE_leasehold"), self.config.write())
    }

    /// Starts it.
    pub async fn broker(&self) -> Broker {
        Broker::start(self.options()).await.unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// Starts it so that it is killed when it passes this step.
    pub async fn broker_that_dies_at(&self, step: &str) -> Broker {
        let options = self.options().env("LEASEHOLD_FAIL_POINT", step);
        Broker::start(options).await.unwrap_or_else(|e| panic!("{step}: {e:#}"))
    }

    /// An SVID for a workload.
    pub fn svid(&self, path: &str) -> Svid {
        self.ca.svid(path)
    }

    /// A client of the broker as it listens now.
    pub fn client(&self, broker: &Broker, path: &str) -> Client {
        self.client_at(broker.url(), path)
    }

    /// A client of the broker at `https://…`.
    pub fn client_at(&self, url: String, path: &str) -> Client {
        let svid = self.svid(path);
        let settings = Settings {
            addr: Some(url),
            cert: Some(svid.cert),
            key: Some(svid.key),
            bundle: Some(svid.bundle),
            ..Settings::default()
        };
        Client::new(settings.load().expect("good settings")).expect("a client")
    }

    /// A session of whoever holds this credential.
    pub async fn session(&self, held: &Held) -> Session {
        self.pg.session(&held.login.username, held.login.password.expose_secret()).await
    }

    /// Demands that the login is refused.
    pub async fn assert_refused(&self, held: &Held) {
        self.pg.assert_refused(&held.login.username, held.login.password.expose_secret()).await;
    }

    /// A second target beside the first, with a role in it that `/billing` may mint.
    pub async fn with_second_target(mut self, target: &str, pg: &PgFixture, role: &str, lines: &str) -> Self {
        let (admin, group) = (pg.superuser_admin().await, pg.writer_group().await);
        let lines = format!("target = \"{target}\"\nmember_of = [\"{group}\"]\n{lines}");
        let more = "scram_iterations = 64\n";
        let config = self.config.postgres(target, &admin.url, &admin.password, more).role(role, &lines);
        self.config = config.grant("billing has more", &["spiffe://dev.local/billing"], &[role], &["mint"]);
        self
    }

    /// One lease, as the operator sees it.
    pub async fn lease(&self, broker: &Broker, id: &str) -> Lease {
        self.client(broker, OPERATOR).lease(id).await.expect("the operator sees the lease")
    }

    /// Waits until a lease is over, and answers it.
    pub async fn over(&self, broker: &Broker, id: &str) -> Lease {
        let operator = self.client(broker, OPERATOR);
        wait_until(SOON, &format!("the lease {id} to be over"), || async {
            operator.lease(id).await.is_ok_and(|lease| lease.is_over())
        })
        .await;
        self.lease(broker, id).await
    }

    /// Every lease there is, newest first.
    pub async fn leases(&self, broker: &Broker) -> Vec<Lease> {
        let operator = self.client(broker, OPERATOR);
        operator.all_leases(&LeaseQuery::default()).await.expect("the operator lists the leases")
    }
}

/// Asks for a credential of [`ROLE`] for this long.
pub async fn mint(client: &Client, ttl: &str) -> Result<Held, ClientError> {
    mint_of(client, ROLE, &MintRequest { ttl: Some(ttl.to_owned()), ..MintRequest::default() }).await
}

/// Asks for a credential of this role.
pub async fn mint_of(client: &Client, role: &str, ask: &MintRequest) -> Result<Held, ClientError> {
    let issued = client.mint(role, ask).await?;
    match issued.credential {
        Credential::Database(login) => Ok(Held { lease: issued.lease, login }),
        other => panic!("not a database credential but {}", other.kind()),
    }
}

/// The HTTP status with which the broker said no.
pub fn refusal(answer: Result<Held, ClientError>) -> leasehold_client::wire::Problem {
    match answer {
        Err(ClientError::Problem(problem)) => *problem,
        Err(other) => panic!("no problem document: {other}"),
        Ok(held) => panic!("it was handed out: {:?}", held.lease),
    }
}

/// How a lease stands and why.
pub fn end(lease: &Lease) -> (&str, Option<&str>) {
    (lease.state.as_str(), lease.ended_by.as_deref())
}
