//! `leasehold lease revoke --identity|--role|--target|--all`: one order for many leases, and its progress.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use leasehold_client::wire::{OrderResponse, RevokeManyRequest, RevokeManyResponse, Selector};
use leasehold_client::{Client, ClientError};

use super::super::output::{Output, safe};
use super::super::{exit, question};

/// Waits between two looks at an order.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// Looks between two lines, where there is no terminal whose line could be written again.
const LOOKS_PER_LINE: u32 = 5;
/// How often an order is given again because leases were issued between counting and ordering.
const ORDERS_MAX: usize = 5;

/// What is asked for beside which leases.
pub(super) struct Order {
    pub(super) selector: Selector,
    pub(super) dry_run: bool,
    pub(super) expect: Option<u64>,
    pub(super) yes: bool,
    pub(super) wait: bool,
    pub(super) cut: bool,
}

pub(super) async fn run(client: &Client, asked: Order, output: Output) -> anyhow::Result<u8> {
    let Order { selector, dry_run, expect, yes, wait, cut } = asked;
    let request = RevokeManyRequest { cut: cut.then_some(true), ..RevokeManyRequest::of(selector.clone()) };
    let counted = count(client, &request).await?;
    if dry_run {
        tell_whom(&counted);
    }
    if dry_run || (counted.matched == 0 && expect.is_none()) {
        show(&counted, output)?;
        return Ok(exit::DONE);
    }
    tell_whom(&counted);
    let question = match cut {
        true => format!("End these {} leases, and all else that their role in the cloud has given?", counted.matched),
        false => format!("End {} leases ({})?", counted.matched, describe(&selector)),
    };
    if !question::confirmed(question, yes).await? {
        return Ok(exit::FAILED);
    }
    let taken = match expect {
        // Whoever says a number is not to be given another one.
        Some(_) => client.revoke_many(&RevokeManyRequest { expect, ..request }).await?,
        None => order(client, &request, counted.matched).await?,
    };
    if wait && let Some(id) = &taken.order {
        all_dead(client, id).await?;
    }
    show(&taken, output)?;
    Ok(exit::DONE)
}

async fn count(client: &Client, request: &RevokeManyRequest) -> Result<RevokeManyResponse, ClientError> {
    let ask = RevokeManyRequest { dry_run: Some(true), ..request.clone() };
    client.revoke_many(&ask).await
}

/// Gives the order for what was counted. A busy service has more leases a moment later; then it is counted again.
async fn order(client: &Client, request: &RevokeManyRequest, mut expect: u64) -> anyhow::Result<RevokeManyResponse> {
    for _ in 1..ORDERS_MAX {
        let ask = RevokeManyRequest { expect: Some(expect), ..request.clone() };
        match client.revoke_many(&ask).await {
            Err(error) if error.status() == Some(409) => expect = count(client, request).await?.matched,
            done => return Ok(done?),
        }
    }
    let ask = RevokeManyRequest { expect: Some(expect), ..request.clone() };
    client.revoke_many(&ask).await.context("their number keeps changing: stop what asks for them first, or repeat this")
}

/// A cut meets others: who they are is said before it is asked for.
fn tell_whom(counted: &RevokeManyResponse) {
    for lease in counted.leases.iter().flatten() {
        eprintln!("{}  {}  {}  until {}", lease.id, safe(&lease.role), safe(&lease.identity), lease.expires_at);
    }
}

fn describe(selector: &Selector) -> String {
    match selector {
        Selector::Identity(id) => format!("all of {}", safe(id)),
        Selector::Role(role) => format!("all of the role {}", safe(role)),
        Selector::Target(target) => format!("all in the target {}", safe(target)),
        Selector::All => "all there are".to_owned(),
    }
}

fn show(order: &RevokeManyResponse, output: Output) -> anyhow::Result<()> {
    let members = [("order", order.order.clone().unwrap_or_default()), ("matched", order.matched.to_string())];
    output.one(order, members)
}

/// Waits until all leases of an order are dead, for as long as it takes, and shows how far it has come.
async fn all_dead(client: &Client, id: &str) -> anyhow::Result<()> {
    let mut progress = Progress::new(io::stderr().is_terminal());
    let mut pause = PAUSE_MIN;
    loop {
        match client.order(id).await {
            Ok(order) => {
                progress.show(&order);
                if order.is_over() {
                    progress.done();
                    return Ok(());
                }
            }
            Err(error) if error.is_transient() => {
                progress.done();
                eprintln!("leasehold: {error}; trying again");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}

/// On a terminal one line that is written again and again; elsewhere a line now and then, where something moved.
struct Progress {
    terminal: bool,
    looks: u32,
    last: String,
}

impl Progress {
    fn new(terminal: bool) -> Self {
        Self { terminal, looks: 0, last: String::new() }
    }

    fn show(&mut self, order: &OrderResponse) {
        let due = self.looks.is_multiple_of(LOOKS_PER_LINE) || order.is_over();
        self.looks += 1;
        let line = line_of(order);
        if line == self.last || !(due || self.terminal) {
            return;
        }
        if self.terminal {
            // To the line's start, and what stood there is wiped.
            eprint!("\r\x1b[2K{line}");
            let _ = io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
        self.last = line;
    }

    /// What is printed next begins on a line of its own.
    fn done(&mut self) {
        if self.terminal && !self.last.is_empty() {
            eprintln!();
            self.last.clear();
        }
    }
}

fn line_of(order: &OrderResponse) -> String {
    let OrderResponse { matched, ordered, left, finished_at, .. } = order;
    match finished_at {
        None => format!("{ordered} of {matched} leases are being ended"),
        Some(_) if *left > 0 => {
            format!("{} of {matched} leases are dead, {left} are left", matched.saturating_sub(*left))
        }
        Some(_) => format!("all {matched} leases are dead"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_plain_numbers() {
        let mut order = OrderResponse { order: "o".into(), matched: 9, ordered: 4, left: 8, finished_at: None };
        assert_eq!(line_of(&order), "4 of 9 leases are being ended");
        order.finished_at = Some("2026-01-02T03:04:05.678Z".into());
        (order.ordered, order.left) = (9, 2);
        assert_eq!(line_of(&order), "7 of 9 leases are dead, 2 are left");
        assert!(!order.is_over());
        order.left = 0;
        assert_eq!(line_of(&order), "all 9 leases are dead");
        assert!(order.is_over());
    }
}
