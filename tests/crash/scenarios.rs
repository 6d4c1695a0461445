//! Everything else that goes wrong, one after the other, under load.

use leasehold_testkit::{distribution, sixteen_or_newer};
use tokio::time::sleep;

use super::fault::{Fault, Line};
use super::world::{Setting, World};

const LINES: [Line; 6] = [Line::Cut, Line::Severed, Line::Slow, Line::Silent, Line::Torn, Line::CommitLost];

async fn play(setting: Setting, faults: impl IntoIterator<Item = Fault>) {
    let mut world = World::begin(setting).await;
    for fault in faults {
        sleep(world.dice.pause(500, 1500)).await;
        fault.strike(&mut world).await;
    }
    sleep(world.dice.pause(500, 1500)).await;
    world.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_to_the_target_fails() {
    play(Setting::new("the network to the target", distribution(), 1, false), LINES.map(Fault::TargetLine)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_to_the_store_fails() {
    play(Setting::new("the network to the store", sixteen_or_newer(), 2, true), LINES.map(Fault::StoreLine)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_target_is_killed_and_a_create_stalls_in_it() {
    let faults =
        [Fault::TargetKilled, Fault::CreateStalled, Fault::TargetKilled, Fault::Killed(0), Fault::CreateStalled];
    play(Setting::new("the target", sixteen_or_newer(), 1, false), faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_killed_and_brokers_are_paused() {
    let faults = [Fault::StoreKilled, Fault::Paused(0), Fault::StoreKilled, Fault::Paused(1), Fault::Killed(0)];
    play(Setting::new("the store", distribution(), 2, true), faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_a_broker_is_full() {
    let faults = [Fault::DiskFull(0), Fault::Killed(0), Fault::DiskFull(0)];
    play(Setting::new("a full disk", distribution(), 1, false), faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_of_one_broker_of_three_is_set_forward_and_back() {
    let setting = Setting { fake_clock: true, ..Setting::new("a clock", sixteen_or_newer(), 3, true) };
    let faults = [Fault::ClockStepped(7200), Fault::ClockStepped(-7200), Fault::Killed(2), Fault::ClockStepped(7200)];
    play(setting, faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_target_is_restored_from_an_older_copy() {
    play(Setting::new("a restored target", distribution(), 1, false), [Fault::TargetRestored, Fault::Killed(0)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_target_fails_over_to_a_standby_that_lags() {
    let setting = Setting { standby: true, ..Setting::new("a lagging standby", sixteen_or_newer(), 2, true) };
    play(setting, [Fault::TargetFailedOver, Fault::Killed(1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_fails_over_to_a_standby_that_has_every_commit() {
    let setting = Setting { store_standby: true, ..Setting::new("the store fails over", distribution(), 2, true) };
    play(setting, [Fault::Killed(0), Fault::StoreFailedOver, Fault::Killed(1)]).await;
}
