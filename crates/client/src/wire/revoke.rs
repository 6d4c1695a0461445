//! Ending many leases in one order.

use serde::{Deserialize, Serialize};

use super::Lease;

/// `POST /v1/leases/revoke`: exactly one of `identity`, `role`, `target` and `all` says which leases are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeManyRequest {
    /// All of this SPIFFE ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// All of this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// All in this target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// All there are: `true` or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Only count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// How many a dry run counted. Needed above the limit `bulk_revoke_unexpected_max`; refused if there are more by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// With `role`: end all sessions that the role of a cloud has given until now, those of other roles of ours and of others in that account
    /// too. Only for roles whose single sessions can be denied; needs `expect` from a dry run, which lists the leases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
}

/// Which leases a bulk revocation means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// All of one SPIFFE ID.
    Identity(String),
    /// All of one role.
    Role(String),
    /// All in one target.
    Target(String),
    /// All there are.
    All,
}

/// A bulk revocation does not say which leases it means, or says it twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("exactly one of identity, role, target and all (which can only be true) must say which leases are meant")]
pub struct SelectorError;

impl RevokeManyRequest {
    /// A request for these leases.
    pub fn of(selector: Selector) -> Self {
        let mut request = Self::default();
        match selector {
            Selector::Identity(id) => request.identity = Some(id),
            Selector::Role(role) => request.role = Some(role),
            Selector::Target(target) => request.target = Some(target),
            Selector::All => request.all = Some(true),
        }
        request
    }

    /// Which leases it means.
    ///
    /// # Errors
    /// [`SelectorError`] unless exactly one of the four is given, and `all` not as `false`.
    pub fn selector(&self) -> Result<Selector, SelectorError> {
        let mut given = Vec::new();
        given.extend(self.identity.clone().map(Selector::Identity));
        given.extend(self.role.clone().map(Selector::Role));
        given.extend(self.target.clone().map(Selector::Target));
        given.extend(self.all.map(|_| Selector::All));
        match given.pop() {
            Some(selector) if given.is_empty() && self.all != Some(false) => Ok(selector),
            _ => Err(SelectorError),
        }
    }
}

/// 202 of `POST /v1/leases/revoke`, or 200 for a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevokeManyResponse {
    /// The durable order's id; absent for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// How many live leases it means.
    pub matched: u64,
    /// Which, for the dry run of a cut: 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leases: Option<Vec<Lease>>,
}

/// `GET /v1/leases/revoke/{order}`: how far an order has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderResponse {
    /// Its id.
    pub order: String,
    /// How many live leases it was about when it was given.
    pub matched: u64,
    /// How many of them it has come to: each is being ended since then, or was before.
    pub ordered: u64,
    /// How many of its leases are still alive. With `finished_at`, 0 says that all of them are dead.
    pub left: u64,
    /// When it had come to the last of them; null before.
    pub finished_at: Option<String>,
}

impl OrderResponse {
    /// Nothing of it is left to do: all of its leases are dead.
    pub fn is_over(&self) -> bool {
        self.finished_at.is_some() && self.left == 0
    }
}
