//! IAM Roles Anywhere: a session of the broker's own role for its SVID.

use aws_credential_types::Credentials;
use leasehold_sdk::{EngineError, Host};

use crate::target::TargetConfig;

/// What is asked for.
pub(crate) struct Ask<'a> {
    pub(crate) trust_anchor_arn: &'a str,
    pub(crate) profile_arn: &'a str,
    pub(crate) role_arn: &'a str,
    pub(crate) session: &'a str,
}

pub(crate) async fn create_session(_: &TargetConfig, _: &dyn Host, _: &Ask<'_>) -> Result<Credentials, EngineError> {
    Err(EngineError::refused("not there yet"))
}
