//! One dead or hostile target harms nobody (law 7): its circuit opens and says so, the others mint and revoke as before,
//! and its leases wait and go as soon as it is back.

mod circuit;
mod liars;
mod replica;
