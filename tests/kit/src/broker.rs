//! A real `leasehold serve` as a child process.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use leasehold_playground::Leash;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::Svid;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The most that one answer of the ops listener may take.
const OPS_TIMEOUT: Duration = Duration::from_secs(5);

/// How a broker is started.
#[derive(Clone)]
pub struct BrokerOptions {
    /// The program: `env!("CARGO_BIN_EXE_leasehold")` in the root package's tests.
    pub binary: PathBuf,
    /// The configuration file; its directory is the broker's data directory.
    pub config: PathBuf,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
    /// How long it may take to be ready, or to end after SIGTERM.
    pub timeout: Duration,
}

impl BrokerOptions {
    /// This program with this configuration.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, config: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), config: config.into(), env: Vec::new(), timeout: Duration::from_secs(60) }
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

/// Where a broker listens: what it writes to `addresses.json` in its data directory.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// mTLS.
    pub api: SocketAddr,
    /// Plain HTTP: health and metrics.
    pub ops: SocketAddr,
    /// TLS without client certificates: what an issuer publishes.
    pub public: Option<SocketAddr>,
}

/// A broker that runs. Dropping it kills it, and it dies with this process.
pub struct Broker {
    options: BrokerOptions,
    addresses: Addresses,
    child: Option<(Child, Leash)>,
}

