//! The database, and the broker with its roles, which is restarted and cut off.

use std::time::Duration;

use leasehold_client::Client;
use leasehold_client::wire::{Lease, LeaseQuery};
use leasehold_testkit::{Broker, PgFixture, PgOptions, Proxy, Svid, distribution, wait_until};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::pools::Pool;
use super::service::Way;
use crate::stage::{BILLING, OPERATOR, Rights, Stage};

/// Longest time between two rotations.
const ROTATION_TIME: Duration = Duration::from_secs(150);

/// How often the leases are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The same for whoever drops the old one.
const DROP_EVERY: Duration = Duration::from_millis(100);

/// What all share.
pub struct World {
    stage: Stage,
    running: Mutex<Running>,
    line: Proxy,
    /// Who all services are.
    pub svid: Svid,
}

/// The broker, and an operator who has a connection to it.
struct Running {
    broker: Broker,
    operator: Client,
}

impl World {
    /// With three roles for each pool.
    pub async fn new(pools: &[&Pool]) -> Self {
        let server = PgOptions { installation: Some(distribution()), ..PgOptions::default() };
        let pg = PgFixture::own(server.max_connections(600).without_fsync()).await;
        let mut stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"1h\"");
        let table = format!(
            "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text, at timestamptz DEFAULT now()); \
             GRANT INSERT ON orders TO {}",
            stage.group
        );
        stage.pg.superuser().await.execute(&table).await.expect("create the table");
        for pool in pools {
            let (ttl, overlap) = pool.life();
            for way in [Way::Following, Way::Naive, Way::Static] {
                let life = match way {
                    Way::Static => "ttl = \"24h\"".to_owned(),
                    _ => format!("ttl = \"{ttl}\"\nmax_ttl = \"{ttl}\"\noverlap = \"{overlap}\""),
                };
                stage.config = with_role(&stage, &way.role(pool), &life);
            }
        }
        let broker = stage.broker().await;
        let line = Proxy::start(broker.addresses().api.port()).await;
        let svid = stage.svid(BILLING);
        let operator = stage.client(&broker, OPERATOR);
        Self { stage, running: Mutex::new(Running { broker, operator }), line, svid }
    }

    /// Where the broker is, behind a line that can be cut.
    pub fn url(&self) -> String {
        format!("https://{}", self.line.address())
    }

    async fn leases(&self, role: &str) -> Vec<Lease> {
        let ask = LeaseQuery { role: Some(role.to_owned()), ..LeaseQuery::default() };
        let leases = self.running.lock().await.operator.all_leases(&ask).await.expect("the operator lists the leases");
        // One that reached nobody is no generation.
        leases.into_iter().filter(|lease| lease.ended_by.as_deref() != Some("failed")).collect()
    }

    /// How often the credential of this role has changed. One that is only just being ended may yet turn out to have reached nobody.
    pub async fn rotations(&self, role: &str) -> usize {
        let settled = |lease: &Lease| !matches!(lease.state.as_str(), "pending" | "revoking");
        self.leases(role).await.into_iter().filter(settled).count().saturating_sub(1)
    }

    /// When each of its leases began and ended, for whoever must find out why something failed.
    pub async fn story(&self, role: &str) -> String {
        let line = |lease: Lease| {
            format!("{} {} to {}: {} {:?}", lease.id, lease.issued_at, lease.expires_at, lease.state, lease.ended_by)
        };
        self.leases(role).await.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Waits until it has changed so often.
    pub async fn until_rotations(&self, role: &str, wanted: usize) {
        let mut rotations = self.rotations(role).await;
        while rotations < wanted {
            let before = rotations;
            wait_until(ROTATION_TIME, &format!("rotation {} of {role}", before + 1), || async {
                sleep(LOOK_EVERY).await;
                self.rotations(role).await > before
            })
            .await;
            rotations = self.rotations(role).await;
        }
    }

    /// Waits until the ones before the present one are over.
    pub async fn until_one_is_left(&self, role: &str) {
        wait_until(ROTATION_TIME, &format!("the end of the last but one of {role}"), || async {
            sleep(LOOK_EVERY).await;
            live(self.leases(role).await).len() == 1
        })
        .await;
    }

    /// Ends the old one as soon as there is a new one, for ever.
    pub async fn drop_old(&self, role: &str) {
        loop {
            self.end_all_but_newest(role).await;
            sleep(DROP_EVERY).await;
        }
    }

    /// Ends those that have been replaced.
    pub async fn end_all_but_newest(&self, role: &str) {
        let mut leases = live(self.leases(role).await);
        leases.sort_by(|a, b| b.issued_at.cmp(&a.issued_at));
        for old in leases.into_iter().skip(1) {
            self.running.lock().await.operator.revoke(&old.id).await.expect("a revocation");
        }
    }

    /// Ends the broker and starts it again.
    pub async fn restart(&self) {
        let mut running = self.running.lock().await;
        running.broker.restart().await.expect("start the broker again");
        self.line.point_to(running.broker.addresses().api.port());
        running.operator = self.stage.client(&running.broker, OPERATOR);
    }

    /// Nobody but the operator reaches the broker for this long.
    pub async fn cut(&self, time: Duration) {
        self.line.sever();
        sleep(time).await;
        self.line.mend();
    }

    /// What the agents had is ended, and of all that was ended nothing is left. A credential whose answer the cut has swallowed lives
    /// to its end: nobody knows of it.
    pub async fn quiet(&self) {
        self.stage.quiet(&self.running.lock().await.broker).await;
    }
}

fn live(leases: Vec<Lease>) -> Vec<Lease> {
    leases.into_iter().filter(|lease| lease.state == "active").collect()
}

fn with_role(stage: &Stage, role: &str, life: &str) -> leasehold_testkit::ConfigFile {
    let lines = format!("target = \"{}\"\nmember_of = [\"{}\"]\n{life}", crate::ground::TARGET, stage.group);
    let billing = ["spiffe://dev.local/billing"];
    stage.config.clone().role(role, &lines).grant(&format!("billing has {role}"), &billing, &[role], &["mint"])
}
