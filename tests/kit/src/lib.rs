//! The test kit: real servers, real certificates, faults on command.
//!
//! A test that talks to PostgreSQL is written once and run by [`each_version!`] on two servers, because the membership
//! rules of PostgreSQL changed in 16. What a test needs and does not find makes it fail with the command to run.

mod anywhere;
mod broker;
mod bundle_endpoint;
mod ca;
mod collector;
mod config;
mod iam;
mod liar;
mod many;
mod moto;
mod nginx;
mod pg;
mod pgbouncer;
mod proxy;
mod session;
mod versions;
mod wait;
pub mod workload_api;

pub use anywhere::RolesAnywhere;
pub use broker::{Addresses, Broker, BrokerOptions};
pub use bundle_endpoint::{BundleAnswer, BundleEndpoint};
pub use ca::{ChainedSvid, Svid, TestCa, WebTls, database_tls};
pub use collector::{Collector, Mood, Received};
pub use config::ConfigFile;
pub use iam::{IamSession, Verdict};
pub use leasehold_identity::{RequestError, RequestKey, RequestSigner};
pub use leasehold_playground as playground;
pub use leasehold_playground::{Installation, PgOptions, PgServer, PgTls};
pub use liar::{Liar, Lie};
pub use many::{copy_lease, resident_kib};
pub use moto::{AwsCall, AwsKey, AwsRefusal, AwsRole, Moto};
pub use nginx::Nginx;
pub use pg::{Admin, PgFixture, Server};
pub use pgbouncer::{CONSOLE, LOGIN, PgBouncer};
pub use proxy::{Flow, Proxy};
pub use session::{Session, is_refused};
pub use versions::{both_versions, distribution, sixteen_or_newer};
pub use wait::{unique, wait_until};

#[cfg(test)]
mod tests;