impl Broker {
    /// Starts it and waits until `/readyz` says 200.
    ///
    /// # Errors
    /// When it ends or is not ready in time; then with what it logged.
    pub async fn start(options: BrokerOptions) -> Result<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = Addresses { api: nowhere, ops: nowhere, public: None };
        let mut broker = Self { options, addresses, child: None };
        broker.launch().await?;
        Ok(broker)
    }

    /// Starts it and waits until it has ended: for configurations that it must refuse. Returns its status and output.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub async fn start_refused(options: BrokerOptions) -> Result<(ExitStatus, String)> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = Addresses { api: nowhere, ops: nowhere, public: None };
        let mut broker = Self { options, addresses, child: None };
        broker.spawn()?;
        let status = broker.wait_for_exit().await?;
        Ok((status, broker.logs()))
    }

    /// Starts an ended broker again with the same files; its addresses change.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn restart(&mut self) -> Result<()> {
        if self.child.is_some() {
            self.terminate().await?;
        }
        self.launch().await
    }

    /// The same for one that has something to complain about: waits until it listens, ready or not.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn restart_unready(&mut self) -> Result<()> {
        if self.child.is_some() {
            self.terminate().await?;
        }
        self.launch_until(|_| true).await
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// `https://127.0.0.1:PORT` of the API, for `LEASEHOLD_ADDR`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.addresses.api)
    }

    /// The program as a command of this caller: `LEASEHOLD_ADDR`, `LEASEHOLD_CERT`, `LEASEHOLD_KEY` and `LEASEHOLD_BUNDLE`
    /// are set, and nothing else that would steer it.
    #[must_use]
    pub fn command(&self, caller: &Svid) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.options.binary);
        for name in ["LEASEHOLD_CONFIG", "LEASEHOLD_BROKER_ID", "LEASEHOLD_SVID_HINT", "SPIFFE_ENDPOINT_SOCKET"] {
            command.env_remove(name);
        }
        command.env("LEASEHOLD_ADDR", self.url()).env("LEASEHOLD_CERT", &caller.cert).env("LEASEHOLD_KEY", &caller.key);
        command.env("LEASEHOLD_BUNDLE", &caller.bundle).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(|(child, _)| child.id())
    }

    /// The file with everything it wrote to its error output since the first start.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.options.config.with_file_name("broker.log")
    }

    /// Everything it wrote to its error output and standard output since the first start.
    #[must_use]
    pub fn logs(&self) -> String {
        let read = |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        read(self.log_path()) + &read(self.output_path())
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.wait_for_exit().await
    }

    /// Kills it (SIGKILL) and waits for the end.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.signal("KILL")?;
        self.wait_for_exit().await
    }

    /// Lets it read its configuration again (SIGHUP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn reload(&self) -> Result<()> {
        self.signal("HUP")
    }

    /// Sends a signal by its name without `SIG`, such as `STOP`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().context("the broker does not run")?;
        let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().context("cannot run kill")?;
        if !status.success() {
            bail!("kill -s {name} {pid} failed");
        }
        Ok(())
    }

    /// Waits for the end, without causing it.
    ///
    /// # Errors
    /// When it has not ended after the options' timeout.
    pub async fn wait_for_exit(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + self.options.timeout;
        loop {
            let (child, _) = self.child.as_mut().context("the broker does not run")?;
            if let Some(status) = child.try_wait().context("cannot wait for the broker")? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the broker still runs after {:?}; its log:\n{}", self.options.timeout, self.logs());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// `GET path` on the ops listener: status and body.
    ///
    /// # Errors
    /// When it does not answer within 5 s.
    pub async fn ops(&self, path: &str) -> Result<(u16, String)> {
        timeout(OPS_TIMEOUT, get(self.addresses.ops, path)).await.context("the ops listener does not answer")?
    }

    /// One sample of `/metrics`: the value on the line that begins with `series`, labels included.
    ///
    /// # Errors
    /// When it does not answer, or there is no such line.
    pub async fn metric(&self, series: &str) -> Result<f64> {
        let (_, text) = self.ops("/metrics").await?;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.with_context(|| format!("no metric {series}"))?.trim().parse().context("the metric is no number")
    }

    async fn launch(&mut self) -> Result<()> {
        self.launch_until(|status| status == 200).await
    }

    /// Until `/readyz` answers with such a status.
    async fn launch_until(&mut self, is_up: impl Fn(u16) -> bool) -> Result<()> {
        let addresses = self.options.config.with_file_name("addresses.json");
        if addresses.exists() {
            fs::remove_file(&addresses).context("cannot remove the last run's addresses")?;
        }
        self.spawn()?;
        let deadline = Instant::now() + self.options.timeout;
        loop {
            if let Some(found) = read_addresses(&addresses) {
                self.addresses = found;
                if self.ops("/readyz").await.is_ok_and(|(status, _)| is_up(status)) {
                    return Ok(());
                }
            }
            let (child, _) = self.child.as_mut().context("the broker does not run")?;
            if let Some(status) = child.try_wait().context("cannot wait for the broker")? {
                self.child = None;
                bail!("the broker ended at once with {status}; its log:\n{}", self.logs());
            }
            if Instant::now() > deadline {
                bail!("the broker was not ready after {:?}; its log:\n{}", self.options.timeout, self.logs());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn spawn(&mut self) -> Result<()> {
        let append = |path: PathBuf| -> Result<File> {
            let file = File::options().create(true).append(true).open(&path);
            file.with_context(|| format!("cannot open {}", path.display()))
        };
        let child = Command::new(&self.options.binary)
            .arg("serve")
            .arg("--config")
            .arg(&self.options.config)
            .envs(self.options.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(append(self.output_path())?)
            .stderr(append(self.log_path())?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.options.binary.display()))?;
        let leash = Leash::on(child.id())?;
        self.child = Some((child, leash));
        Ok(())
    }

    fn output_path(&self) -> PathBuf {
        self.options.config.with_file_name("broker.out")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some((child, _)) = self.child.as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn read_addresses(path: &Path) -> Option<Addresses> {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let address = |key: &str| json.get(key)?.as_str()?.parse().ok();
    Some(Addresses { api: address("api")?, ops: address("ops")?, public: address("public") })
}

async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.context("cannot connect to the ops listener")?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("cannot ask the ops listener")?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.context("cannot read from the ops listener")?;
    let reply = String::from_utf8_lossy(&reply);
    let (head, body) = reply.split_once("\r\n\r\n").context("the ops listener's answer is no HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no HTTP status")?;
    Ok((status, body.to_owned()))
}
