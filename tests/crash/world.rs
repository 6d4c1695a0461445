//! A target, a store, brokers, services and an operator: all that a fault can strike.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_sdk::clock;
use leasehold_testkit::{Installation, PgFixture, PgOptions, PgServer, Proxy, Session};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dice::Dice;
use super::ledger::Ledger;
use super::member::{Door, Member};
use super::{load, watch as eyes};
use crate::ground::TARGET;
use crate::stage::{BILLING, Rights, Stage};

/// The role whose leases end by order.
pub const DOOMED: &str = "orders-doomed";

/// What is to be set up.
pub struct Setting {
    pub what: &'static str,
    pub postgres: Installation,
    pub brokers: usize,
    /// Whether the store is in PostgreSQL; with several brokers it must be.
    pub shared_store: bool,
    /// Whether the last broker's wall clock can be set.
    pub fake_clock: bool,
    /// Whether the target has a standby, which lags when it is needed.
    pub standby: bool,
    /// Whether the store has one, which has all that was committed.
    pub store_standby: bool,
}

impl Setting {
    pub fn new(what: &'static str, postgres: Installation, brokers: usize, shared_store: bool) -> Self {
        Self { what, postgres, brokers, shared_store, fake_clock: false, standby: false, store_standby: false }
    }
}

/// A server of its own, and the ways to it.
pub struct Place {
    pub pg: PgFixture,
    /// The brokers' way.
    pub line: Proxy,
    /// Everybody else's.
    pub door: Proxy,
    /// Takes its place when it is lost.
    pub heir: Option<PgServer>,
}

impl Place {
    async fn start(postgres: &Installation, standby: bool) -> Self {
        // What it has committed it keeps: a kill is a crash of the machine.
        let pg = PgFixture::own(PgOptions::on(postgres.clone()).max_connections(200)).await;
        let heir = match standby {
            true => Some(pg.server().standby().await.expect("a standby")),
            false => None,
        };
        let port = pg.server().port();
        Self { line: Proxy::start(port).await, door: Proxy::start(port).await, heir, pg }
    }

    async fn commits_wait_for_the_heir(&self) {
        let mut session = self.superuser().await.expect("a session");
        session.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.expect("name the standby");
        self.pg.server().reload().expect("have it read");
        let waits = "SELECT sync_state FROM pg_catalog.pg_stat_replication";
        leasehold_testkit::wait_until(crate::stage::SOON, "commits to wait for the standby", || async {
            let mut session = self.superuser().await.expect("a session");
            session.text(waits).await.is_ok_and(|state| state.as_deref() == Some("sync"))
        })
        .await;
    }

    /// The heir takes its place.
    pub async fn fail_over(&self) {
        let heir = self.heir.as_ref().expect("a standby");
        self.pg.server().kill().await.expect("kill the server");
        if heir.pid().is_none() {
            heir.restart().await.expect("start the standby");
        }
        let login = self.pg.options("postgres", heir.superuser_password()).port(heir.port());
        let mut session = Session::open(&login).await.expect("a session on the standby");
        session.execute("SELECT pg_catalog.pg_promote()").await.expect("promote it");
        self.line.point_to(heir.port());
        self.door.point_to(heir.port());
    }

    /// Where and as whom to log in, wherever the server is now.
    pub fn login(&self, user: &str, password: &str) -> PgConnectOptions {
        self.pg.options(user, password).port(self.door.port())
    }

    pub async fn superuser(&self) -> Result<Session, sqlx::Error> {
        Session::open(&self.login("postgres", self.pg.server().superuser_password())).await
    }
}

/// What was counted.
#[derive(Default)]
pub struct Tally {
    pub kills: AtomicU64,
    pub faults: AtomicU64,
    pub minted: AtomicU64,
    pub renewed: AtomicU64,
    pub revoked: AtomicU64,
    pub orders: AtomicU64,
    pub refused: AtomicU64,
    pub tried: AtomicU64,
    pub looked: AtomicU64,
    /// Logins that were let in after their end.
    pub let_in: Mutex<Vec<String>>,
    /// Sessions that were open too long after theirs.
    pub too_long: Mutex<BTreeSet<String>>,
}

impl Tally {
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What everybody sees.
pub struct Scene {
    pub stage: Stage,
    pub target: Place,
    pub store: Option<Place>,
    pub doors: Vec<Door>,
    pub ledger: Ledger,
    pub tally: Tally,
    /// Faults under way, and since when there is none.
    unrest: Mutex<(u32, Duration)>,
    /// Whether the target was set back: what was ended before may be back in it for a while.
    pub set_back: watch::Sender<bool>,
    pub stop: watch::Sender<bool>,
}

impl Scene {
    /// A fault is under way until the answer is dropped.
    pub fn disturb(self: &Arc<Self>) -> Disturbance {
        self.unrest.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        Disturbance(self.clone())
    }

