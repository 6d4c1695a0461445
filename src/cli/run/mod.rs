//! `leasehold run`: a program with credentials in its environment, which live as long as it does.

mod keep;

use std::collections::BTreeSet;
use std::ffi::OsString;

use leasehold_client::{Client, Wanted};

use super::connect::ConnectArgs;
use super::exit::Usage;
use super::value::AskArgs;
use crate::agent::child::{self, Signals};
use crate::agent::forms;
use crate::agent::forms::variables::{self, Variable};
use keep::Kept;

/// `leasehold run ROLE… -- CMD`. For one role the program finds PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, what the
/// database demands of TLS (PGSSLMODE, PGSSLROOTCERT), DATABASE_URL and LEASEHOLD_LEASE_ID in its environment, or for a token
/// ACCESS_TOKEN, ACCESS_TOKEN_TYPE, ACCESS_TOKEN_SCOPE and ACCESS_TOKEN_EXPIRES_AT, or for keys of AWS AWS_ACCESS_KEY_ID,
/// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and AWS_DEFAULT_REGION; for several, each of these begins with the
/// role's name in capitals: ORDERS_READ_PGHOST.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The roles to ask for.
    #[arg(required = true, value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    broker: ConnectArgs,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the program and answers its exit status: 128 + the signal's number if a signal ended it.
pub async fn run(args: RunArgs) -> anyhow::Result<u8> {
    let RunArgs { roles, ask, broker, command } = args;
    let prefixes = prefixes(&roles)?;
    let signals = Signals::listen()?;
    let config = broker.config().await?;
    // The program may run longer than this certificate lives.
    let watch = config.identity.spawn_watch();
    let client = Client::new(config)?;
    let wanted = |role| Wanted { role, ttl: ask.ttl.clone(), params: ask.params.given(), scope: ask.scope.clone() };
    let wanted = roles.into_iter().map(wanted);
    let mut kept = Kept::new(client.clone());
    let done = fetch_and_run(wanted.zip(prefixes), &command, signals, &mut kept).await;
    kept.end().await;
    client.close().await;
    watch.abort();
    done
}

async fn fetch_and_run(
    wanted: impl Iterator<Item = (Wanted, String)>,
    command: &[OsString],
    mut signals: Signals,
    kept: &mut Kept,
) -> anyhow::Result<u8> {
    let mut environment: Vec<Variable> = Vec::new();
    for (wanted, prefix) in wanted {
        // A mint that is under way when a signal comes is not cut off: its lease would be left to end by itself.
        let held = kept.fetch(wanted).await?;
        let own = variables::of(held.lease_id(), &forms::open(&held.credential)?);
        environment.extend(own.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)));
        if let Some(code) = signals.ended_before_start() {
            return Ok(code);
        }
    }
    child::run(command, environment, signals).await
}

/// What each role's variables begin with: nothing if there is only one role.
fn prefixes(roles: &[String]) -> Result<Vec<String>, Usage> {
    if roles.len() == 1 {
        return Ok(vec![String::new()]);
    }
    let prefixes: Vec<_> = roles.iter().map(|role| variables::prefix(role)).collect();
    let mut seen = BTreeSet::new();
    match prefixes.iter().find(|prefix| !seen.insert(prefix.as_str())) {
        Some(twice) => Err(Usage(format!("two of the roles would both have variables that begin with {twice}"))),
        None => Ok(prefixes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_roles_are_told_apart() {
        let of = |roles: &[&str]| prefixes(&roles.iter().map(|&r| r.to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["a-b"]).unwrap(), [""]);
        assert_eq!(of(&["a-b", "c"]).unwrap(), ["A_B_", "C_"]);
        assert!(of(&["a-b", "a_b"]).unwrap_err().to_string().contains("A_B_"));
    }
}
