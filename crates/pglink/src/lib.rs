//! Where a PostgreSQL server is and how the way to it is protected. A target and the store are described by the same words,
//! under the same rules.

mod address;
mod tls;

pub use address::{Address, encoded, host_and_port};
pub use tls::{Tls, TlsMode};
