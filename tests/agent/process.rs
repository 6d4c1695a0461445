//! A real `leasehold agent` as a child process.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use leasehold_client::wire::{Supplied, SupplyStatus};
use leasehold_client::{Agent, ClientError};
use leasehold_testkit::{Svid, wait_until};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::ground::{PROGRAM, SOON};

/// One that runs, in a directory of its own. Dropping it kills it.
pub struct AgentProcess {
    pub dir: TempDir,
    /// The name of its socket there.
    pub socket: &'static str,
    /// What is in its environment beside ours.
    pub env: Vec<(&'static str, String)>,
    child: Option<Child>,
}

impl AgentProcess {
    /// Starts one that works by this SVID for the broker at `addr`; `more` is what else its configuration says, in which DIR
    /// is its directory.
    pub async fn start(addr: &str, svid: &Svid, more: &str) -> Self {
        let mut agent = Self::idle();
        agent.configure(addr, svid, more);
        agent.launch().await;
        agent
    }

    /// One that is not started yet.
    pub fn idle() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), socket: "agent.sock", env: Vec::new(), child: None }
    }

    pub fn configure(&self, addr: &str, svid: &Svid, more: &str) {
        let Svid { cert, key, bundle, .. } = svid;
        self.configure_as(addr, &format!("svid = {{ cert = {cert:?}, key = {key:?} }}\nbundle = {bundle:?}"), more);
    }

    /// `own`: the lines that say who it is.
    pub fn configure_as(&self, addr: &str, own: &str, more: &str) {
        let dir = self.dir.path().display().to_string();
        let text = format!(
            "addr = \"{addr}\"\n{own}\n\
             socket = {{ path = \"{}\", uids = [{}] }}\n{}",
            self.socket,
            geteuid().as_raw(),
            more.replace("DIR", &dir)
        );
        fs::write(self.config(), text).expect("write agent.toml");
    }

    /// Starts it, again or for the first time, and waits until it answers.
    pub async fn launch(&mut self) {
        self.spawn();
        let agent = self.client();
        wait_until(SOON, "the agent to answer", || async { agent.status().await.is_ok() }).await;
    }

    /// The same for one that has no answer for us.
    pub async fn launch_unheard(&mut self) {
        self.spawn();
        wait_until(SOON, "the agent to be up", || async { self.log().contains("the agent is up") }).await;
    }

    fn spawn(&mut self) {
        let log = File::options().append(true).create(true).open(self.log_path()).expect("a log");
        let child = self.command().stderr(log).spawn().expect("start the agent");
        self.child = Some(child);
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("it runs")
    }

    fn command(&self) -> Command {
        // Writing beyond a limit is an error then, and no deadly signal.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", PROGRAM, "agent", "--config"]).arg(self.config());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts it and waits until it has ended: for configurations that it must refuse. Answers what it said.
    pub async fn refused(&self) -> (ExitStatus, String) {
        let ended = self.command().stderr(Stdio::piped()).output();
        let ended = tokio::time::timeout(SOON, ended).await.expect("it ends").expect("it starts");
        (ended.status, String::from_utf8_lossy(&ended.stderr).into_owned())
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("agent.toml")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log_path(&self) -> PathBuf {
        self.path("agent.log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).expect("its log")
    }

    /// Its port on loopback, with the address.
    pub fn port(&self) -> String {
        let log = self.log();
        let (_, rest) = log.split_once("\"addr\":\"").expect("the log says where");
        rest.split_once('"').expect("an address").0.to_owned()
    }

    pub fn client(&self) -> Agent {
        Agent::at(self.path(self.socket))
    }

    /// What `GET /metrics` on its socket answers.
    pub async fn metrics(&self) -> String {
        let mut stream = UnixStream::connect(self.path(self.socket)).await.expect("its socket");
        let ask = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(ask).await.expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, page) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text"), "{head}");
        page.to_owned()
    }

    pub async fn status(&self, name: &str) -> SupplyStatus {
        self.client().status().await.expect("a status").credentials.remove(name).expect("it keeps this one")
    }

    /// The present credential, or the first as soon as it is there.
    pub async fn first(&self, name: &str) -> Supplied {
        self.after(name, 0).await
    }

    /// The next one after this generation.
    pub async fn after(&self, name: &str, generation: u64) -> Supplied {
        let client = self.client();
        let wait = std::time::Duration::from_secs(5);
        for _ in 0..12 {
            match client.credential_after(name, generation, wait).await {
                Ok(supplied) if supplied.generation > generation => return supplied,
                Ok(_) => {}
                Err(ClientError::Problem(problem)) if problem.status == 503 => {}
                Err(error) => panic!("{name}: {error}"),
            }
        }
        panic!("{name}: no generation after {generation}; the log says\n{}", self.log());
    }

    /// Starts it and waits until it has ended by itself.
    pub async fn run_to_its_end(&mut self) -> ExitStatus {
        self.spawn();
        let mut child = self.child.take().expect("it runs");
        tokio::time::timeout(SOON, child.wait()).await.expect("it ends").expect("its status")
    }

    /// SIGTERM, and its end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.end(Signal::TERM).await
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        assert_eq!(self.end(Signal::KILL).await.signal(), Some(9));
    }

    async fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let pid = child.id().and_then(|id| Pid::from_raw(id as i32)).expect("it runs");
        kill_process(pid, signal).expect("signal it");
        tokio::time::timeout(SOON, child.wait()).await.expect("it ends").expect("its status")
    }
}

/// The text of a file that is there already.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
