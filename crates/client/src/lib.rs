//! What a service embeds to fetch credentials from Leasehold: the API's [`wire`] types and a typed client over mTLS.
//!
//! Nothing of the broker itself is built with it.

pub mod wire;
