//! A crash anywhere: brokers, targets and stores killed, paused, cut off and set back, at named steps and at random, under
//! load. Then all is quiet, and what must be none is counted: accounts without a lease, leases lost, logins after their end,
//! sessions of the dead (laws 1, 3, 4 and 9).
//!
//! In the ordinary run each campaign kills a few brokers; `make crash` runs the long form. `LEASEHOLD_CRASH_SEED` repeats what
//! a run threw.

mod campaign;
mod dice;
mod fault;
mod ledger;
mod load;
mod member;
mod orders;
mod scenarios;
mod steps;
mod takeover;
mod verdict;
mod watch;
mod world;
