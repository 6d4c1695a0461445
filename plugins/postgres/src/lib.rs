//! The PostgreSQL engine: logins that belong to one workload and die on time.
//!
//! Its README tells the settings, the rights that it needs, what a revocation does step by step, and its limits.
//!
//! | module | what is there |
//! |---|---|
//! | `config`, `role`, `keys`, `address`, `template` | settings, checked |
//! | `engine` | the contract, as a table of contents |
//! | `session`, `lane`, `pins`, `last_resort`, `sql_error` | pinned admin sessions and what their errors mean |
//! | `guard` | what a server may send to the driver, and TLS to it |
//! | `replica` | servers that follow the target's, and are swept at revocation |
//! | `quote`, `statements` | how text gets into SQL, and the SQL of both kinds of admin |
//! | `plan`, `mint`, `scram`, `credential`, `mark` | making accounts |
//! | `revoke`, `list` | ending them, finding them |
//! | `rights` | what our login needs, and whether a role is too strong |

mod admin;
mod answer;
mod config;
mod credential;
mod engine;
mod guard;
mod lane;
mod last_resort;
mod list;
mod mark;
mod mint;
mod pins;
mod plan;
mod quote;
mod replica;
mod revoke;
mod rights;
mod role;
mod scram;
mod session;
mod sql_error;
mod statements;
mod template;

use std::sync::Arc;

use leasehold_sdk::{Engine, EngineKind, SettingError, Settings, TargetContext};

pub use quote::{BadText, Ident, Literal, NAME_BYTES_MAX, join, quote_ident, quote_literal, quote_literals};

/// The `postgres` plugin.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postgres;

impl EngineKind for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn credential_kind(&self) -> &'static str {
        "database"
    }

    fn target(&self, context: TargetContext, settings: Settings) -> Result<Arc<dyn Engine>, SettingError> {
        Ok(Arc::new(engine::Target::new(context, settings)?))
    }
}
