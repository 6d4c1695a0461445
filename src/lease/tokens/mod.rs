//! What only tokens have: signing keys, requests by audience, and the question whether one is good.

pub(super) mod keys;
mod own;
mod request;

pub use request::{TokenAsk, TokenRefused};
