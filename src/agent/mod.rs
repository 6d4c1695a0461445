//! The agent: keeps the credentials of a running service alive and hands them on in the ways that it already knows.

mod acks;
pub mod child;
pub mod config;
mod deliver;
mod exec;
pub mod forms;
mod forward_auth;
mod metrics;
mod serve;
mod state;
mod supply;

use std::sync::Arc;
use std::time::Duration;

use leasehold_client::{Client, Ending};
use tokio::sync::watch;
use tokio::task::JoinSet;

use child::Signals;
use config::AgentConfig;
use deliver::Delivery;
use forward_auth::ForwardAuth;
use serve::{Loopback, Server};
use state::State;
use supply::Supplies;

/// How long revoking may take at the end: whoever stops us waits.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT, or until the service that it has started ends; then answers that one's exit code.
///
/// # Errors
/// What kept it from starting. A broker that is away does not.
pub async fn run(config: AgentConfig) -> anyhow::Result<u8> {
    let signals = Signals::listen()?;
    let AgentConfig { broker, state, socket, listen, forward_auth, credentials, exec, withheld } = config;
    let broker = broker.load().await?;
    let identity = broker.identity.clone();
    let broker_id = broker.broker_id.clone();
    let follow = identity.spawn_watch();
    let client = Client::new(broker)?;
    let state = match &state {
        Some(state) => Some(Arc::new(State::open(state, identity.spiffe_id().as_str())?)),
        None => {
            tracing::info!("there is no state: an agent that starts again fetches everything anew");
            None
        }
    };
    let supplies = Arc::new(Supplies::begin(&client, identity.clone(), credentials, state.as_deref()));

    let ((stop, stopped), (news, heard)) = (watch::channel(false), watch::channel(0));
    let mut tasks = JoinSet::new();
    for (name, supply) in supplies.iter() {
        tasks.spawn(supply.acks.clone().retire(supply.credentials.clone()));
        tasks.spawn(Delivery::new(name, supply, state.clone(), news.clone(), withheld.clone())?.run());
    }
    let mut servers = JoinSet::new();
    for one in forward_auth {
        servers.spawn(ForwardAuth::bind(one, &identity, &broker_id).await?.run(stopped.clone()));
    }
    if let Some(socket) = &socket {
        servers.spawn(Server::bind(socket, supplies.clone()).await?.run(stopped.clone()));
    }
    let mut given = Vec::new();
    if let Some(listen) = &listen {
        let loopback = Loopback::bind(listen, supplies.clone()).await?;
        given = loopback.environment();
        servers.spawn(loopback.run(stopped));
    }
    tracing::info!(credentials = supplies.iter().count(), "the agent is up");
    let done = match &exec {
        Some(exec) => exec::run(exec, given, &withheld, &supplies, heard, signals).await,
        None => Ok(until_told_to_stop(signals).await),
    };

    tracing::info!("the agent stops");
    stop.send_replace(true);
    while servers.join_next().await.is_some() {}
    tasks.shutdown().await;
    if tokio::time::timeout(END_TIME_MAX, end(&supplies, state.as_deref())).await.is_err() {
        tracing::warn!("not all could be revoked; what is left ends by itself");
    }
    client.close().await;
    follow.abort();
    done
}

async fn until_told_to_stop(mut signals: Signals) -> u8 {
    // What only makes others read their files again is not meant for us.
    while !Signals::means_stop(signals.next().await) {}
    0
}

async fn end(supplies: &Supplies, state: Option<&State>) {
    for (name, supply) in supplies.iter() {
        let ending = if supply.config.revoke_on_exit { Ending::Revoke } else { Ending::Leave };
        supply.credentials.end(ending).await;
        if ending == Ending::Leave {
            supply.acks.retire_now(&supply.credentials).await;
        }
        if ending == Ending::Revoke
            && let Some(Err(error)) = state.map(|state| state.forget(name))
        {
            tracing::warn!(credential = %name, error = format!("{error:#}"), "what was revoked is still in the state");
        }
    }
}
