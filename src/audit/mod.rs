//! The audit log: one JSON line per decision and per change of a lease, hash-chained, and its verifier.

mod event;

pub use event::Event;
