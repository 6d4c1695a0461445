//! Pure rules: what a lease may become, how long things live, who may do what. No I/O, no async, no clock.

pub mod caller;
pub mod grant;
pub mod lease;
pub mod role;
pub mod ttl;
