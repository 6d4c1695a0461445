//! A service in Rust whose sqlx pool lives through every rotation, without an agent: it keeps its credential by itself.
//!
//! ```console
//! $ LEASEHOLD_ADDR=… cargo run --example pool-sqlx -- orders-read
//! ```

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use leasehold_client::wire::Credential;
use leasehold_client::{Client, ClientConfig, Credentials, Ending, Held, Wanted};
use secrecy::ExposeSecret;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// No connection is older. The role's `overlap` must be longer than this, the longest transaction and a second for the change
/// together: then no connection outlives the credential that it came by.
pub const MAX_LIFETIME: Duration = Duration::from_secs(2);

/// A pool that logs in by the present credential.
pub async fn pool(credentials: &Credentials) -> anyhow::Result<PgPool> {
    let held = credentials.ready().await?;
    let pool = PgPoolOptions::new().max_connections(16).max_lifetime(MAX_LIFETIME);
    Ok(pool.connect_with(options(&held)?).await?)
}

/// Lets new connections log in by every next credential; those that are open work on until they are too old.
pub async fn follow(pool: &PgPool, credentials: &Credentials) -> anyhow::Result<()> {
    let mut held = credentials.ready().await?;
    loop {
        pool.set_connect_options(options(&held)?);
        held = credentials.changed(held.generation).await;
    }
}

fn options(held: &Arc<Held>) -> anyhow::Result<PgConnectOptions> {
    let Credential::Database(login) = &*held.credential else {
        anyhow::bail!("this role gives no login of a database")
    };
    // Not the error: it may quote the URL.
    login.url.expose_secret().parse().map_err(|_| anyhow::anyhow!("the URL cannot be read"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let role = std::env::args().nth(1).context("which role? It is the one argument")?;
    let config = ClientConfig::from_env().await?;
    // Our SVID is followed, too.
    let svid = config.identity.spawn_watch();
    let credentials = Arc::new(Credentials::keep(Client::new(config)?, Wanted::role(role)));
    let pool = pool(&credentials).await?;
    let following = {
        let (pool, credentials) = (pool.clone(), credentials.clone());
        tokio::spawn(async move { follow(&pool, &credentials).await })
    };
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = every_second.tick() => {
                let who: String = sqlx::query_scalar("SELECT current_user::text").fetch_one(&pool).await?;
                println!("I am {who}");
            }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    following.abort();
    pool.close().await;
    credentials.end(Ending::Revoke).await;
    svid.abort();
    Ok(())
}
