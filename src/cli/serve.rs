//! `leasehold serve`: the broker itself.

mod home;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use leasehold_identity::Identity;
use leasehold_sdk::random;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::config::{ConfigArgs, engine_kinds};
use super::store;
use crate::api;
use crate::audit::{AuditLog, Checkpoints, Event, OpenOptions};
use crate::config::{self, Config};
use crate::host::Core;
use crate::lease::{Broker, Parts, ReloadRefused};
use crate::seal::KeyRing;
use crate::store::Presence;
use crate::telemetry::{logs, metrics::Metrics, process};
use home::{Home, write_addresses};

/// How often the configuration file is looked at for a change; SIGHUP is at once.
const CONFIG_LOOK: Duration = Duration::from_secs(2);

/// `leasehold serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Take the clock as right although brokers have run by a later time before; to be used once, after a wrong clock was
    /// set right.
    #[arg(long)]
    accept_clock: bool,
    /// How logs are written to standard error.
    #[arg(long, default_value = "json")]
    pub log_format: logs::Format,
}

/// Runs the broker until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting.
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    process::deny_dumps()?;
    process::deny_driver_environment()?;
    logs::start(args.log_format)?;
    let instance = data_encoding::HEXLOWER.encode(&random::bytes::<4>());
    let file = args.config.config.as_path();
    let core = Arc::new(Core::default());
    let config = config::load(file, &engine_kinds(&core), &instance)?;
    let (listen, limits, break_glass) = (config.listen.clone(), config.limits.clone(), config.break_glass.clone());
    let data_dir = config.broker.data_dir.clone();
    let home = Home::open(&data_dir)?;

    // Without its SVID it can let nobody in, but end what is due, and be reached over the break-glass socket.
    let identity =
        Identity::load_or_await(config.identity.clone()).context("the broker's own identity cannot be loaded")?;
    core.attach(identity.clone());
    let metrics = Arc::new(Metrics::new());
    let broker = make_broker(config, &identity, &metrics, &core, &home.id, &instance, args.accept_clock).await?;
    broker.vet_roles().await;

    let server =
        api::Server::bind(&listen, break_glass.as_deref(), &limits, identity.clone(), broker.clone(), metrics.clone())
            .await?;
    broker.start().await;
    let watch = identity.spawn_watch();
    write_addresses(&data_dir, server.addresses())?;
    tracing::info!(api = %server.addresses().api, ops = %server.addresses().ops, "leasehold is up");

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let serving = tokio::spawn(server.run(stopped));
    let result = until_told_to_stop(file, &instance, &core, &broker, &identity, serving, stop).await;
    broker.stop().await;
    watch.abort();
    result
}

async fn make_broker(
    config: Config,
    identity: &Identity,
    metrics: &Arc<Metrics>,
    core: &Arc<Core>,
    id: &str,
    instance: &str,
    accept_clock: bool,
) -> anyhow::Result<Arc<Broker>> {
    let store = store::open(&config, id, metrics).await?;
    let keys = store::keys(&config)?.map(Arc::new);
    let chain = format!("{}-{}-{id}", config.broker.cluster, store.tag());
    let known_head = store.audit_head(&chain).await?;
    let signing_key = keys.as_deref().map(KeyRing::signing_key).transpose()?;
    let checkpoint_every = Duration::from_secs(config.limits.audit_checkpoint_seconds);
    let (audit, opened) = AuditLog::open(OpenOptions {
        sinks: config.audit.clone(),
        chain: chain.clone(),
        broker: instance.to_owned(),
        config_hash: config.hash.clone(),
        limits: config.limits.clone(),
        known_head,
        metrics: metrics.clone(),
        checkpoints: Some(Checkpoints::new(checkpoint_every, signing_key)),
        marks: Some(config.broker.data_dir.join("audit-sinks.json")),
        trusted: keys.as_deref().map(KeyRing::verifying_keys).transpose()?.unwrap_or_default(),
    })?;
    for broken in &opened.breaks {
        let what = match broken.why {
            None => {
                "the audit log does not go on where this store saw its end: lines were cut off, or another file was put in \
                 its place"
            }
            Some(_) => "the end of the audit log is not what brokers with this key have signed: somebody else wrote it",
        };
        tracing::error!(sink = %broken.sink, expected = ?broken.expected, found = ?broken.found, why = broken.why, "{what}");
    }
    if accept_clock {
        let now = store.clock().await?;
        tracing::warn!(%now, before = %store.high_water().await?, "the clock is taken as right, as told");
        audit.write(Event::Broker { what: "clock_accepted".into(), note: Some(format!("it is {now}")) }).await?;
        store.reset_high_water(now).await?;
    }
    let own_id = identity.status().spiffe_id;
    let presence = Presence {
        id: id.to_owned(),
        instance: instance.to_owned(),
        host: process::host(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_hash: config.hash.clone(),
        chain,
        started_at: store.clock().await?,
    };
    let issuer = core.issuer().clone();
    Broker::new(Parts { config, store, audit, metrics: metrics.clone(), keys, issuer, presence, own_id })
        .await
        .map_err(refused)
}

/// What is wrong in the file is told as all errors of the file are.
fn refused(refused: ReloadRefused) -> anyhow::Error {
    match refused {
        ReloadRefused::Config(errors) => errors.into(),
        other => other.into(),
    }
}

/// Waits for signals and changes of the configuration file.
async fn until_told_to_stop(
    file: &Path,
    instance: &str,
    core: &Arc<Core>,
    broker: &Arc<Broker>,
    identity: &Arc<Identity>,
    mut serving: tokio::task::JoinHandle<anyhow::Result<()>>,
    stop: tokio::sync::watch::Sender<bool>,
) -> anyhow::Result<()> {
    let hear = |kind| signal(kind).context("signals cannot be heard");
    let (mut term, mut int): (Signal, Signal) = (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
    let mut hup = hear(SignalKind::hangup())?;
    let mut seen = tokio::fs::read(file).await.ok();
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            ended = &mut serving => return ended.context("the API ended")?,
            _ = hup.recv() => {
                seen = tokio::fs::read(file).await.ok();
                identity.reload();
                reload(file, instance, core, broker).await;
            }
            () = tokio::time::sleep(CONFIG_LOOK) => {
                let now = tokio::fs::read(file).await.ok();
                // A file that is away for a moment is being replaced; only new content counts.
                if now.is_some() && now != seen {
                    seen = now;
                    reload(file, instance, core, broker).await;
                }
            }
        }
    }
    tracing::info!("leasehold stops: it finishes what is under way");
    broker.end_waiting();
    stop.send_replace(true);
    serving.await.context("the API ended badly")?
}

async fn reload(file: &Path, instance: &str, core: &Arc<Core>, broker: &Arc<Broker>) {
    let result = match config::load(file, &engine_kinds(core), instance) {
        Ok(config) => broker.reload(config).await.map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    match result {
        Ok(()) => tracing::info!(file = %file.display(), "the new configuration is in force"),
        Err(why) => {
            tracing::error!(file = %file.display(), why = %why, "the new configuration is refused; the running one is kept")
        }
    }
}
