//! The conformance suite of the identity crate: each rule as one good and one bad certificate, bundle or handshake.

#![allow(clippy::disallowed_methods)] // certificates of the past are made with the wall clock

mod bundles;
mod chain;
mod dev;
mod endpoint;
mod follow;
mod handshake;
mod ids;
mod kit;
mod leaf;
mod mint;
mod requests;
mod workload;
mod workload_bad;
