//! Tokens, asked for and shown as others would: over the API and over the endpoints that OAuth 2.0 libraries know.

mod bounds;
mod exchange;
mod leaseless;
mod listener;
mod minting;
mod oauth;
mod public;
mod verifying;
pub mod world;
