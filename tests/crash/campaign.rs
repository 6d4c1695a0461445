//! Kills at random moments and at named steps, one broker and several: a few here, a thousand by `make crash`.

use leasehold_sdk::failpoint::STEPS;
use leasehold_testkit::{distribution, sixteen_or_newer};
use tokio::time::sleep;

use super::fault::Fault;
use super::world::{Setting, World};

/// Kills of one campaign, unless `LEASEHOLD_CRASH_KILLS` says otherwise.
const KILLS: usize = 9;

/// Steps that the load does not pass by itself: it rotates nothing, and these have stories of their own.
const NOT_UNDER_LOAD: [&str; 4] = ["rotate.", "takeover.", "revoke.sessions_gone", "revoke.handed_over"];

fn steps_under_load() -> Vec<&'static str> {
    let passed = |step: &&str| !NOT_UNDER_LOAD.iter().any(|other| step.starts_with(other));
    STEPS.iter().copied().filter(passed).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_with_a_file_is_killed() {
    campaign(Setting::new("one broker with a file", distribution(), 1, false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_with_a_database_is_killed() {
    campaign(Setting::new("one broker with a database", sixteen_or_newer(), 1, true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_are_killed() {
    campaign(Setting::new("three brokers", sixteen_or_newer(), 3, true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_on_the_older_server_are_killed() {
    campaign(Setting::new("two brokers, the older server", distribution(), 2, true)).await;
}

async fn campaign(setting: Setting) {
    let kills = std::env::var("LEASEHOLD_CRASH_KILLS").map_or(KILLS, |n| n.parse().expect("a whole number"));
    let steps = steps_under_load();
    let mut world = World::begin(setting).await;
    for kill in 0..kills {
        let member = world.dice.throw(world.members.len());
        let fault = match kill % 3 {
            2 => Fault::KilledAt(member, steps[world.dice.throw(steps.len())]),
            _ => Fault::Killed(member),
        };
        // Any moment: this is the fault itself, not a wait for something.
        sleep(world.dice.pause(50, 1500)).await;
        fault.strike(&mut world).await;
    }
    world.judge().await;
}
