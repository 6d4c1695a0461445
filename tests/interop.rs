//! Tokens of a real broker with libraries that know nothing of it: services in four languages verify them, by recipes that stand
//! in `examples/tokens`; clients fetch, use, look at and end them by OAuth 2.0 alone; and nginx has the agent judge them. What
//! is good is accepted, and all else refused with its reason.
//!
//! `make interop` runs all; alone this runs nginx, which needs no other language.

mod cases;
mod clients;
mod front;
mod receivers;
mod table;
mod world;

use std::env;

use clients::CLIENTS;
use receivers::{RECEIVERS, Receiver, Running};
use table::Table;
use world::World;

/// Which receivers, by their keys with commas between, or `all`, and then the clients too.
const CHOSEN: &str = "LEASEHOLD_INTEROP";
const CHOSEN_DEFAULT: &str = "nginx";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_good_is_accepted_and_all_else_refused_with_its_reason() {
    let chosen = env::var(CHOSEN).unwrap_or_else(|_| CHOSEN_DEFAULT.to_owned());
    let world = World::new().await;
    let cases = cases::all(&world).await;
    let receivers = chosen_of(&chosen);
    let mut running = Vec::new();
    for receiver in receivers {
        running.push(Running::start(receiver, &world).await);
    }

    let mut table = Table::new(&running);
    for case in cases {
        let mut row = Vec::new();
        for receiver in &running {
            let answer = case.ask_when_due(&world, receiver.addr).await;
            row.push(case.judge(receiver.name(), &answer));
        }
        table.row(case.name, row);
    }
    table.print();

    if chosen == "all" {
        for client in CLIENTS {
            for receiver in &running {
                client.pays(&world, receiver).await;
            }
            client.knows_the_broker(&world, &running[0]).await;
            println!("{} {}: {}", client.name, client.version(), client.does);
        }
    }
    for receiver in running {
        receiver.stop(&world).await;
    }
}

fn chosen_of(chosen: &str) -> Vec<&'static Receiver> {
    let find = |key: &str| {
        RECEIVERS.iter().find(|receiver| receiver.key == key).unwrap_or_else(|| panic!("no receiver is called {key}"))
    };
    match chosen {
        "all" => RECEIVERS.iter().collect(),
        keys => keys.split(',').map(|key| find(key.trim())).collect(),
    }
}

#[test]
fn the_page_names_the_versions_that_are_tested() {
    let page = include_str!("../docs/tokens-recipes.md");
    let receivers = RECEIVERS.iter().filter(|receiver| receiver.key != "nginx");
    let named = receivers.map(|receiver| (receiver.library, receiver.version()));
    for (library, version) in named.chain(CLIENTS.iter().map(|client| (client.name, client.version()))) {
        let row = |line: &&str| line.starts_with('|') && line.contains(library) && line.contains(&version);
        assert!(page.lines().any(|line| row(&line)), "docs/tokens-recipes.md does not name {library} {version}");
    }
}
