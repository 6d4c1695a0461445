//! All is mended and quiet: what must be none is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold_client::Client;
use leasehold_client::wire::{Lease, LeaseQuery, ReconcileRequest, RevokeManyRequest, Selector};
use leasehold_testkit::{Session, wait_until};
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep};

use super::ledger::Given;
use super::watch;
use super::world::World;
use crate::stage::OPERATOR;

/// How long until all is quiet: what was in vain is tried again within seconds.
const QUIET_WITHIN: Duration = Duration::from_secs(120);

/// How often it is looked whether all are ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the warden must have had nothing to disturb him.
const CALM: Duration = Duration::from_secs(12);

impl World {
    /// Waits for quiet, counts, prints, and demands that nothing is wrong.
    pub async fn judge(mut self) {
        self.end_load().await;
        let operator = self.scene.stage.client(self.members[0].broker(), OPERATOR);
        let all = LeaseQuery::default();
        wait_until(QUIET_WITHIN, "no lease to be under way", || async {
            if *self.scene.set_back.borrow() {
                let _ = operator.reconcile(&ReconcileRequest::default()).await;
            }
            let leases = operator.all_leases(&all).await;
            leases.is_ok_and(|all| all.iter().all(|lease| lease.is_over() || is_long(lease)))
        })
        .await;
        wait_until(QUIET_WITHIN, "a while of calm", || async { self.scene.calm_for() > CALM }).await;
        operator.reconcile(&ReconcileRequest::default()).await.expect("compare leases and accounts");
        let leases = operator.all_leases(&all).await.expect("list the leases");
        self.close_eyes().await;

        let counts = self.count(&leases).await;
        self.print(&leases, &counts);
        for (what, found) in &counts {
            assert!(found.is_empty(), "{}: {what}: {found:#?}", self.what);
        }
        self.audit_holds().await;
        self.end_all(&operator, &leases).await;
    }

    /// What must be none.
    async fn count(&self, leases: &[Lease]) -> Vec<(&'static str, Vec<String>)> {
        let scene = &self.scene;
        let accounts = watch::accounts(scene).await.expect("list the accounts");
        let live: BTreeSet<String> = leases.iter().filter(|l| !l.is_over()).map(|l| l.account.clone()).collect();
        let sessions = watch::sessions(scene).await.expect("list the sessions");
        let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>();
        let by_id: BTreeMap<&str, &Lease> = leases.iter().map(|lease| (lease.id.as_str(), lease)).collect();
        let mut lost = list(&live - &accounts);
        for given in scene.ledger.all() {
            lost.extend(self.lost(&given, by_id.get(given.id.as_str()).copied()).await);
        }
        vec![
            ("accounts without a live lease", list(&accounts - &live)),
            ("leases lost", lost),
            ("logins after the end", scene.tally.let_in.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            (
                "sessions 5 s after the end",
                list(scene.tally.too_long.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            ),
            ("sessions of the dead", list(&sessions - &live)),
        ]
    }

    /// Whether a lease that somebody holds is not as its holder left it.
    async fn lost(&self, given: &Given, lease: Option<&Lease>) -> Option<String> {
        let Some(lease) = lease else { return Some(format!("{}: nobody knows it", given.id)) };
        let by = lease.ended_by.as_deref();
        let doomed = self.scene.ledger.is_doomed(&given.id);
        let good = match (given.long, lease.is_over()) {
            (_, true) if *self.scene.set_back.borrow() && by == Some("vanished") => true,
            // A mint whose answer came through all the same, or whose end was asked for.
            (_, true) if doomed => matches!(by, Some("caller" | "operator" | "expiry")),
            (false, true) => by == Some("expiry"),
            (true, false) => return self.cannot_log_in(given).await,
            (true, true) | (false, false) => false,
        };
        (!good).then(|| format!("{}: long {}, doomed {doomed}, {lease:?}", given.id, given.long))
    }

    async fn cannot_log_in(&self, given: &Given) -> Option<String> {
        let login = self.scene.target.login(&given.username, given.password.expose_secret());
        Session::open(&login).await.err().map(|error| format!("{}: it lives, and is not let in: {error}", given.id))
    }

    fn print(&self, leases: &[Lease], counts: &[(&'static str, Vec<String>)]) {
        let tally = &self.scene.tally;
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = format!("\n{}\n", self.what);
        let mut row = |what: &str, n: u64| text.push_str(&format!("  {what:<32}{n:>8}\n"));
        row("brokers", self.members.len() as u64);
        row("faults", number(&tally.faults));
        row("of these SIGKILLs of a broker", number(&tally.kills));
        row("leases on record", leases.len() as u64);
        row("minted and delivered", number(&tally.minted));
        row("renewed", number(&tally.renewed));
        row("revoked, and answered", number(&tally.revoked));
        row("orders", number(&tally.orders));
        row("requests not answered or refused", number(&tally.refused));
        row("logins tried after their end", number(&tally.tried));
        row("looks for sessions", number(&tally.looked));
        counts.iter().for_each(|(what, found)| row(what, found.len() as u64));
        println!("{text}");
    }

    async fn audit_holds(&self) {
        for member in &self.members {
            let mut verify = member.broker().command(&self.scene.stage.svid(OPERATOR));
            let verified =
                verify.args(["audit", "verify"]).arg(member.config.audit_path()).output().await.expect("run it");
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success(), "{}: the audit log does not hold: {said}", self.what);
        }
    }

    /// Nothing is left in the target when all are told to end.
    async fn end_all(&self, operator: &Client, leases: &[Lease]) {
        let live = leases.iter().filter(|lease| !lease.is_over()).count() as u64;
        let order = RevokeManyRequest { expect: Some(live), ..RevokeManyRequest::of(Selector::All) };
        operator.revoke_many(&order).await.expect("end them all");
        // A long run leaves thousands behind, and from PostgreSQL 16 on ending one takes the longer the more there are, unless a
        // superuser does it: what counts is that it goes on.
        let (mut left, mut since) = (usize::MAX, Instant::now());
        while left > 0 {
            sleep(LOOK_EVERY).await;
            let now = watch::accounts(&self.scene).await.map_or(left, |accounts| accounts.len());
            if now < left {
                (left, since) = (now, Instant::now());
            }
            assert!(
                since.elapsed() < QUIET_WITHIN,
                "{}: {left} accounts are left, and none was ended lately",
                self.what
            );
        }
    }
}

/// Whether it is meant to outlive the test.
fn is_long(lease: &Lease) -> bool {
    let [end, start]: [leasehold_sdk::Timestamp; 2] =
        [&lease.expires_at, &lease.issued_at].map(|time| time.parse().expect("a time"));
    lease.state == "active" && end.since(start) > Duration::from_secs(60)
}
