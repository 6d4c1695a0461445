//! What both sides are measured on: a server, an admin, a CA, and brokers that use them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use leasehold_client::{Client, ClientConfig};
use leasehold_identity::{Identity, SpiffeId};
use leasehold_testkit::{
    Admin, Broker, BrokerOptions, ConfigFile, PgFixture, PgOptions, Session, TestCa, distribution,
};
use tempfile::TempDir;

/// PBKDF2 iterations of the targets: the default, and the least there is.
pub const ITERATIONS: [u32; 2] = [4096, 1];
/// Most callers of a run; each has an identity of its own.
pub const CALLERS_MAX: usize = 64;
/// The standing role that bare accounts join where the broker's join `lh_bench`.
pub const BARE_MARK: &str = "bench_mark";

const TRUST_DOMAIN: &str = "bench.local";
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// The server and all that stands around it.
pub struct Bed {
    pub fixture: PgFixture,
    /// The group whose rights the accounts get.
    pub group: String,
    pub admin: Admin,
    ca: TestCa,
}

/// A broker with its own store and audit log. It dies with this value.
pub struct Serving {
    pub broker: Broker,
    /// Ends leases and looks at all of them.
    pub operator: Client,
    dir: TempDir,
}

impl Serving {
    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("leasehold.db")
    }
}

/// The role, and the target, with this many iterations.
pub fn role(iterations: u32) -> String {
    format!("scram-{iterations}")
}

impl Bed {
    /// Starts the server, with its defaults: every commit waits for the disk.
    pub async fn make() -> Result<Self> {
        let fixture = PgFixture::own(PgOptions::on(distribution()).max_connections(200)).await;
        let group = fixture.reader_group().await;
        let admin = fixture.superuser_admin().await;
        fixture.superuser().await.execute(&format!("CREATE ROLE {BARE_MARK} NOLOGIN")).await?;
        Ok(Self { fixture, group, admin, ca: TestCa::new(TRUST_DOMAIN) })
    }

    /// Starts a broker that works with the same login as [`Bed::session`]. Only limits that a benchmark would run into are
    /// raised; all that is about speed is as shipped.
    pub async fn broker(&self) -> Result<Serving> {
        self.serve(|dir| self.config(dir)).await
    }

    /// Starts a broker with another configuration, of which it is told the directory.
    pub async fn serve(&self, config: impl FnOnce(&Path) -> ConfigFile) -> Result<Serving> {
        let dir = tempfile::tempdir().context("cannot make a directory")?;
        // The SVID has a directory of its own: it is watched, and what is written all the time lies elsewhere in production.
        let svid = dir.path().join("svid");
        std::fs::create_dir(&svid).context("cannot make a directory")?;
        self.ca.equip_broker(&svid);
        let config = config(dir.path()).write();
        let text =
            std::fs::read_to_string(&config)?.replace("\"broker", "\"svid/broker").replace("\"bundle", "\"svid/bundle");
        std::fs::write(&config, text)?;
        let broker = Broker::start(BrokerOptions::new(env!("CARGO_BIN_EXE_leasehold"), config)).await?;
        let operator = self.client(&broker, "/operator")?;
        Ok(Serving { broker, operator, dir })
    }

    fn config(&self, dir: &Path) -> ConfigFile {
        let targets = ITERATIONS.map(|n| (role(n), self.admin.url.clone(), format!("scram_iterations = {n}")));
        self.config_of(dir, &targets)
    }

    /// A configuration with these targets (name, URL, further lines), each with a role of the same name that all may mint.
    pub fn config_of(&self, dir: &Path, targets: &[(String, String, String)]) -> ConfigFile {
        let mut config = ConfigFile::new(dir, "bench", TRUST_DOMAIN)
            .limit("mints_per_minute_per_identity_and_role", 1_000_000)
            .limit("live_leases_per_identity_and_role", 1_000_000);
        for (name, url, lines) in targets {
            config = config.postgres(name, url, &self.admin.password, lines);
            let lines =
                format!("target = \"{name}\"\nttl = \"1h\"\nmax_ttl = \"8h\"\nmember_of = [\"{}\"]", self.group);
            config = config.role(name, &lines);
        }
        let roles: Vec<&str> = targets.iter().map(|(name, ..)| name.as_str()).collect();
        let callers = format!("spiffe://{TRUST_DOMAIN}/callers/*");
        let operator = format!("spiffe://{TRUST_DOMAIN}/operator");
        config.grant("callers mint", &[&callers], &roles, &["mint"]).grant(
            "the operator sees and ends",
            &[&operator],
            &["*"],
            &["read", "revoke"],
        )
    }

    /// A client with an identity and connections of its own.
    pub fn client(&self, broker: &Broker, path: &str) -> Result<Client> {
        let svid = self.ca.svid(path);
        let identity = Identity::from_files(&svid.cert, &svid.key, &svid.bundle)?;
        let broker_id = SpiffeId::parse(&format!("spiffe://{TRUST_DOMAIN}/leasehold"))?;
        Ok(Client::new(ClientConfig { addr: broker.url(), identity, broker_id, timeout: CALL_TIME_MAX })?)
    }

    /// A session of the same login as the broker's, over TCP as well.
    pub async fn session(&self) -> Session {
        self.fixture.session(&self.admin.name, &self.admin.password).await
    }
}

/// How many accounts of the broker there are. Its estate role has the same prefix and stays.
pub async fn accounts(session: &mut Session) -> Result<u64> {
    let sql = "SELECT count(*)::text FROM pg_catalog.pg_authid \
               WHERE starts_with(rolname, 'lh_bench_') AND rolname <> 'lh_bench_estate'";
    let text = session.text(sql).await?.context("no count")?;
    text.parse().context("the count is no number")
}
