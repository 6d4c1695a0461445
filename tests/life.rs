//! The life of a lease as a caller has it: it ends on time, it is renewed, rotated and revoked, and nothing that happens to
//! client, broker or target on the way leaves a credential alive that should be dead.

mod away;
mod ends;
mod in_postgres;
mod reload;
mod stop;
mod undelivered;
