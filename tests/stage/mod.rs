//! A whole stage for tests that look at a broker from outside: a database, a CA, a configuration, the real program.

mod quiet;

use std::ops::Deref;

use leasehold_client::wire::Lease;
use leasehold_client::{Client, ClientError};
use leasehold_testkit::{Broker, BrokerOptions, ConfigFile, PgFixture, Session, wait_until};
use secrecy::ExposeSecret;

use crate::ground::{self, Ground, Group, TARGET};

pub use crate::ground::{BILLING, Held, Line, OPERATOR, Rights, SOON, mint_of, request};
pub use quiet::find;

/// The role that [`Stage::with_target`] configures.
pub const ROLE: &str = "orders-write";

/// A ground with a configuration, for brokers that come and go on it.
pub struct Stage {
    ground: Ground,
    /// The configuration; to be changed before [`Stage::broker`], or written again for a reload.
    pub config: ConfigFile,
}

/// So that a story can say `stage.pg` for the database that it stands on.
impl Deref for Stage {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl Stage {
    /// A stage on this database, where `/billing` may mint [`ROLE`] and `/operator` may do all else.
    pub async fn new(pg: PgFixture, rights: Rights) -> Self {
        let ground = Ground::in_database(pg, rights, Group::Writer).await;
        let config = Self::bare(&ground).limit("mints_per_minute_per_identity_and_role", 100_000).grant(
            "billing writes",
            &["spiffe://dev.local/billing"],
            &[ROLE],
            &["mint"],
        );
        Self { ground, config }
    }

    /// A configuration without targets and roles.
    pub fn bare(ground: &Ground) -> ConfigFile {
        let operators = ["spiffe://dev.local/operator"];
        ground.empty_config().grant("operators", &operators, &["*"], &["read", "revoke", "admin"])
    }

    /// Puts in the target as it is, and the role with these lines beside target and groups.
    pub fn with_target(self, role: &str) -> Self {
        let url = self.admin.url.clone();
        self.with_target_at(&url, "", role)
    }

    /// The same with another URL, such as a proxy's, and further lines of the target.
    pub fn with_target_at(mut self, url: &str, target: &str, role: &str) -> Self {
        let role = format!("target = \"{TARGET}\"\nmember_of = [\"{}\"]\n{role}", self.group);
        self.config = self.ground.target(self.config, url, target).role(ROLE, &role);
        self
    }

    /// Keeps leases in a database of their own on this server, in place of a file.
    pub async fn with_store_on(mut self, server: &PgFixture) -> Self {
        let store = PgFixture::on(server.server().clone()).await;
        let owner = store.owner().await;
        self.config = self.config.postgres_store(&owner.url, &owner.password);
        self
    }

    /// Sets a limit.
    pub fn limit(mut self, key: &str, value: u64) -> Self {
        self.config = self.config.limit(key, value);
        self
    }

    /// How the real program is started with this configuration.
    pub fn options(&self) -> BrokerOptions {
        ground::options(&self.config)
    }

    /// Starts it.
    pub async fn broker(&self) -> Broker {
        ground::start(self.options()).await
    }

    /// Starts it so that it is killed when it passes this step.
    pub async fn broker_that_dies_at(&self, step: &str) -> Broker {
        let options = self.options().env("LEASEHOLD_FAIL_POINT", step);
        Broker::start(options).await.unwrap_or_else(|e| panic!("{step}: {e:#}"))
    }

    /// A client of the broker as it listens now.
    pub fn client(&self, broker: &Broker, path: &str) -> Client {
        self.client_at(broker.url(), path)
    }

    /// A connection of this workload, for the rude things that a good client never does.
    pub async fn line(&self, broker: &Broker, path: &str) -> Line {
        Line::open_resetting(broker.addresses().api, &self.identity(path)).await
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

    /// Waits until a lease is over, and answers it.
    pub async fn over(&self, broker: &Broker, id: &str) -> Lease {
        let operator = self.client(broker, OPERATOR);
        wait_until(SOON, &format!("the lease {id} to be over"), || async {
            operator.lease(id).await.is_ok_and(|lease| lease.is_over())
        })
        .await;
        self.lease(broker, id).await
    }
}

/// Asks for a credential of [`ROLE`] for this long.
pub async fn mint(client: &Client, ttl: &str) -> Result<Held, ClientError> {
    mint_of(client, ROLE, &ground::for_ttl(ttl)).await
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
