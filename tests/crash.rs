//! The broker killed at each step of minting and ending, and at random moments under load: no account stays without a
//! lease, and no lease is lost (laws 1 and 3).

mod orders;
mod steps;
mod storm;
