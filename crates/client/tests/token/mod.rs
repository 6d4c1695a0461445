//! The verifier of tokens against a server over real TLS that plays the issuer.

mod bound;
mod good;
mod hostile;
mod issuer;
mod keys;
mod signer;
mod status;
