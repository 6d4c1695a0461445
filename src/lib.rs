//! Leasehold: a dynamic credential broker. `docs/ARCHITECTURE.md` tells how the parts fit together.

pub mod agent;
pub mod api;
pub mod audit;
pub mod cli;
pub mod config;
pub mod connections;
pub mod domain;
pub mod engine;
pub mod host;
pub mod lease;
pub mod limits;
pub mod policy;
pub mod seal;
pub mod socket;
pub mod store;
pub mod telemetry;
pub mod token;
