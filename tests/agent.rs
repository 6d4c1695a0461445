//! A running service is supplied for ever: the handle that it embeds, and the agent beside it.

mod container;
mod forward_auth;
mod handle;
mod hard;
mod lasting;
mod pgbouncer;
pub mod process;
mod running;
mod tokens;
