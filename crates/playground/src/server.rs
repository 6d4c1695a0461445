//! One running server.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::account::{RunAs, run_as};
use crate::guardian::Guardian;
use crate::process::{children, is_running, signal};
use crate::setup::{self, Layout};
use crate::{Installation, PgOptions, find_installation};

/// How often a condition is looked at while we wait for it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a server may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A PostgreSQL server of our own, in a temporary directory, reached on 127.0.0.1 and through a socket.
///
/// Dropping it stops it at once (`immediate`) and removes its directory. It belongs to no async runtime, so that tests
/// which each have their own can share one.
pub struct PgServer {
    pub(crate) installation: Installation,
    pub(crate) layout: Layout,
    pub(crate) user: Option<RunAs>,
    pub(crate) port: u16,
    pub(crate) password: String,
    pub(crate) start_timeout: Duration,
    pub(crate) postmaster: Mutex<Option<Child>>,
    pub(crate) _guardian: Guardian,
}

impl PgServer {
    /// Makes a new cluster and starts it; returns when it accepts connections.
    ///
    /// # Errors
    /// When no server is installed, or it does not start within the deadline; then with the end of its log.
    pub async fn start(options: PgOptions) -> Result<Self> {
        let prepared =
            tokio::task::spawn_blocking(move || prepare(options)).await.context("the setup was interrupted")?;
        let (mut server, options) = prepared?;
        for attempt in 1.. {
            match server.launch().await {
                Ok(()) => break,
                // Somebody took the port between our look and the server's.
                Err(error) if attempt < 5 && server.log_tail().contains("Address already in use") => {
                    drop(error);
                    server.port = setup::free_port()?;
                    fs::remove_file(&server.layout.log).context("cannot remove the log")?;
                    setup::configure(&server.layout, &options, server.port, server.user)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(server)
    }

    /// Always `127.0.0.1`.
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The TCP port; it stays the same over [`PgServer::restart`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with the Unix socket, for `host=` in a connection string.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.layout.socket
    }

    /// The cluster's data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.layout.data
    }

    /// What the server writes: errors, and with [`PgOptions::log_statements`] every statement.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.layout.log
    }

    /// The binaries it runs from.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The major version, such as `15`.
    #[must_use]
    pub fn version_major(&self) -> u32 {
        self.installation.major()
    }

    /// The password of the superuser `postgres`: letters and digits only.
    #[must_use]
    pub fn superuser_password(&self) -> &str {
        &self.password
    }

    /// `postgres://…` of the superuser; `database` must need no escaping in a URL.
    #[must_use]
    pub fn superuser_url(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The process id of the postmaster, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Stops it in good order, ending open sessions (`fast`). Stopping a stopped server is fine.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub async fn stop(&self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        self.resume()?;
        signal(pid, Signal::INT)?;
        if !self.wait_for_exit(STOP_TIMEOUT).await? {
            self.kill().await?;
        }
        Ok(())
    }

    /// Kills the postmaster and every process of the server (SIGKILL), as a crash of the machine would.
    ///
    /// # Errors
    /// When it cannot be signalled, or does not go.
    pub async fn kill(&self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        let family = children(pid);
        signal(pid, Signal::KILL)?;
        for child in &family {
            // Without its postmaster a process may have ended by itself by now.
            let _ = signal(*child, Signal::KILL);
        }
        if !self.wait_for_exit(STOP_TIMEOUT).await? {
            bail!("the postmaster {pid} does not die");
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while family.iter().any(|child| is_running(*child)) {
            if Instant::now() > deadline {
                bail!("processes of the killed server are still there");
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Stops it if it runs, and starts it again on the same port with the same data.
    ///
    /// # Errors
    /// When it does not start within the deadline.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.launch().await
    }

    /// Lets it read its configuration files again (SIGHUP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn reload(&self) -> Result<()> {
        signal(self.pid().context("the server does not run")?, Signal::HUP)
    }

    /// Halts every process of the server (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        let pid = self.pid().context("the server does not run")?;
        // The postmaster first, so that it starts no process that we would miss.
        signal(pid, Signal::STOP)?;
        for child in children(pid) {
            let _ = signal(child, Signal::STOP);
        }
        Ok(())
    }

    /// Lets a paused server go on (SIGCONT).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        let pid = self.pid().context("the server does not run")?;
        for child in children(pid) {
            let _ = signal(child, Signal::CONT);
        }
        signal(pid, Signal::CONT)
    }

    /// Halts one process of the server, such as a backend by its `pg_backend_pid()` or the postmaster by [`PgServer::pid`].
    ///
    /// # Errors
    /// When there is no such process.
    pub fn pause_process(&self, pid: u32) -> Result<()> {
        signal(pid, Signal::STOP)
    }

    /// Lets one paused process go on.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn resume_process(&self, pid: u32) -> Result<()> {
        signal(pid, Signal::CONT)
    }

    /// Kills one process of the server. A backend that dies so makes the postmaster restart all of them.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn kill_process(&self, pid: u32) -> Result<()> {
        signal(pid, Signal::KILL)
    }

