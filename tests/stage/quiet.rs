//! Counting what must be none: accounts without a live lease, leases without an end, sessions of the dead.

use std::collections::BTreeSet;
use std::time::Duration;

use leasehold_client::wire::Lease;
use leasehold_testkit::{Broker, wait_until};

use super::{SOON, Stage};

impl Stage {
    /// The accounts of this cluster that exist in the database, by name.
    pub async fn accounts(&self) -> BTreeSet<String> {
        let mut superuser = self.pg.superuser().await;
        let names: Vec<String> =
            sqlx::query_scalar("SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname ~ $1 ORDER BY 1")
                .bind(format!("^lh_{}_[a-z0-9]{{4}}_[a-z0-9]{{26}}$", self.cluster))
                .fetch_all(superuser.connection())
                .await
                .expect("list the accounts");
        names.into_iter().collect()
    }

    /// The accounts that have open sessions.
    async fn sessions(&self) -> BTreeSet<String> {
        let mut superuser = self.pg.superuser().await;
        let names: Vec<String> =
            sqlx::query_scalar("SELECT usename::text FROM pg_catalog.pg_stat_activity WHERE usename ~ $1")
                .bind(format!("^lh_{}_", self.cluster))
                .fetch_all(superuser.connection())
                .await
                .expect("list the sessions");
        names.into_iter().collect()
    }

    /// Waits until nothing is on its way any more, and then holds target and store against each other: the accounts are
    /// exactly those of the active leases. Answers all leases.
    pub async fn quiet(&self, broker: &Broker) -> Vec<Lease> {
        self.quiet_within(broker, SOON).await
    }

    /// As [`Stage::quiet`].
    pub async fn quiet_within(&self, broker: &Broker, timeout: Duration) -> Vec<Lease> {
        let what = format!("cluster {}: no lease pending or revoking", self.cluster);
        wait_until(timeout, &what, || async {
            let leases = self.leases(broker).await;
            leases.iter().all(|lease| lease.state == "active" || lease.is_over())
        })
        .await;
        let leases = self.leases(broker).await;
        let live: BTreeSet<String> = leases.iter().filter(|l| !l.is_over()).map(|l| l.account.clone()).collect();
        assert_eq!(self.accounts().await, live, "accounts in the database, and those of live leases");
        let sessions = self.sessions().await;
        assert!(sessions.is_subset(&live), "sessions of the dead: {:?}", &sessions - &live);
        leases
    }

    /// Demands that the audit log's chain holds, by the program's own word.
    pub async fn assert_audit_holds(&self, broker: &Broker) {
        let log = self.config.audit_path();
        let verified =
            broker.command(&self.svid("/operator")).args(["audit", "verify"]).arg(&log).output().await.expect("run it");
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success(), "the audit log does not hold: {said}");
    }
}

/// The lease of this id among these.
pub fn find<'a>(leases: &'a [Lease], id: &str) -> &'a Lease {
    leases.iter().find(|lease| lease.id == id).unwrap_or_else(|| panic!("the lease {id} is lost: {leases:#?}"))
}
