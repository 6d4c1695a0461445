//! The JSON of the HTTP API, exactly as it travels.
//!
//! Requests refuse fields that they do not know, so that a misspelt option is an error and not a default. Answers ignore
//! them, so that an older client understands a newer broker. Times are RFC 3339 in UTC with three digits
//! (`2026-01-02T03:04:05.678Z`), durations are texts such as `90s` or `1h30m`.

mod agent;
mod brokers;
mod credential;
mod custody;
mod decision;
mod issuer;
mod lease;
mod problem;
mod reconcile;
mod revoke;
mod role;
mod secret;
mod token;
mod unique;

pub use agent::{AckRequest, AgentStatus, Supplied, SupplyStatus};
pub use brokers::{BlockEntry, BlockList, BlockRequest, BlockResponse, BrokerEntry, BrokerList};
pub(crate) use credential::CredentialMembers;
pub use credential::{AwsCredential, Credential, CredentialError, DatabaseCredential, TokenCredential};
pub use custody::{RotateAdminRequest, RotateAdminResponse, RotateSealResponse};
pub use decision::{DecisionRequest, DecisionResponse};
pub use issuer::{CloudDocuments, IssuerDocuments, RotateKeyRequest, TokenKey, TokenKeyList};
pub use lease::{Lease, LeaseList, LeaseQuery, LeaseResponse, MintRequest, MintResponse, RenewRequest};
pub use problem::Problem;
pub use reconcile::{ForgetResponse, ReconcileRequest, ReconcileResponse, Stray, StrayOrder, TargetReport};
pub use revoke::{OrderResponse, RevokeManyRequest, RevokeManyResponse, Selector, SelectorError};
pub use role::{Role, RoleList};
pub(crate) use token::Said;

#[cfg(test)]
mod tests;
