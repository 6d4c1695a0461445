//! What an engine is.
//!
//! An engine knows how to make and unmake credentials in one kind of target (a database server, a cloud account, a token
//! issuer). This crate holds the [`Engine`] trait, the types that cross it, the project's only sources of time
//! ([`clock`]) and randomness ([`random`]), and, behind the feature `conformance`, the suite that every engine's tests run.
//!
//! It depends on nothing of the broker: an engine never sees the store, the policy or another engine.

mod admin;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod credential;
mod digest;
mod engine;
mod error;
pub mod failpoint;
mod host;
mod ids;
mod keys;
pub mod random;
mod settings;

pub use admin::{AdminSecret, AdminSecrets};
pub use clock::Timestamp;
pub use credential::{AwsCredential, Credential, DatabaseCredential, Revocable, TokenCredential};
pub use digest::sha256_hex;
pub use engine::{
    Behalf, Caller, Ending, Engine, EngineKind, Fingerprint, Listed, Listing, Mark, MintOrder, Minted, Place, Plan,
    PlanRequest, Receipt, RenewOrder, RevokeOrder, RoleContext, Room, Standing, TargetContext, Throughput, TokenTarget,
};
pub use error::{EngineError, Finding, Level, Reason};
pub use host::{CloudAssertion, Host, JwtAlgorithm, JwtOrder, StatusSlot, SvidKey, SvidSigner, Withdrawal};
pub use ids::{AccountName, ClusterName, IdError, LeaseId, StoreTag};
pub use keys::Keys;
pub use settings::{RoleSettings, SecretSource, SettingError, Settings};
