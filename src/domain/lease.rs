//! The broker's record of one credential, and the only ways in which its state may change.

use leasehold_identity::SpiffeId;
use leasehold_sdk::{AccountName, LeaseId, Revocable, Timestamp};
use serde::{Deserialize, Serialize};

/// Where a lease stands. `pending -> active -> revoking -> revoked | expired`, and `pending -> revoking` when minting fails
/// or its deadline passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Recorded; the credential may be being made.
    Pending,
    /// The credential is good.
    Active,
    /// The credential is being ended, and will be tried until it is dead.
    Revoking,
    /// Ended in the target by us.
    Revoked,
    /// Ended by the target's own clock, which is all there is for what cannot be revoked.
    Expired,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Active, Self::Revoking, Self::Revoked, Self::Expired];

    /// The word for it in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Revoking => "revoking",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// The state of that word.
    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == s)
    }

    /// Whether a lease in this state may come to be in `next`.
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Pending, Self::Active | Self::Revoking)
                | (Self::Active, Self::Revoking | Self::Expired)
                | (Self::Revoking, Self::Revoked | Self::Expired)
        )
    }

    /// Whether something may still exist in the target.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Active | Self::Revoking)
    }
}

/// Why a lease ended or is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// Its time was up.
    Expiry,
    /// Its own identity asked.
    Caller,
    /// Somebody with a `revoke` or `admin` grant asked.
    Operator,
    /// Its grant is gone.
    Policy,
    /// Minting it failed, or the credential could not be delivered.
    Failed,
    /// Its account was gone from the target.
    Vanished,
}

impl EndedBy {
    /// Every reason.
    pub const ALL: [Self; 6] = [Self::Expiry, Self::Caller, Self::Operator, Self::Policy, Self::Failed, Self::Vanished];

    /// The word for it in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expiry => "expiry",
            Self::Caller => "caller",
            Self::Operator => "operator",
            Self::Policy => "policy",
            Self::Failed => "failed",
            Self::Vanished => "vanished",
        }
    }

    /// The reason of that word.
    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == s)
    }
}

/// One lease, as people and callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its id; the account's name follows from it.
    pub id: LeaseId,
    /// The role it was asked for by.
    pub role: String,
    /// The target it is in.
    pub target: String,
    /// Whose it is.
    pub identity: SpiffeId,
    /// Where it stands.
    pub state: State,
    /// Why it ended or is ending.
    pub ended_by: Option<EndedBy>,
    /// When it was recorded.
    pub issued_at: Timestamp,
    /// When it ends unless renewed.
    pub expires_at: Timestamp,
    /// When it ends at the latest.
    pub max_expires_at: Timestamp,
    /// When its holder should ask for the next credential, so that both work for a while.
    pub rotate_at: Timestamp,
    /// Whether renewing can move its end.
    pub renewable: bool,
    /// How it can be ended early.
    pub revocable: Revocable,
    /// After this no new login succeeds even if no broker ever returns; `None`: unbounded.
    pub worst_case_until: Option<Timestamp>,
    /// The account's name in the target.
    pub account: AccountName,
    /// How often ending it was tried without success.
    pub attempts: u32,
    /// What the last failed try said; with no failed try, see [`Lease::notice`].
    pub last_error: Option<String>,
}

impl Lease {
    /// What was done about its end, where that is all that can be done and its target's own clock has to do the rest (law 5).
    pub fn notice(&self) -> Option<&str> {
        self.last_error.as_deref().filter(|_| self.state == State::Revoking && self.attempts == 0)
    }

    /// Whether ending it has come as far as it can for now: it is over, or told.
    pub fn is_settled(&self) -> bool {
        !self.state.is_live() || self.notice().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_an_ended_state_and_nothing_skips_the_end() {
        for next in State::ALL {
            assert!(!State::Revoked.may_become(next) && !State::Expired.may_become(next));
        }
        assert!(!State::Pending.may_become(State::Revoked) && !State::Active.may_become(State::Revoked));
        assert!(!State::Revoking.may_become(State::Active));
    }

    #[test]
    fn every_word_reads_back() {
        assert!(State::ALL.into_iter().all(|s| State::parse(s.as_str()) == Some(s)));
        assert!(EndedBy::ALL.into_iter().all(|s| EndedBy::parse(s.as_str()) == Some(s)));
    }
}
