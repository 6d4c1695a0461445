//! The playground's broker: this very binary, running `serve`.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use leasehold_playground::Leash;
use tokio::process::{Child, Command};

use super::parts::Parts;

/// Longest time to be up, or to be down.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running broker.
pub(super) struct DevBroker {
    child: Child,
    // Let go after the child has been dropped, and with it killed.
    _leash: Leash,
    api: String,
    log: PathBuf,
}

impl DevBroker {
    /// Starts it and waits until it says where it listens.
    pub(super) async fn start(parts: &Parts) -> anyhow::Result<Self> {
        let log = parts.dir().join("broker.log");
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", "--config"])
            .arg(parts.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context("the broker cannot be started")?;
        let leash = Leash::on(child.id().context("the broker ended at once")?)?;
        let mut broker = Self { child, _leash: leash, api: String::new(), log };
        broker.api = broker.wait_for_address(&parts.dir().join("broker/addresses.json")).await?;
        Ok(broker)
    }

    async fn wait_for_address(&mut self, file: &Path) -> anyhow::Result<String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(api) = read_address(file) {
                return Ok(api);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the broker ended at once ({status}): {}", self.log_tail());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("the broker did not come up within {PATIENCE:?}: {}", self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Where its log goes.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// What a client that acts as `name` needs in its environment.
    pub(super) fn environment(&self, parts: &Parts, name: &str) -> Vec<(&'static str, String)> {
        let file = |name: String| parts.dir().join(name).display().to_string();
        vec![
            ("LEASEHOLD_ADDR", format!("https://{}", self.api)),
            ("LEASEHOLD_BUNDLE", file("bundle.pem".into())),
            ("LEASEHOLD_CERT", file(format!("{name}.pem"))),
            ("LEASEHOLD_KEY", file(format!("{name}-key.pem"))),
        ]
    }

    /// A `leasehold` command run as `name`.
    pub(super) fn client(&self, parts: &Parts, name: &str, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(args).envs(self.environment(parts, name)).stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    /// Waits for it to end by itself.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("{status}; {}", self.log_tail()),
            Err(e) => e.to_string(),
        }
    }

    /// Asks it to stop, and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.try_into().ok()?)) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .context("the broker cannot be signalled")?;
        }
        let status: ExitStatus =
            tokio::time::timeout(PATIENCE, self.child.wait()).await.context("the broker did not stop in time")??;
        if !status.success() {
            bail!("the broker ended with {status}: {}", self.log_tail());
        }
        Ok(())
    }
}

fn read_address(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(json.get("api")?.as_str()?.to_owned())
}
