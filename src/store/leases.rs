//! Leases, one at a time and in lists.

use async_trait::async_trait;
use leasehold_identity::SpiffeId;
use leasehold_sdk::{LeaseId, Plan, Receipt, Timestamp};

use super::StoreError;
use crate::domain::lease::{EndedBy, Lease, State};

/// A lease to record, in state `pending`.
#[derive(Debug, Clone)]
pub struct NewLease {
    /// What callers see.
    pub lease: Lease,
    /// All that is needed to make and unmake it.
    pub plan: Plan,
    /// Past this it is ended if it has not become active.
    pub mint_deadline: Timestamp,
    /// Refuse when the identity already holds this many live leases of the role.
    pub live_max: u64,
    /// The active lease whose time to rotate has come and that this one is to follow: as long as no other live lease follows
    /// it, the cap does not count (law 8).
    pub replaces: Option<LeaseId>,
}

/// What became of an insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// It is recorded, durably.
    Recorded,
    /// The cap was reached; nothing was recorded.
    CapReached,
    /// The identity is blocked; nothing was recorded.
    Blocked,
}

/// A lease with all that its end needs.
#[derive(Debug, Clone)]
pub struct Row {
    /// What callers see.
    pub lease: Lease,
    /// What was to be made.
    pub plan: Plan,
    /// What the target said when it was made.
    pub receipt: Option<Receipt>,
    /// Its mint's deadline.
    pub mint_deadline: Timestamp,
    /// When it is next looked at: its mint's deadline, its expiry, or its next try.
    pub due_at: Timestamp,
}

/// Which leases somebody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// All.
    All,
    /// Those of this identity, and all of these roles.
    Own {
        /// The identity.
        identity: SpiffeId,
        /// Roles of which all leases are visible.
        roles: Vec<String>,
    },
}

impl Visible {
    /// What is asked for, cut along what is visible: each part can be walked by one index. A lease may be in two parts.
    pub(super) fn parts(&self, asked: &Filter) -> Vec<Filter> {
        let Self::Own { identity, roles } = self else { return vec![asked.clone()] };
        let own = Filter { identity: Some(identity.as_str().to_owned()), ..asked.clone() };
        let of_role = |role: &String| Filter { role: Some(role.clone()), ..asked.clone() };
        let own_asked = asked.identity.as_deref().is_none_or(|asked| asked == identity.as_str());
        let is_asked = |role: &&String| asked.role.as_ref().is_none_or(|r| r == *role);
        own_asked.then_some(own).into_iter().chain(roles.iter().filter(is_asked).map(of_role)).collect()
    }
}

/// Which leases are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this role.
    pub role: Option<String>,
    /// In this target.
    pub target: Option<String>,
    /// Of this identity.
    pub identity: Option<String>,
    /// In this state.
    pub state: Option<State>,
}

/// A live lease, as far as whoever walks over all of them wants to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Which.
    pub id: LeaseId,
    /// `pending`, `active` or `revoking`.
    pub state: State,
    /// The latest that its target may hold it to, by this store.
    pub worst_case_until: Option<Timestamp>,
}

/// Leases: one at a time, and in lists.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Records a lease (law 1). Concurrent calls share commits. Also moves the newest-lease mark.
    async fn insert(&self, new: NewLease) -> Result<Inserted, StoreError>;

    /// `pending -> active` with what the target said. `false`: it is no longer pending, and what was made must be ended.
    async fn activate(&self, id: LeaseId, receipt: Receipt) -> Result<bool, StoreError>;

    /// First half of a renewal: the target may from now on hold the later expiry. The worst case never becomes better by
    /// it: an unbounded one stays unbounded. `false`: it is not active, or expired.
    async fn announce_renewal(
        &self,
        id: LeaseId,
        now: Timestamp,
        worst_case_until: Option<Timestamp>,
    ) -> Result<bool, StoreError>;

    /// Second half: the lease ends at `expires_at` (never earlier than before), and a bounded worst case is at least that.
    /// `None`: it is no longer active.
    async fn renew(&self, id: LeaseId, expires_at: Timestamp) -> Result<Option<Lease>, StoreError>;

    /// `pending | active -> revoking`, due at `now`; one that is already `revoking` becomes due at `now` (when it is claimed,
    /// after the claim) and keeps its reason. An ended one stays.
    /// Answers the lease as it is then; `None`: there is none of this id.
    async fn end(&self, id: LeaseId, by: EndedBy, now: Timestamp) -> Result<Option<Row>, StoreError>;

    /// `pending -> revoking -> revoked` in one step, by `failed`: nothing was made for it, certainly. One that is no longer
    /// pending stays as it is.
    async fn close_unmade(&self, id: LeaseId, now: Timestamp) -> Result<(), StoreError>;

    /// Records an account without a row as an active lease (its expiry brings the reaper to it). No cap. One that is live
    /// already stays as it is; one that has ended cannot come back, which is [`StoreError::Damaged`].
    async fn adopt(&self, lease: NewLease) -> Result<(), StoreError>;

    /// One lease.
    async fn get(&self, id: LeaseId) -> Result<Option<Row>, StoreError>;

    /// Newest first, those older than `before`.
    async fn list(
        &self,
        visible: &Visible,
        filter: &Filter,
        before: Option<LeaseId>,
        limit: usize,
    ) -> Result<Vec<Lease>, StoreError>;

    /// How many live leases match.
    async fn count_live(&self, filter: &Filter) -> Result<u64, StoreError>;

    /// Live leases (pending, active, revoking) of a target, oldest first, those newer than `after`: for
    /// whoever walks over all of them.
    async fn live_of_target(&self, target: &str, after: Option<LeaseId>, limit: usize)
    -> Result<Vec<Live>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(roles: &[&str]) -> Visible {
        Visible::Own {
            identity: "spiffe://a.example/me".parse().unwrap(),
            roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_not_visible_is_not_asked_for() {
        let asked = Filter { identity: Some("spiffe://a.example/other".to_owned()), ..Filter::default() };
        assert!(own(&[]).parts(&asked).is_empty());
        let of_r1 = own(&["r1", "r2"]).parts(&Filter { role: Some("r1".to_owned()), ..asked });
        assert_eq!(of_r1.len(), 1);
        assert_eq!(of_r1[0].role.as_deref(), Some("r1"));
        assert_eq!(of_r1[0].identity.as_deref(), Some("spiffe://a.example/other"));
    }
}
