//! Custody of admin logins and of what is sealed.

use serde::{Deserialize, Serialize};

/// `POST /v1/targets/{target}/rotate-admin`; the body may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotateAdminRequest {
    /// Rotate although nobody could recover the new password without the broker's store and seal key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_recovery: Option<bool>,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotateAdminResponse {
    /// Which password is in force now; they are counted.
    pub generation: u64,
    /// Whether it is in the recovery file too.
    pub recoverable: bool,
}

/// `POST /v1/seal/rotate`: its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotateSealResponse {
    /// How many secrets were sealed anew by the current key.
    pub resealed: u64,
    /// How many are sealed by a key that the broker does not have.
    pub unreadable: u64,
}
