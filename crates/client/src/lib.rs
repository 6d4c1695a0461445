//! What a service embeds to fetch credentials from Leasehold: the API's [`wire`] types and a typed [`Client`] over mTLS.
//! Nothing of the broker itself is built with it.
//!
//! ```no_run
//! # async fn example() -> Result<(), leasehold_client::ClientError> {
//! use leasehold_client::{Client, ClientConfig, wire::MintRequest};
//!
//! let config = ClientConfig::from_env().await?;
//! // Follows the SVID as it rotates, for as long as the service runs.
//! config.identity.spawn_watch();
//! let client = Client::new(config)?;
//! let issued = client.mint("orders-read", &MintRequest::default()).await?;
//! println!("a {} under {:?}", issued.credential.kind(), issued.lease);
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`token::Verifier`] is for the other side: a service that is sent tokens.
//!
//! [`Agent`] asks the agent on this host instead of a broker. [`Credentials`] keeps one alive for as long as the service runs: renewed, and replaced in time by another.

mod agent;
mod client;
mod clock;
mod config;
mod connection;
mod credentials;
mod error;
pub mod limits;
mod path;
pub mod token;
mod transport;
mod way;
pub mod wire;

pub use agent::Agent;
pub use client::Client;
pub use config::{ClientConfig, Settings};
pub use credentials::{Counts, Credentials, Ending, Health, Held, Unrevoked, Wanted};
pub use error::ClientError;
