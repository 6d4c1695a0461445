//! The PostgreSQL engine against real servers: the distribution's and one of version 16 or newer.

#[allow(dead_code)]
mod bed;
mod conformance;
mod faults;
mod hostile;
mod liar;
mod life;
mod quoting;
mod replicas;
mod resisting;
mod rights;
mod sessions;
mod tls;