    /// The last lines of the server's log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.layout.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn launch(&self) -> Result<()> {
        let child = spawn_postmaster(&self.installation, &self.layout, self.user)?;
        *self.child() = Some(child);
        let deadline = Instant::now() + self.start_timeout;
        while !self.accepts_connections() {
            if self.has_exited()? {
                bail!("the PostgreSQL server ended at once; its log ends:\n{}", self.log_tail());
            }
            if Instant::now() > deadline {
                let tail = self.log_tail();
                self.kill().await?;
                bail!("the PostgreSQL server was not ready after {:?}; its log ends:\n{tail}", self.start_timeout);
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// What `pg_ctl` looks at too: line 1 of `postmaster.pid` is the process, line 8 its state.
    fn accepts_connections(&self) -> bool {
        let Ok(text) = fs::read_to_string(self.layout.data.join("postmaster.pid")) else {
            return false;
        };
        let mut lines = text.lines();
        let pid = lines.next().and_then(|line| line.trim().parse().ok());
        pid == self.pid() && pid.is_some() && lines.nth(6).is_some_and(|state| state.trim() == "ready")
    }

    /// Collects the postmaster if it has ended.
    fn has_exited(&self) -> Result<bool> {
        let mut child = self.child();
        if let Some(running) = child.as_mut()
            && running.try_wait().context("cannot wait for the postmaster")?.is_none()
        {
            return Ok(false);
        }
        *child = None;
        Ok(true)
    }

    async fn wait_for_exit(&self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        while !self.has_exited()? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(true)
    }
}

impl Drop for PgServer {
    /// The guardian, dropped after this, removes the directory.
    fn drop(&mut self) {
        let Some(mut child) = self.child().take() else { return };
        for process in children(child.id()).into_iter().chain([child.id()]) {
            let _ = signal(process, Signal::CONT);
        }
        let _ = signal(child.id(), Signal::QUIT);
        for _ in 0..500 {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn prepare(options: PgOptions) -> Result<(PgServer, PgOptions)> {
    let installation = match &options.installation {
        Some(installation) => installation.clone(),
        None => find_installation()?,
    };
    let user = RunAs::choose()?;
    let layout = Layout::create(user)?;
    let guardian = Guardian::start(&layout.data, &layout.root, user)?;
    let password = setup::random_password()?;
    setup::init_cluster(&installation, &layout, user, &password)?;
    let port = setup::free_port()?;
    setup::configure(&layout, &options, port, user)?;
    let server = PgServer {
        installation,
        layout,
        user,
        port,
        password,
        start_timeout: options.start_timeout,
        postmaster: Mutex::new(None),
        _guardian: guardian,
    };
    Ok((server, options))
}

fn spawn_postmaster(installation: &Installation, layout: &Layout, user: Option<RunAs>) -> Result<Child> {
    let log = |path: &PathBuf| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))
    };
    let mut command = Command::new(installation.program("postgres"));
    command.arg("-D").arg(&layout.data).env("LC_ALL", "C").current_dir(&layout.root);
    // Of its own process group: Ctrl-C in a terminal must let us stop it in order.
    command.process_group(0).stdin(Stdio::null()).stdout(log(&layout.log)?).stderr(log(&layout.log)?);
    run_as(&mut command, user);
    command.spawn().with_context(|| format!("cannot start {}", installation.program("postgres").display()))
}
