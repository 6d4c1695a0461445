//! What every broker in these tests stands on: a database, a CA, a directory, the names that all stories share; and the
//! ways to talk to the broker from outside. [`crate::stage`] and [`crate::rig`] build on it.

mod http;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasehold_client::wire::{Credential, DatabaseCredential, Lease, LeaseQuery, MintRequest};
use leasehold_client::{Client, ClientError, Settings};
use leasehold_identity::Identity;
use leasehold_testkit::{Admin, Broker, BrokerOptions, ConfigFile, PgFixture, Svid, TestCa, unique};
use tempfile::TempDir;

pub use http::{Answer, Line, request};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_leasehold");

/// Longer than anything here takes on a busy machine; what is waited for usually comes within a second.
pub const SOON: Duration = Duration::from_secs(60);

/// The service of these stories.
pub const BILLING: &str = "/billing";
/// Who sees and ends everything, and runs the broker.
pub const OPERATOR: &str = "/operator";
/// The target.
pub const TARGET: &str = "orders";

/// With which rights the broker works in the database.
#[derive(Clone, Copy, Debug)]
pub enum Rights {
    /// A superuser.
    Superuser,
    /// CREATEROLE, ADMIN on the groups, `pg_signal_backend`.
    CreateRole,
}

/// What the accounts of the target may do.
#[derive(Clone, Copy, Debug)]
pub enum Group {
    /// Read the table `orders`.
    Reader,
    /// Create objects.
    Writer,
}

/// All that a configuration is made from. Each has a cluster of its own, so that many can share a database server.
pub struct Ground {
    /// The database.
    pub pg: PgFixture,
    /// Who issues SVIDs in `dev.local`.
    pub ca: TestCa,
    /// The broker's login in the database.
    pub admin: Admin,
    /// The group that the accounts are members of.
    pub group: String,
    /// The broker's cluster.
    pub cluster: String,
    dir: TempDir,
}

/// A credential with its lease.
pub struct Held {
    /// The lease as it was when it was handed out.
    pub lease: Lease,
    /// The login.
    pub login: DatabaseCredential,
}

impl Ground {
    /// In this database, with the files of the broker's own SVID in their place.
    pub async fn in_database(pg: PgFixture, rights: Rights, group: Group) -> Self {
        // One at a time: PostgreSQL refuses two GRANTs at once on the same database.
        static SETTING_UP: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _alone = SETTING_UP.lock().await;
        let group = match group {
            Group::Reader => pg.reader_group().await,
            Group::Writer => pg.writer_group().await,
        };
        let admin = match rights {
            Rights::Superuser => pg.superuser_admin().await,
            Rights::CreateRole => pg.admin(&[&group]).await,
        };
        let (dir, ca) = (tempfile::tempdir().expect("a directory"), TestCa::new("dev.local"));
        ca.equip_broker(dir.path());
        Self { pg, ca, admin, group, cluster: unique("c"), dir }
    }

    /// The broker's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A configuration without targets, roles and grants, which tries again soon to end what it could not end.
    pub fn empty_config(&self) -> ConfigFile {
        ConfigFile::new(self.dir(), &self.cluster, self.ca.trust_domain()).limit("revoke_retry_milliseconds_min", 100)
    }

    /// Puts the target into a configuration: at this URL, which may be a proxy's, with further lines.
    pub fn target(&self, config: ConfigFile, url: &str, more: &str) -> ConfigFile {
        // Few iterations: no password of these tests is worth guessing, and the machine has better things to do.
        config.postgres(TARGET, url, &self.admin.password, &format!("scram_iterations = 64\n{more}"))
    }

    /// An SVID of `dev.local` in files.
    pub fn svid(&self, path: &str) -> Svid {
        self.ca.svid(path)
    }

    /// An SVID of `dev.local`, loaded.
    pub fn identity(&self, path: &str) -> Arc<Identity> {
        load(&self.svid(path))
    }

    /// A client of the broker at `https://…`.
    pub fn client_at(&self, url: String, path: &str) -> Client {
        self.client_of(url, path, None)
    }

    /// A client that demands this ID of the broker.
    pub fn client_of(&self, url: String, path: &str, broker_id: Option<&str>) -> Client {
        client_with(url, self.svid(path), broker_id)
    }

    /// One lease, as the operator sees it.
    pub async fn lease(&self, broker: &Broker, id: &str) -> Lease {
        self.client_at(broker.url(), OPERATOR).lease(id).await.expect("the operator sees the lease")
    }

    /// Every lease there is, newest first.
    pub async fn leases(&self, broker: &Broker) -> Vec<Lease> {
        let operator = self.client_at(broker.url(), OPERATOR);
        let leases = operator.all_leases(&LeaseQuery::default()).await.expect("the operator lists the leases");
        operator.close().await;
        leases
    }
}

/// A client of the broker at `https://…` with this SVID, that demands this ID of it.
pub fn client_with(url: String, svid: Svid, broker_id: Option<&str>) -> Client {
    let settings = Settings {
        addr: Some(url),
        cert: Some(svid.cert),
        key: Some(svid.key),
        bundle: Some(svid.bundle),
        broker_id: broker_id.map(str::to_owned),
        ..Settings::default()
    };
    Client::new(settings.load_files().expect("good settings")).expect("a client")
}

/// How the real program is started with this configuration, which is written.
pub fn options(config: &ConfigFile) -> BrokerOptions {
    BrokerOptions::new(PROGRAM, config.write())
}

/// Starts a broker that must come up.
pub async fn start(options: BrokerOptions) -> Broker {
    Broker::start(options).await.unwrap_or_else(|e| panic!("{e:#}"))
}

/// Loads an SVID from its files.
pub fn load(svid: &Svid) -> Arc<Identity> {
    Identity::from_files(&svid.cert, &svid.key, &svid.bundle).expect("load the SVID")
}

/// Asks for a database credential of this role.
pub async fn mint_of(client: &Client, role: &str, ask: &MintRequest) -> Result<Held, ClientError> {
    let issued = client.mint(role, ask).await?;
    match issued.credential {
        Credential::Database(login) => Ok(Held { lease: issued.lease.expect("a lease"), login }),
        other => panic!("not a database credential but {}", other.kind()),
    }
}

/// Asks for a TTL.
pub fn for_ttl(ttl: &str) -> MintRequest {
    MintRequest { ttl: Some(ttl.to_owned()), ..MintRequest::default() }
}
