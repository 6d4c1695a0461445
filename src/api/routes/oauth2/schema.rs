//! The forms and answers of `/oauth2/…`, for the OpenAPI document: their words are those of the RFCs.
#![allow(dead_code)] // only their schemas are used

use utoipa::ToSchema;

/// `POST /oauth2/token` (RFC 6749 section 4.4, RFC 8693, RFC 8707). A role's params are further fields of their names.
#[derive(ToSchema)]
pub(in crate::api::routes) struct OauthTokenRequest {
    /// `client_credentials`, or `urn:ietf:params:oauth:grant-type:token-exchange`.
    grant_type: String,
    /// The audience of the token; `audience` is taken for it.
    resource: String,
    /// Scopes with spaces between.
    scope: Option<String>,
    /// The caller's SPIFFE ID, which its certificate has said already.
    client_id: Option<String>,
    /// For an exchange: the token that the caller was sent.
    #[schema(format = "password")]
    subject_token: Option<String>,
    /// For an exchange: `urn:ietf:params:oauth:token-type:access_token`.
    subject_token_type: Option<String>,
}

/// Its answer (RFC 6749 section 5.1, RFC 8693 section 2.2.1).
#[derive(ToSchema)]
pub(in crate::api::routes) struct OauthTokenResponse {
    /// The signed token (RFC 9068).
    #[schema(format = "password")]
    access_token: String,
    /// After an exchange.
    issued_token_type: Option<String>,
    /// `Bearer`.
    token_type: String,
    /// Seconds.
    expires_in: i64,
    /// Scopes with spaces between.
    scope: String,
    /// The lease, if it has one.
    lease_id: Option<String>,
}

/// `POST /oauth2/introspect` and `POST /oauth2/revoke` (RFC 7662, RFC 7009).
#[derive(ToSchema)]
pub(in crate::api::routes) struct OauthShownToken {
    /// The token.
    #[schema(format = "password")]
    token: String,
    /// Not looked at.
    token_type_hint: Option<String>,
}

/// The answer of `POST /oauth2/introspect`; if active, with all that the token says.
#[derive(ToSchema)]
pub(in crate::api::routes) struct OauthIntrospection {
    /// Whether the token is good, as far as the caller may know.
    active: bool,
}

/// Why not (RFC 6749 section 5.2).
#[derive(ToSchema)]
pub(in crate::api::routes) struct OauthError {
    /// Its code, such as `invalid_scope`.
    error: String,
    /// What happened, and what to do.
    error_description: String,
}
