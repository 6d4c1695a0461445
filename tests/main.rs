//! The one integration-test program, so that the broker is linked into tests once. One module for each capability.

mod ambiguous;
mod bad_input;
mod blocks;
mod break_glass;
mod brokers;
mod canary;
mod cli;
mod clock;
mod crash;
mod custody;
mod decisions;
mod demo;
mod disk_full;
mod docs;
mod ground;
mod house_rules;
mod isolation;
mod life;
mod limits;
mod ops;
mod reconcile;
mod rig;
mod scale;
mod stage;
mod tls;
mod unauthorized;
