//! One service with its pool, and whoever supplies it.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;

use leasehold_testkit::{CONSOLE, PgBouncer, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::pools::{Pool, Supply};
use super::world::World;
use crate::agent::process::{AgentProcess, read};
use crate::ground::SOON;

/// How a service's credential changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As in the example: the old one works on for a while.
    Following,
    /// The old one is ended at once.
    Naive,
    /// Never.
    Static,
}

impl Way {
    /// The role by which such a service of this pool gets its credentials.
    pub fn role(self, pool: &Pool) -> String {
        format!("{}-{}", pool.key, format!("{self:?}").to_lowercase())
    }
}

/// A service that runs.
pub struct Service {
    pub addr: SocketAddr,
    child: Child,
    // In this order: a service ends before those whom it needs.
    _bouncer: Option<PgBouncer>,
    agent: AgentProcess,
    supplied: bool,
}

impl Service {
    /// Starts it with all that belongs to it, and waits until it serves.
    pub async fn start(world: &World, pool: &Pool, way: Way) -> Self {
        let mut agent = AgentProcess::idle();
        let supplied = pool.supply != Supply::Own;
        if supplied {
            agent.configure(&world.url(), &world.svid, &config(&agent, pool, way));
            agent.launch().await;
            agent.first("orders").await;
        }
        let bouncer = match pool.supply {
            Supply::PgBouncer => Some(bouncer(&agent).await),
            Supply::File { name, .. } => {
                let file = agent.path("secrets").join(name);
                wait_until(SOON, "the agent's file", || async { file.exists() }).await;
                None
            }
            Supply::Socket | Supply::Own => None,
        };
        let mut command = command(pool, way, &agent, world);
        if let Some(bouncer) = &bouncer {
            command.env("DATABASE_URL", bouncer.url("orders"));
        }
        let log = File::create(agent.path("service.log")).expect("a log");
        let mut child =
            command.stderr(log).spawn().unwrap_or_else(|e| panic!("{}: {:?}: {e}", pool.name, pool.command()));
        let addr = listening(&mut child).await;
        let addr = addr.unwrap_or_else(|| panic!("{} does not serve: {}", pool.name, read(&agent.path("service.log"))));
        Self { addr, child, _bouncer: bouncer, agent, supplied }
    }

    /// What it and its agent wrote.
    pub fn log(&self) -> String {
        let agent = if self.supplied { self.agent.log() } else { String::new() };
        read(&self.agent.path("service.log")) + &agent
    }

    /// SIGTERM for the service, and for its agent.
    pub async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32)).expect("it runs to the end");
        kill_process(pid, Signal::TERM).expect("signal it");
        let ended = timeout(SOON, self.child.wait()).await.expect("it ends").expect("its status");
        assert!(ended.success(), "{ended}: {}", read(&self.agent.path("service.log")));
        if self.supplied {
            assert!(self.agent.terminate().await.success());
        }
    }
}

/// What the agent is told beside who it is.
fn config(agent: &AgentProcess, pool: &Pool, way: Way) -> String {
    let credential = format!("[credentials.orders]\nrole = \"{}\"\nrevoke_on_exit = true\n", way.role(pool));
    let file = |path: &str, format: &str, more: &str| {
        format!("[[credentials.orders.files]]\npath = \"DIR/{path}\"\nformat = \"{format}\"\n{more}")
    };
    match pool.supply {
        Supply::Own => String::new(),
        Supply::Socket => credential + "consumers = [\"pool\"]\n",
        Supply::File { format, name, .. } => credential + &file(&format!("secrets/{name}"), format, ""),
        Supply::PgBouncer => {
            let owner = PgBouncer::runs_as().map(|user| format!("owner = \"{}:{}\"\n", user.uid, user.gid));
            credential + &file("secrets/databases.ini", "pgbouncer", &owner.unwrap_or_default()) + &hook(agent, way)
        }
    }
}

/// How a PgBouncer is told; naively it reads its files again, and keeps the connections that it has.
fn hook(agent: &AgentProcess, way: Way) -> String {
    let deed = match way {
        Way::Naive => "signal = \"SIGHUP\"\npid_file = \"DIR/bouncer/pid\"\n".to_owned(),
        _ => {
            std::fs::write(agent.path("console.password"), CONSOLE.1).expect("write the password");
            let console = PgBouncer::console(&agent.path("bouncer"));
            format!("pgbouncer = \"{console}\"\npassword = {{ file = \"DIR/console.password\" }}\n")
        }
    };
    format!("[[credentials.orders.on_change]]\n{deed}")
}

/// One that logs in by what the agent has written.
async fn bouncer(agent: &AgentProcess) -> PgBouncer {
    // It runs as another user, who must get to its files.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(agent.dir.path(), open).expect("open the directory");
    let databases = agent.path("secrets/databases.ini");
    wait_until(SOON, "the agent's file", || async { databases.exists() }).await;
    PgBouncer::start(&agent.path("bouncer"), &databases).await
}

fn command(pool: &Pool, way: Way, agent: &AgentProcess, world: &World) -> Command {
    let words = pool.command();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(env!("CARGO_MANIFEST_DIR")).env("LISTEN", "127.0.0.1:0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    // Connections to a PgBouncer may live for ever.
    if pool.supply != Supply::PgBouncer {
        command.env("MAX_LIFETIME", pool.max_lifetime.to_string());
    }
    match pool.supply {
        Supply::Own => {
            command.env("ROLE", way.role(pool)).env("LEASEHOLD_ADDR", world.url());
            let svid = &world.svid;
            command
                .env("LEASEHOLD_CERT", &svid.cert)
                .env("LEASEHOLD_KEY", &svid.key)
                .env("LEASEHOLD_BUNDLE", &svid.bundle);
        }
        Supply::File { name, variable, .. } => {
            command.env(variable, agent.path("secrets").join(name));
        }
        Supply::Socket => {
            command.env("AGENT_SOCKET", agent.path(agent.socket));
            if way == Way::Following {
                command.env("CONSUMER", "pool");
            }
        }
        Supply::PgBouncer => {}
    }
    command
}

/// Where it says that it serves.
async fn listening(child: &mut Child) -> Option<SocketAddr> {
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    let line = timeout(SOON, lines.next_line()).await.ok()?.ok()??;
    line.strip_prefix("listening on ")?.parse().ok()
}
