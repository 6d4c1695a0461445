//! What the cases share.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Probe, Subject};
use crate::{
    AccountName, Caller, Ending, Engine, EngineError, Fingerprint, LeaseId, Listed, Listing, MintOrder, Minted, Plan,
    PlanRequest, Receipt, RevokeOrder, RoleSettings, Timestamp, clock,
};

/// How long anything in the suite may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Harness<'a> {
    pub(super) subject: &'a dyn Subject,
    pub(super) fingerprint: Fingerprint,
}

impl<'a> Harness<'a> {
    pub(super) async fn new(subject: &'a dyn Subject) -> Self {
        let fingerprint = subject.engine().fingerprint().await.expect("the target tells its fingerprint");
        Self { subject, fingerprint }
    }

    pub(super) fn engine(&self) -> &dyn Engine {
        self.subject.engine()
    }

    /// The deadline of a mint that nothing can make any more.
    pub(super) fn past_deadline(&self) -> Timestamp {
        ago(1).minus(self.subject.late())
    }

    /// A plan for a new lease of the ordinary role.
    pub(super) fn plan(&self) -> Plan {
        self.plan_of(&self.subject.role(), &[]).expect("the ordinary role makes a plan")
    }

    pub(super) fn plan_of(&self, role: &RoleSettings, params: &[(&str, &str)]) -> Result<Plan, EngineError> {
        let (mark, lease) = (self.subject.mark(), LeaseId::new());
        let account = AccountName::new(mark.cluster.clone(), mark.tag.clone(), lease);
        let params: BTreeMap<String, String> = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let caller = Caller {
            spiffe_id: "spiffe://conformance.test/caller".into(),
            cert_sha256: "0".repeat(64),
            not_after: from_now(3600),
            captured: Default::default(),
            behalf: None,
            params,
        };
        let plan = self.engine().plan(&PlanRequest {
            lease,
            account: &account,
            role: "conformance",
            settings: role,
            caller: &caller,
            fingerprint: &self.fingerprint,
            scope: None,
            slot: self.subject.slot(&account),
        })?;
        assert_eq!(plan.account, account, "the plan is for the account that the core decided");
        assert_eq!(plan.fingerprint, self.fingerprint);
        Ok(plan)
    }

    pub(super) async fn mint(&self, plan: &Plan) -> Result<Minted, EngineError> {
        let mut answers = self.engine().mint(vec![order(plan)]).await;
        assert_eq!(answers.len(), 1, "one answer for one order");
        answers.remove(0)
    }

    /// A new account with its receipt.
    pub(super) async fn made(&self) -> (Plan, Minted) {
        let plan = self.plan();
        let minted = self.mint(&plan).await.unwrap_or_else(|e| panic!("mint {}: {e}", plan.account));
        (plan, minted)
    }

    pub(super) async fn revoke(&self, plan: &Plan, receipt: Option<&Receipt>) -> Result<(), EngineError> {
        self.revoke_by(plan, receipt, from_now(30)).await
    }

    pub(super) async fn revoke_by(
        &self,
        plan: &Plan,
        receipt: Option<&Receipt>,
        mint_deadline: Timestamp,
    ) -> Result<(), EngineError> {
        let order = RevokeOrder::now(plan.clone(), receipt.cloned(), mint_deadline);
        let mut answers = self.engine().revoke(&[order]).await;
        assert_eq!(answers.len(), 1, "one answer for one order");
        answers.remove(0).map(|ending| assert_eq!(ending, Ending::Dead, "{}", plan.account))
    }

    /// Ends an account, and sees that it is gone.
    pub(super) async fn end(&self, plan: &Plan, receipt: Option<&Receipt>) {
        self.revoke(plan, receipt).await.unwrap_or_else(|e| panic!("revoke {}: {e}", plan.account));
        self.assert_gone(plan).await;
    }

    pub(super) async fn assert_gone(&self, plan: &Plan) {
        assert!(!self.subject.exists(&plan.account).await, "{} is still there", plan.account);
    }

    /// All accounts that the engine lists, in pages of `limit`; `None` when the target has no list.
    pub(super) async fn list(&self, limit: usize) -> Option<Vec<AccountName>> {
        Some(self.listed(limit).await?.into_iter().map(|listed| listed.account).collect())
    }

    /// The same with all that is told of them.
    pub(super) async fn listed(&self, limit: usize) -> Option<Vec<Listed>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            match self.engine().list(self.subject.mark(), after.as_deref(), limit).await.expect("a list") {
                Listing::NotListable => return None,
                Listing::Page { accounts, next } => {
                    assert!(accounts.len() <= limit, "a page of {} where {limit} were asked", accounts.len());
                    all.extend(accounts);
                    after = next;
                }
            }
            if after.is_none() {
                return Some(all);
            }
        }
    }
}

/// The order that carries out a plan.
pub(super) fn order(plan: &Plan) -> MintOrder {
    MintOrder { plan: plan.clone(), expires_at: from_now(3600), deadline: from_now(30) }
}

pub(super) fn from_now(seconds: u64) -> Timestamp {
    clock::wall().plus(Duration::from_secs(seconds))
}

pub(super) fn ago(seconds: u64) -> Timestamp {
    clock::wall().minus(Duration::from_secs(seconds))
}

/// Waits until the target has closed a session.
pub(super) async fn assert_dies(mut probe: Box<dyn Probe>) {
    let until = clock::boot() + PATIENCE;
    while probe.is_alive().await {
        assert!(clock::boot() < until, "an open session outlived its account");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
