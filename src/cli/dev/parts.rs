//! The throwaway parts: a PostgreSQL with something in it, a development CA with a few SVIDs, a configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use leasehold_identity::dev::DevCa;
use leasehold_identity::{SpiffeId, TrustDomain};
use leasehold_playground::{PgOptions, PgServer};
use leasehold_sdk::random;
use tempfile::TempDir;

/// The trust domain of the playground.
pub(super) const TRUST_DOMAIN: &str = "dev.local";
/// The service that has a grant.
pub(super) const BILLING: &str = "spiffe://dev.local/billing";
/// The service that has none.
pub(super) const STRANGER: &str = "spiffe://dev.local/stranger";

/// Who gets an SVID, by the name of its files.
const WORKLOADS: [&str; 4] = ["leasehold", "billing", "stranger", "operator"];

/// How long the SVIDs of the playground are good.
const SVID_TTL: Duration = Duration::from_secs(24 * 3600);

/// All that a broker needs around it.
pub(super) struct Parts {
    dir: TempDir,
    server: Arc<PgServer>,
}

impl Parts {
    /// Makes them all.
    pub(super) async fn make() -> anyhow::Result<Self> {
        let parts = Self::with_database().await?;
        parts.make_identities()?;
        parts.write_config()?;
        Ok(parts)
    }

    /// A directory, and a PostgreSQL with a schema to read and an admin login that is no superuser.
    pub(super) async fn with_database() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("leasehold-dev-").tempdir().context("no temporary directory")?;
        let server = Arc::new(PgServer::start(PgOptions::default()).await?);
        // A throwaway server's password, gone with it: no secret that matters.
        let admin = data_encoding::HEXLOWER.encode(&random::bytes::<20>());
        std::fs::write(dir.path().join("orders-admin.password"), &admin)?;
        server.psql("CREATE DATABASE orders").await?;
        server.psql_in("orders", &schema(&admin)).await?;
        Ok(Self { dir, server })
    }

    /// A CA and an SVID for everyone in the story.
    pub(super) fn make_identities(&self) -> anyhow::Result<()> {
        let domain = TrustDomain::parse(TRUST_DOMAIN)?;
        let ca = DevCa::create(&domain)?;
        let ca_dir = self.dir().join("ca");
        std::fs::create_dir(&ca_dir)?;
        ca.save(&ca_dir)?;
        std::fs::write(self.dir().join("bundle.pem"), ca.bundle_pem())?;
        for name in WORKLOADS {
            let id = SpiffeId::parse(&format!("spiffe://{TRUST_DOMAIN}/{name}"))?;
            ca.issue(&id, SVID_TTL)?.write_to(self.dir(), name)?;
        }
        Ok(())
    }

    /// The broker's configuration.
    pub(super) fn write_config(&self) -> anyhow::Result<()> {
        std::fs::write(self.config(), config(self.server.port())).context("the configuration cannot be written")
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir().join("leasehold.toml")
    }

    pub(super) fn server(&self) -> &Arc<PgServer> {
        &self.server
    }
}

/// The admin login is no superuser: CREATEROLE, ADMIN on the group it hands out, and the right to end sessions.
fn schema(admin_password: &str) -> String {
    format!(
        "CREATE SCHEMA sales;
         CREATE TABLE sales.orders (id int PRIMARY KEY, customer text NOT NULL, total numeric NOT NULL);
         INSERT INTO sales.orders VALUES (1, 'Ada', 120), (2, 'Grace', 75.5), (3, 'Edsger', 31.4);
         REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         CREATE ROLE orders_reader NOLOGIN;
         GRANT USAGE ON SCHEMA sales TO orders_reader;
         GRANT SELECT ON ALL TABLES IN SCHEMA sales TO orders_reader;
         CREATE ROLE leasehold LOGIN CREATEROLE PASSWORD '{admin_password}';
         GRANT orders_reader TO leasehold WITH ADMIN OPTION;
         GRANT pg_signal_backend TO leasehold;"
    )
}

fn config(port: u16) -> String {
    format!(
        r#"# The playground's broker. Paths are relative to this file.
[broker]
cluster = "dev"
data_dir = "broker"

[listen]
api = "127.0.0.1:0"
ops = "127.0.0.1:0"

[identity]
trust_domain = "{TRUST_DOMAIN}"
svid = {{ cert = "leasehold.pem", key = "leasehold-key.pem" }}

[identity.bundles]
"{TRUST_DOMAIN}" = {{ file = "bundle.pem" }}

[targets.orders]
plugin = "postgres"
url = "postgres://leasehold@127.0.0.1:{port}/orders"
password = {{ file = "orders-admin.password" }}

[roles.orders-read]
target = "orders"
ttl = "1h"
max_ttl = "8h"
member_of = ["orders_reader"]

[[grants]]
name = "billing reads orders"
identities = ["{BILLING}"]
roles = ["orders-read"]

[[grants]]
name = "operators see and end everything"
identities = ["spiffe://{TRUST_DOMAIN}/operator"]
roles = ["*"]
actions = ["read", "revoke", "admin"]
"#
    )
}