    /// For how long nothing has been wrong.
    pub fn calm_for(&self) -> Duration {
        let (under_way, since) = *self.unrest.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way > 0 { Duration::ZERO } else { clock::boot().saturating_sub(since) }
    }

    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

pub struct Disturbance(Arc<Scene>);

impl Drop for Disturbance {
    fn drop(&mut self) {
        let mut unrest = self.0.unrest.lock().unwrap_or_else(PoisonError::into_inner);
        *unrest = (unrest.0 - 1, clock::boot());
    }
}

pub struct World {
    pub what: &'static str,
    pub scene: Arc<Scene>,
    pub members: Vec<Member>,
    pub dice: Dice,
    load: JoinSet<()>,
    eyes: JoinSet<()>,
}

impl World {
    /// Sets all up, starts the brokers, and puts load on them.
    pub async fn begin(setting: Setting) -> Self {
        let dice = Dice::new(setting.what);
        let target = Place::start(&setting.postgres, setting.standby).await;
        let store = match setting.shared_store {
            true => Some(Place::start(&setting.postgres, setting.store_standby).await),
            false => None,
        };
        if let Some(store) = store.as_ref().filter(|_| setting.store_standby) {
            store.commits_wait_for_the_heir().await;
        }
        let stage = stage(&target, store.as_ref()).await;
        let mut members = Vec::new();
        for number in 0..setting.brokers {
            let clock = setting.fake_clock && number + 1 == setting.brokers;
            let mut member = match number {
                0 => Member::new(stage.config.clone(), None, clock),
                _ => {
                    let dir = tempfile::tempdir().expect("a directory");
                    Member::new(stage.config.in_another_directory(dir.path()), Some(dir), clock)
                }
            };
            member.start().await;
            members.push(member);
        }
        let scene = Arc::new(Scene {
            stage,
            target,
            store,
            doors: members.iter().map(|member| member.door.clone()).collect(),
            ledger: Ledger::default(),
            tally: Tally::default(),
            unrest: Mutex::new((0, clock::boot())),
            set_back: watch::Sender::new(false),
            stop: watch::Sender::new(false),
        });
        let load = load::begin(&scene, &dice);
        let eyes = eyes::begin(&scene);
        Self { what: setting.what, scene, members, dice, load, eyes }
    }

    /// Ends the load; what is under way is answered first.
    pub async fn end_load(&mut self) {
        self.scene.stop.send_replace(true);
        while let Some(ended) = self.load.join_next().await {
            ended.expect("a service");
        }
    }

    /// Ends whoever watches.
    pub async fn close_eyes(&mut self) {
        self.eyes.shutdown().await;
    }
}

async fn stage(target: &Place, store: Option<&Place>) -> Stage {
    let stage = Stage::new(target.pg.same(), Rights::CreateRole).await;
    let url = format!("postgres://{}@{}/{}", stage.admin.name, target.line.address(), target.pg.database());
    let mut stage = stage.with_target_at(&url, "", "ttl = \"6h\"\nmax_ttl = \"12h\"");
    let doomed = format!("target = \"{TARGET}\"\nmember_of = [\"{}\"]\nttl = \"6h\"", stage.group);
    let billing = format!("spiffe://dev.local{BILLING}");
    stage.config = stage.config.role(DOOMED, &doomed).grant("doomed", &[&billing], &[DOOMED], &["mint"]);
    for (limit, value) in [
        // A mint whose outcome nobody heard can only be judged once its deadline has passed.
        ("mint_milliseconds_max", 3000),
        ("revoke_milliseconds_max", 5000),
        ("store_call_milliseconds_max", 2000),
        ("revoke_retry_milliseconds_max", 1000),
        ("order_step_leases_max", 3),
        ("orders_per_minute_per_identity", 600),
        // However long the campaign, its services are never told that they hold enough.
        ("live_leases_per_identity_and_role", 1_000_000),
    ] {
        stage.config = stage.config.limit(limit, value);
    }
    if let Some(store) = store {
        let owner = store.pg.owner().await;
        let url = format!("postgres://{}@{}/{}", owner.name, store.line.address(), store.pg.database());
        stage.config = stage.config.postgres_store(&url, &owner.password);
    }
    stage
}
