//! A running service is supplied for ever: the handle that it embeds, and the agent beside it.

mod handle;
mod hard;
mod lasting;
mod process;
mod rotation;
mod running;
