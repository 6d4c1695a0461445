//! Credentials of AWS, with moto as the account: sessions, users, what a revocation is worth, and the SDKs as customers.

mod checking;
mod crash;
mod delivery;
mod ending;
mod minting;
mod reconciling;
mod throttled;
mod world;
