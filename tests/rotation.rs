//! Pools under load, each in a real service of its own (`examples/pools`), through many rotations, a restart of the broker and a
//! broker that cannot be reached: not one operation fails. Beside each the naive way, where the old login is dropped at once, and
//! a login that never changes.
//!
//! `make rotation` runs all pools for long; alone this runs those that need no other language, for a short time.

mod load;
mod pools;
mod service;
mod table;
mod world;

use std::env;
use std::time::Duration;

use tokio::time::sleep;

use pools::{POOLS, Pool};
use service::{Service, Way};
use table::Row;
use world::World;

/// How many rotations each goes through, unless it is said here.
const ROTATIONS: &str = "LEASEHOLD_ROTATIONS";
const ROTATIONS_DEFAULT: usize = 3;

/// Which pools, by their keys with commas between, or `all`.
const CHOSEN: &str = "LEASEHOLD_ROTATION_POOLS";
const CHOSEN_DEFAULT: &str = "sqlx,pgbouncer";

/// So many pools at once, each in up to three services: more would measure the machine.
const AT_ONCE: usize = 2;

/// The naive way shows what it costs soon.
const NAIVE_ROTATIONS: usize = 3;

/// How long the broker is out of reach, from the very moment at which a credential changes: nobody hears the answer.
const CUT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pool_loses_an_operation_while_its_credential_changes() {
    let rotations = env::var(ROTATIONS).map_or(ROTATIONS_DEFAULT, |n| n.parse().expect("a number of rotations"));
    let (slow, quick): (Vec<_>, Vec<_>) = chosen().into_iter().partition(|pool| pool.is_slow());
    let world = World::new(&[slow.as_slice(), quick.as_slice()].concat()).await;
    // Those whose credentials live longer run beside all the others.
    let (slow_rows, mut rows) = tokio::join!(run_all(&world, &slow, rotations), run_all(&world, &quick, rotations));
    rows.extend(slow_rows);
    table::print(&rows);
    world.quiet().await;
    for row in &rows {
        row.assert_well(rotations);
    }
}

fn chosen() -> Vec<&'static Pool> {
    let chosen = env::var(CHOSEN).unwrap_or_else(|_| CHOSEN_DEFAULT.to_owned());
    let find =
        |key: &str| POOLS.iter().find(|pool| pool.key == key).unwrap_or_else(|| panic!("no pool is called {key}"));
    match chosen.as_str() {
        "all" => POOLS.iter().collect(),
        keys => keys.split(',').map(|key| find(key.trim())).collect(),
    }
}

/// Whether this is `make rotation`, which has the machine for itself: then the load is whole, and latencies are compared.
fn compares() -> bool {
    env::var_os(CHOSEN).is_some()
}

async fn run_all(world: &World, pools: &[&'static Pool], rotations: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for group in pools.chunks(AT_ONCE) {
        rows.extend(run_group(world, group, rotations).await);
    }
    rows
}

/// So many pools at once; the broker is restarted in the middle, and cut off later.
async fn run_group(world: &World, pools: &[&'static Pool], rotations: usize) -> Vec<Row> {
    let disturbed = async {
        let first = pools.first().expect("a pool");
        let role = Way::Following.role(first);
        world.until_rotations(&role, rotations.div_ceil(3)).await;
        world.restart().await;
        world.until_rotations(&role, (2 * rotations).div_ceil(3)).await;
        world.cut(CUT).await;
    };
    let runs = pools.iter().map(|pool| run(world, pool, rotations));
    let (rows, ()) = tokio::join!(futures_util::future::join_all(runs), disturbed);
    rows
}

/// One pool: as in its example and, where somebody has the time, with a login that never changes until all rotations are over, and
/// naively for a while.
async fn run(world: &World, pool: &'static Pool, rotations: usize) -> Row {
    let start = async |way| Service::start(world, pool, way).await;
    let (following, naive) = tokio::join!(start(Way::Following), start(Way::Naive));
    let fixed = if compares() { Some(start(Way::Static).await) } else { None };
    let callers = if compares() { load::MANY } else { load::SOME };
    let following_load = load::begin(following.addr, callers);
    let fixed_load = fixed.as_ref().map(|fixed| load::begin(fixed.addr, load::FEW));
    let naive_seen = async {
        let (load, role) = (load::begin(naive.addr, load::FEW), Way::Naive.role(pool));
        tokio::select! {
            () = world.drop_old(&role) => unreachable!(),
            () = world.until_rotations(&role, rotations.min(NAIVE_ROTATIONS)) => {}
        }
        world.end_all_but_newest(&role).await;
        sleep(Duration::from_secs(1)).await;
        let seen = load.end().await;
        naive.stop().await;
        (world.rotations(&role).await, seen)
    };
    let rotated = async {
        let role = Way::Following.role(pool);
        // Those that hold connections of the last but one see its end. One whose answer is lost does not count in the end.
        while world.rotations(&role).await < rotations {
            world.until_rotations(&role, rotations).await;
            world.until_one_is_left(&role).await;
        }
        sleep(Duration::from_secs(1)).await;
        let following = following_load.end().await;
        let fixed = match fixed_load {
            Some(load) => Some(load.end().await),
            None => None,
        };
        (world.rotations(&role).await, following, fixed)
    };
    let (naive, (rotations, following_seen, fixed_seen)) = tokio::join!(naive_seen, rotated);
    if following_seen.failed > 0 {
        println!(
            "{}: {:#?}\nits leases:\n{}",
            pool.name,
            following_seen.words,
            world.story(&Way::Following.role(pool)).await
        );
        println!("{}", following.log());
    }
    following.stop().await;
    if let Some(fixed) = fixed {
        fixed.stop().await;
    }
    Row { pool, rotations, following: following_seen, fixed: fixed_seen, naive }
}
