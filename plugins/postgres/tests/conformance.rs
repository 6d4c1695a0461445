//! The suite that every engine runs, per version and kind of admin.

use async_trait::async_trait;
use leasehold_sdk::conformance::{Probe, Subject, run};
use leasehold_sdk::{AccountName, Credential, Engine, Mark, RoleSettings};
use leasehold_testkit::{Installation, Session};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::bed::{Bed, Kind};

leasehold_testkit::each_version! { with_a_superuser, without_a_superuser, with_functions }

async fn with_a_superuser(postgres: Installation) {
    run(&Bed::new(postgres, Kind::Superuser).await).await;
}

async fn without_a_superuser(postgres: Installation) {
    run(&Bed::new(postgres, Kind::Createrole).await).await;
}

async fn with_functions(postgres: Installation) {
    run(&Bed::new(postgres, Kind::Functions).await).await;
}

#[async_trait]
impl Subject for Bed {
    fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn role(&self) -> RoleSettings {
        Bed::role(self, json!({}))
    }

    fn role_with_param(&self) -> Option<RoleSettings> {
        // Only who made the role may comment on it, and with functions that is not our login.
        (self.kind != Kind::Functions)
            .then(|| Bed::role(self, json!({"creation_statements": ["COMMENT ON ROLE {{name}} IS {{params.tenant}}"]})))
    }

    async fn param(&self, account: &AccountName) -> Option<String> {
        self.ask(&format!("SELECT shobj_description('\"{account}\"'::regrole, 'pg_authid')")).await
    }

    async fn login(&self, credential: &Credential) -> Result<Box<dyn Probe>, String> {
        let Credential::Database(c) = credential else { return Err("not a database credential".into()) };
        let session = self.pg.try_login(&c.username, c.password.expose_secret()).await.map_err(|e| e.to_string())?;
        Ok(Box::new(Open(session)))
    }

    async fn exists(&self, account: &AccountName) -> bool {
        !self.pg.roles_with_prefix(&account.to_string()).await.is_empty()
    }
}

struct Open(Session);

#[async_trait]
impl Probe for Open {
    async fn is_alive(&mut self) -> bool {
        self.0.is_alive().await
    }
}
