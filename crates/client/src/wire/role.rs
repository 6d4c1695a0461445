//! What can be asked for by name.

use serde::{Deserialize, Serialize};

/// `GET /v1/roles`: what this caller may mint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleList {
    /// The roles, by name.
    pub roles: Vec<Role>,
}

/// One role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Role {
    /// Its name.
    pub name: String,
    /// The target in which its credentials are made.
    pub target: String,
    /// The kind of its credentials, such as `database`.
    pub kind: String,
    /// How long a credential lives unless another time is asked for.
    pub ttl: String,
    /// How long it can live at most, renewals included.
    pub max_ttl: String,
}
