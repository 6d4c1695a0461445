//! `/oauth2/…` on the API's listener: what OAuth 2.0 libraries know, for callers that are known by their SVID (RFC 8705
//! `tls_client_auth`, with the SPIFFE ID as the registered SAN URI).

mod form;
mod introspect;
mod refusal;
mod revoke;
pub(super) mod schema;
mod token;

pub(super) use introspect::introspect;
pub(super) use revoke::revoke;
pub(super) use token::token;
