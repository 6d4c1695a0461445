//! Throwaway PostgreSQL servers for `leasehold dev`, the demo and the tests.
//!
//! [`find_installation`] looks for server binaries that are already on the machine, and [`PgServer::start`] makes a new
//! cluster from them: SCRAM authentication, a free port on 127.0.0.1, a temporary directory. Nothing is left behind:
//! dropping the server stops it, and a small guardian process does the same when its owner is killed.

mod account;
mod backup;
mod guardian;
mod installation;
mod leash;
mod options;
mod process;
mod psql;
mod server;
mod setup;
mod standby;

pub use account::RunAs;
pub use backup::Backup;
pub use installation::{Installation, SUPPORTED_MAJORS, find_all, find_installation};
pub use leash::Leash;
pub use options::{PgOptions, PgTls};
pub use server::PgServer;
pub use setup::free_port;

#[cfg(test)]
mod tests;
