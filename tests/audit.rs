//! The audit log of real brokers, and what `audit verify` finds in it.

mod verify;
