//! The engine's part of a plan: all that minting and revoking need, so that a lease ends as it was made even when the
//! configuration has changed since. It holds no secret.

use std::collections::BTreeMap;

use leasehold_sdk::{EngineError, Plan, Receipt};
use serde::{Deserialize, Serialize};

use crate::role::{Owned, RoleConfig};

/// What is kept in the lease's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanBody {
    /// The database in which mint and revoke meet on an advisory lock: such locks are per database.
    pub(crate) guard_database: String,
    /// The database that the workload is given.
    pub(crate) database: String,
    /// Groups that the account joins beside the mark.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    /// Session default `role`.
    #[serde(default)]
    pub(crate) set_role: Option<String>,
    /// Schemas of the session default `search_path`.
    #[serde(default)]
    pub(crate) search_path: Vec<String>,
    /// Other session defaults.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, String>,
    /// Most sessions at once.
    pub(crate) connection_limit: u32,
    /// Who gets what it leaves behind; `None`: the estate role.
    #[serde(default)]
    pub(crate) reassign_to: Option<String>,
    /// What becomes of what it leaves behind.
    #[serde(default)]
    pub(crate) owned: Owned,
    /// Statements with placeholders.
    #[serde(default)]
    pub(crate) creation_statements: Vec<String>,
    /// Statements with placeholders.
    #[serde(default)]
    pub(crate) revocation_statements: Vec<String>,
    /// What the caller passed; it stands in the plan itself.
    #[serde(skip)]
    pub(crate) params: BTreeMap<String, String>,
}

/// What only the server knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OidReceipt {
    /// The role's OID: its sessions can be found by it even when the role is gone.
    pub(crate) oid: u32,
}

impl PlanBody {
    /// The plan of a role for one caller.
    pub(crate) fn new(role: &RoleConfig, home: &str) -> Self {
        Self {
            guard_database: home.to_owned(),
            database: role.database.clone(),
            groups: role.groups(),
            set_role: role.set_role.clone(),
            search_path: role.search_path.clone(),
            settings: role.settings.clone(),
            connection_limit: role.connection_limit,
            reassign_to: role.reassign_to.clone(),
            owned: role.owned,
            creation_statements: role.creation_statements.clone(),
            revocation_statements: role.revocation_statements.clone(),
            params: BTreeMap::new(),
        }
    }

    /// The plan by which an account is ended of which nothing but its name is known: what it owned goes to the estate.
    pub(crate) fn for_stray(home: &str) -> Self {
        Self {
            guard_database: home.to_owned(),
            database: home.to_owned(),
            groups: Vec::new(),
            set_role: None,
            search_path: Vec::new(),
            settings: BTreeMap::new(),
            connection_limit: 1,
            reassign_to: None,
            owned: Owned::Reassign,
            creation_statements: Vec::new(),
            revocation_statements: Vec::new(),
            params: BTreeMap::new(),
        }
    }

    /// The body of a plan that this engine made.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when it is not one: the row was edited or is of another engine.
    pub(crate) fn of(plan: &Plan) -> Result<Self, EngineError> {
        let body: Self = serde_json::from_value(plan.body.clone()).map_err(|e| {
            EngineError::refused(format!("the plan of {} is not one of this engine: {e}", plan.account))
        })?;
        Ok(Self { params: plan.params.clone(), ..body })
    }

    /// As JSON.
    pub(crate) fn into_value(self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl OidReceipt {
    /// The receipt of an order, if it has one that we can read. One that we cannot is treated as never heard, which only
    /// makes revocation look more closely.
    pub(crate) fn of(receipt: Option<&Receipt>) -> Option<Self> {
        serde_json::from_value(receipt?.0.clone()).ok()
    }

    /// As the core keeps it.
    pub(crate) fn into_receipt(self) -> Receipt {
        Receipt(serde_json::to_value(self).unwrap_or_default())
    }
}
