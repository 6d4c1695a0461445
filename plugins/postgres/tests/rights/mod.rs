//! What the broker's login may do in a real server, and what a role gives away there.

mod check;
mod functions;
mod hba;
mod strength;
mod support;
