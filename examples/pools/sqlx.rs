//! A service whose sqlx pool lives through every rotation, without an agent: it keeps its credential by itself. With
//! `DATABASE_URL` it is the service that it was before: somebody else says who it is, such as a PgBouncer beside it.
//!
//! ```console
//! $ LEASEHOLD_ADDR=… LEASEHOLD_CERT=… LEASEHOLD_KEY=… LEASEHOLD_BUNDLE=… ROLE=orders-write cargo run --example pool-sqlx
//! $ curl -X POST 'http://127.0.0.1:8080/orders?ms=20'
//! ```

use std::convert::Infallible;
use std::env;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use leasehold_client::wire::Credential;
use leasehold_client::{Client, ClientConfig, Credentials, Ending, Held, Wanted};
use secrecy::ExposeSecret;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut stop = signal(SignalKind::terminate())?;
    let (pool, credentials) = match env::var("DATABASE_URL") {
        Ok(url) => (pool(url.parse().map_err(|_| anyhow::anyhow!("DATABASE_URL cannot be read"))?).await?, None),
        Err(_) => {
            let config = ClientConfig::from_env().await?;
            // Our SVID is followed, too.
            config.identity.spawn_watch();
            let role = env::var("ROLE").context("ROLE is not set")?;
            let credentials = Arc::new(Credentials::keep(Client::new(config)?, Wanted::role(role)));
            let pool = pool(options(&*credentials.ready().await?)?).await?;
            tokio::spawn(follow(pool.clone(), credentials.clone()));
            (pool, Some(credentials))
        }
    };
    tokio::select! {
        served = serve(pool) => served?,
        _ = stop.recv() => {}
    }
    if let Some(credentials) = credentials {
        credentials.end(Ending::Revoke).await;
    }
    Ok(())
}

/// No connection is older than `MAX_LIFETIME` seconds. The role's `overlap` must be longer than this, the longest transaction and
/// a second for the change together: then no connection outlives the credential that it came by.
async fn pool(options: PgConnectOptions) -> anyhow::Result<PgPool> {
    let number = |name, default| env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let pool = PgPoolOptions::new()
        .max_connections(number("POOL_SIZE", 16) as u32)
        .max_lifetime(Duration::from_secs(number("MAX_LIFETIME", 120)))
        // A session whose account is gone still answers pings: asking shows nothing, and costs a round trip.
        .test_before_acquire(false);
    Ok(pool.connect_with(options).await?)
}

/// Lets new connections log in by every next credential; those that are open work on until they are too old.
async fn follow(pool: PgPool, credentials: Arc<Credentials>) -> anyhow::Result<()> {
    let mut held = credentials.ready().await?;
    loop {
        pool.set_connect_options(options(&held)?);
        held = credentials.changed(held.generation).await;
    }
}

fn options(held: &Held) -> anyhow::Result<PgConnectOptions> {
    let Credential::Database(login) = &*held.credential else {
        anyhow::bail!("this role gives no login of a database")
    };
    // Not the error: it may quote the URL.
    login.url.expose_secret().parse().map_err(|_| anyhow::anyhow!("the URL cannot be read"))
}

async fn serve(pool: PgPool) -> anyhow::Result<()> {
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".into());
    let listener = TcpListener::bind(&listen).await.with_context(|| format!("cannot listen at {listen}"))?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let pool = pool.clone();
        let service = service_fn(move |request| answer(pool.clone(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(pool: PgPool, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let asked = request.uri().query().and_then(|query| query.strip_prefix("ms="));
    let milliseconds = asked.and_then(|ms| ms.parse().ok()).unwrap_or(0.0_f64).clamp(0.0, 10_000.0);
    let (status, text) = match order(&pool, milliseconds / 2000.0).await {
        Ok(()) => (StatusCode::OK, "ok".to_owned()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    Ok(response)
}

/// Works a while, writes, and works again.
async fn order(pool: &PgPool, seconds: f64) -> Result<(), sqlx::Error> {
    // Not prepared to be kept: behind a PgBouncer the next transaction is in another session.
    let sleep = || sqlx::query("SELECT pg_sleep($1)").bind(seconds).persistent(false);
    let mut transaction = pool.begin().await?;
    sleep().execute(&mut *transaction).await?;
    let insert = sqlx::query("INSERT INTO orders (note) VALUES ($1)").bind("from sqlx").persistent(false);
    insert.execute(&mut *transaction).await?;
    sleep().execute(&mut *transaction).await?;
    transaction.commit().await
}
