//! The conformance suite of the identity crate: each rule as one good and one bad certificate, bundle or handshake.

mod follow;
mod handshake;
mod kit;
