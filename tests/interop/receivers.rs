//! Who is sent tokens: the services of `examples/tokens`, and nginx in front of one that knows nothing of tokens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{fs, io};

use leasehold_testkit::{Nginx, Svid};
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::front::Front;
use super::world::{PAYMENTS, World};
use crate::ground::{PROGRAM, SOON};

/// One of them.
pub struct Receiver {
    pub key: &'static str,
    /// The library that verifies.
    pub library: &'static str,
    /// Where its version stands, and behind what.
    version: (&'static str, &'static str),
    /// What starts it, from the repository's folder; BUILT is where `scripts/examples` has put what it built. Nothing for nginx.
    command: &'static [&'static str],
}

pub const RECEIVERS: &[Receiver] = &[
    Receiver { key: "nginx", library: "nginx", version: ("", ""), command: &[] },
    Receiver {
        key: "python",
        library: "PyJWT",
        version: ("python/requirements.txt", r"PyJWT\[crypto\]==(\S+)"),
        command: &["BUILT/tokens-python/bin/python", "examples/tokens/python/payments.py"],
    },
    Receiver {
        key: "node",
        library: "jose",
        version: ("node/package.json", r#""jose": "([^"]+)""#),
        command: &["node", "BUILT/tokens-node/payments.mjs"],
    },
    Receiver {
        key: "go",
        library: "golang-jwt",
        version: ("go/go.mod", r"golang-jwt/jwt/v5 v(\S+)"),
        command: &["BUILT/tokens-go"],
    },
    Receiver {
        key: "java",
        library: "nimbus-jose-jwt",
        version: ("java/pom.xml", r"nimbus-jose-jwt</artifactId>\s*<version>([^<]+)"),
        command: &["java", "-jar", "BUILT/tokens-java/service.jar"],
    },
];

impl Receiver {
    pub fn version(&self) -> String {
        if self.command.is_empty() { Nginx::version() } else { version(self.version) }
    }
}

/// What stands in a file of `examples/tokens` behind this.
pub fn version((file, pattern): (&str, &str)) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tokens").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let found = Regex::new(pattern).expect("a pattern").captures(&text);
    found.unwrap_or_else(|| panic!("{file} does not say {pattern}"))[1].to_owned()
}

/// The program and its arguments, with BUILT replaced.
pub fn command(words: &[&str]) -> Command {
    let built = Path::new(PROGRAM).ancestors().nth(2).expect("the folder of what is built").join("services");
    let words: Vec<String> = words.iter().map(|word| word.replace("BUILT", &built.display().to_string())).collect();
    let program = PathBuf::from(&words[0]);
    // One without a folder is looked up when it is started.
    if program.is_absolute() && !program.is_file() {
        panic!("{} is not built: run `scripts/examples tokens`", program.display());
    }
    let mut command = Command::new(program);
    command.args(&words[1..]).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Who it is, and whose word on tokens it takes: the same variables for all examples. Each language has its own way to trust
/// another authority.
pub fn environment(command: &mut Command, world: &World, svid: &Svid) {
    for name in ["ISSUER_CA", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
        command.env(name, &world.issuer_ca);
    }
    command.env("ISSUER", &world.issuer).env("AUDIENCE", PAYMENTS);
    command.env("TLS_CERT", &svid.cert).env("TLS_KEY", &svid.key).env("TLS_CA", &svid.bundle);
}

/// One that runs.
pub struct Running {
    pub receiver: &'static Receiver,
    pub addr: SocketAddr,
    what: What,
}

enum What {
    Service(Box<Child>, TempDir),
    Nginx(Box<Front>),
}

impl Running {
    /// Starts it and waits until it serves.
    pub async fn start(receiver: &'static Receiver, world: &World) -> Self {
        if receiver.command.is_empty() {
            let front = Front::start(world).await;
            return Self { receiver, addr: front.addr(), what: What::Nginx(Box::new(front)) };
        }
        let dir = tempfile::tempdir().expect("a directory");
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let mut command = command(receiver.command);
        environment(&mut command, world, &world.payments);
        command.env("LISTEN", "127.0.0.1:0").stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", receiver.key));
        let addr = listening(&mut child).await.unwrap_or_else(|e| {
            let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
            panic!("{} does not serve: {e}: {log}", receiver.key)
        });
        Self { receiver, addr, what: What::Service(Box::new(child), dir) }
    }

    pub fn name(&self) -> &'static str {
        self.receiver.library
    }

    /// Ends it; what looks at status lists is shown a token that was revoked before.
    pub async fn stop(self, world: &World) {
        match self.what {
            What::Nginx(front) => front.refuses_what_was_revoked(world).await,
            What::Service(mut child, dir) => {
                let pid = child.id().and_then(|id| Pid::from_raw(id as i32)).expect("it runs to the end");
                kill_process(pid, Signal::TERM).expect("signal it");
                let ended = timeout(SOON, child.wait()).await.expect("it ends").expect("its status");
                let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
                assert!(ended.success(), "{}: {ended}: {log}", self.receiver.key);
            }
        }
    }
}

/// Where it says that it serves.
async fn listening(child: &mut Child) -> io::Result<SocketAddr> {
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let line = timeout(SOON, lines.next_line()).await??.unwrap_or_default();
    let addr = line.strip_prefix("listening on ").and_then(|addr| addr.parse().ok());
    addr.ok_or_else(|| io::Error::other(format!("it says {line:?}")))
}
