//! A running service is supplied for ever: the handle that it embeds, and the agent beside it.

mod handle;
mod lasting;
mod process;
mod running;
