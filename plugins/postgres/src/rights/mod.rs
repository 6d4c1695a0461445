//! Rights: what our login needs, and whether a role is too strong.

use leasehold_sdk::{EngineError, Finding};

use crate::engine::Target;
use crate::role::RoleConfig;

/// Whether the role may be handed out; answers the dangerous rights that it has and may have.
pub(crate) async fn vet(_target: &Target, _role: &RoleConfig) -> Result<Vec<String>, EngineError> {
    Ok(Vec::new())
}

/// Everything worth telling an operator.
pub(crate) async fn check(_target: &Target, _roles: &[(String, RoleConfig)]) -> Vec<Finding> {
    Vec::new()
}

/// What a superuser must run for `admin = "functions"`.
pub(crate) fn install_sql(_target: &Target, _roles: &[(String, RoleConfig)]) -> String {
    String::new()
}
