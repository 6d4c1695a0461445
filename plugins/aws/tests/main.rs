//! The AWS engine against moto, a judge of IAM's policies, and a server that lies.

mod answers;
mod anywhere;
mod bed;
mod check;
mod conformance;
mod denials;
mod liar;
mod sessions;
mod users;
