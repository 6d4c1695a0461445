//! A hook that is a PgBouncer: told on its admin console to read its files again. It notices that a database's login is another,
//! and closes each connection of before when it comes back from its transaction. Nobody who is connected to it is disturbed.
//!
//! `RECONNECT` would do the same for any reason, and is not said: right after `RELOAD` it closes those that are just logging in by
//! the new login, and PgBouncer takes that for logins that fail, and turns clients away for `server_login_retry`.

use std::time::Duration;

use anyhow::{Context, anyhow};
use leasehold_pglink::Address;
use leasehold_sdk::SecretSource;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::time::timeout;

/// Lets it log in by what its files say now, in its database of the credential's name. With `drain`, waits until no connection
/// is left that has logged in by what they said before: that takes as long as the longest transaction, and with `pool_mode =
/// session` as long as the longest client.
///
/// # Errors
/// When the console cannot be reached, or does not do it within the time.
pub async fn change_over(
    console: &Address,
    password: Option<&SecretSource>,
    credential: &str,
    drain: bool,
    time: Duration,
) -> anyhow::Result<()> {
    let place = || format!("PgBouncer's console at {}:{}", console.host, console.port);
    let options = options(console, password).with_context(place)?;
    let done = timeout(time, async {
        let mut connection = PgConnection::connect_with(&options).await.with_context(place)?;
        command(&mut connection, "RELOAD".to_owned()).await?;
        if drain {
            command(&mut connection, format!("WAIT_CLOSE \"{credential}\"")).await?;
        }
        connection.close().await.with_context(place)
    });
    done.await.map_err(|_| anyhow!("{} was not done within {time:?}", place()))?
}

/// The simple protocol, the only one that the console speaks. The names of credentials hold nothing that would need quoting
/// within quotes (`check_name`).
async fn command(connection: &mut PgConnection, command: String) -> anyhow::Result<()> {
    let done = sqlx::raw_sql(AssertSqlSafe(command.clone())).execute(connection).await;
    done.map(drop).with_context(|| format!("PgBouncer does not do {command}"))
}

fn options(console: &Address, password: Option<&SecretSource>) -> anyhow::Result<PgConnectOptions> {
    let password = password.map(SecretSource::read).transpose().map_err(|why| anyhow!(why))?;
    let options = PgConnectOptions::new_without_pgpass()
        .port(console.port)
        .username(&console.user)
        .database(&console.database)
        .ssl_mode(PgSslMode::Prefer)
        // It refuses settings that it does not know.
        .extra_float_digits(None)
        // Always ours: the library would take another from the environment.
        .password(password.as_ref().map_or("", |password| password.expose_secret()))
        .application_name("leasehold agent")
        .disable_statement_logging();
    Ok(if console.is_socket() { options.socket(&console.host) } else { options.host(&console.host) })
}
