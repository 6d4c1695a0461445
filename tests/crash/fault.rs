//! What goes wrong, and how it is mended again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_client::wire::LeaseQuery;
use leasehold_testkit::{Flow, Proxy};
use tokio::time::sleep;

use super::world::{Place, Tally, World};
use crate::stage::OPERATOR;

/// One thing that goes wrong. A number is a member's.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// SIGKILL.
    Killed(usize),
    /// SIGKILL by itself, when it passes this step.
    KilledAt(usize, &'static str),
    /// Stopped past its claims, then let go on.
    Paused(usize),
    /// SIGKILL of every process of the target.
    TargetKilled,
    /// The same of the store.
    StoreKilled,
    /// Between brokers and target.
    TargetLine(Line),
    /// Between brokers and store.
    StoreLine(Line),
    /// CREATE stalls in the target while its lease is revoked.
    CreateStalled,
    /// No file of the broker may grow.
    DiskFull(usize),
    /// The wall clock of the last broker, by so many seconds, and back.
    ClockStepped(i64),
    /// The target forgets the last seconds.
    TargetRestored,
    /// A standby that lags takes the target's place.
    TargetFailedOver,
    /// A standby that has every commit takes the store's place.
    StoreFailedOver,
}

/// What a network does.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    /// Every connection is closed, several times.
    Cut,
    /// No connection can be made.
    Severed,
    /// Replies come late.
    Slow,
    /// Replies do not come, and then they do.
    Silent,
    /// Replies are cut in the middle.
    Torn,
    /// The change arrives, its reply does not.
    CommitLost,
}

impl Fault {
    /// Does it, and mends it.
    pub async fn strike(self, world: &mut World) {
        println!("{}: {self:?}", world.what);
        let disturbance = world.scene.disturb();
        Tally::count(&world.scene.tally.faults);
        match self {
            Self::Killed(member) => {
                Tally::count(&world.scene.tally.kills);
                world.members[member].kill().await;
                world.members[member].start().await;
            }
            Self::KilledAt(member, step) => {
                if world.members[member].die_at(step).await {
                    Tally::count(&world.scene.tally.kills);
                } else {
                    println!("{}: it does not pass {step}", world.what);
                }
                world.members[member].start().await;
            }
            Self::Paused(member) => {
                world.members[member].broker().signal("STOP").expect("stop it");
                // Longer than `revoke_milliseconds_max`.
                sleep(Duration::from_secs(7)).await;
                world.members[member].broker().signal("CONT").expect("let it go on");
            }
            Self::TargetKilled => killed(&world.scene.target, world.dice.pause(200, 1500)).await,
            Self::StoreKilled => killed(store(world), world.dice.pause(200, 1500)).await,
            Self::TargetLine(line) => {
                let create = format!("CREATE ROLE \"lh_{}_", world.scene.stage.cluster);
                line.strike(&world.scene.target.line, &create).await;
            }
            Self::StoreLine(line) => line.strike(&store(world).line, "spiffe://dev.local/billing").await,
            Self::CreateStalled => create_stalled(world).await,
            Self::DiskFull(member) => {
                world.members[member].fill_disk(true);
                world.members[member].wait_until_unready("audit").await;
                sleep(Duration::from_secs(2)).await;
                world.members[member].fill_disk(false);
            }
            Self::ClockStepped(off) => {
                let member = world.members.last().expect("a broker");
                member.set_clock(off);
                member.wait_until_unready("clock").await;
                sleep(Duration::from_secs(4)).await;
                member.set_clock(0);
            }
            Self::TargetRestored => restored(world).await,
            Self::TargetFailedOver => failed_over(world).await,
            Self::StoreFailedOver => store(world).fail_over().await,
        }
        drop(disturbance);
        assert!(world.scene.tally.faults.load(Ordering::Relaxed) > 0);
    }
}

fn store(world: &World) -> &Place {
    world.scene.store.as_ref().expect("a store of its own")
}

async fn killed(place: &Place, away: Duration) {
    place.pg.server().kill().await.expect("kill the server");
    sleep(away).await;
    place.pg.server().restart().await.expect("start it again");
}

impl Line {
    async fn strike(self, line: &Proxy, change: &str) {
        match self {
            Self::Cut => {
                for _ in 0..5 {
                    line.cut();
                    sleep(Duration::from_millis(300)).await;
                }
            }
            Self::Severed => {
                line.sever();
                sleep(Duration::from_secs(3)).await;
            }
            Self::Slow => {
                line.to_client(Flow::Delay(Duration::from_millis(150)));
                sleep(Duration::from_secs(3)).await;
            }
            Self::Silent => {
                line.to_client(Flow::Stall);
                sleep(Duration::from_secs(4)).await;
            }
            Self::Torn => {
                for _ in 0..10 {
                    line.tear_next_reply();
                    sleep(Duration::from_millis(200)).await;
                }
            }
            Self::CommitLost => {
                for _ in 0..5 {
                    let caught = line.caught();
                    line.cut_reply_to(change);
                    line.wait_caught(caught + 1, Duration::from_secs(30)).await;
                }
            }
        }
        line.mend();
    }
}

/// Nobody can write `pg_authid` for a while, longer than a mint's deadline; what is being made meanwhile is revoked.
async fn create_stalled(world: &World) {
    let scene = &world.scene;
    let mut superuser = scene.target.superuser().await.expect("a session");
    superuser.execute("BEGIN; LOCK TABLE pg_catalog.pg_authid IN SHARE MODE").await.expect("lock the roles");
    for _ in 0..4 {
        sleep(Duration::from_secs(1)).await;
        let operator = scene.stage.client(world.members[0].broker(), OPERATOR);
        let pending = LeaseQuery { state: Some("pending".to_owned()), ..LeaseQuery::default() };
        for lease in operator.all_leases(&pending).await.unwrap_or_default() {
            let (operator, id) = (operator.clone(), lease.id);
            // It may just have been handed out.
            scene.ledger.doom(&id);
            tokio::spawn(async move { operator.revoke(&id).await });
        }
    }
    superuser.execute("COMMIT").await.expect("unlock them");
}

async fn restored(world: &World) {
    let server = world.scene.target.pg.server();
    let backup = server.back_up().await.expect("back the target up");
    sleep(Duration::from_secs(4)).await;
    world.scene.set_back.send_replace(true);
    server.restore(&backup).await.expect("put the copy back");
}

async fn failed_over(world: &World) {
    let target = &world.scene.target;
    // What comes from now on it never hears of.
    target.heir.as_ref().expect("a standby").stop().await.expect("stop the standby");
    sleep(Duration::from_secs(3)).await;
    world.scene.set_back.send_replace(true);
    target.fail_over().await;
}
