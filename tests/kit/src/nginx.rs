//! A real nginx, by the settings in `examples/tokens/nginx`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leasehold_playground::{Leash, free_port};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::versions::cache_dir;

/// What stands in its http block, with the places of a production.
const SETTINGS: &str = include_str!("../../../examples/tokens/nginx/payments.conf");

/// All around it: one process, which is gone when it is killed, with all its files below its own directory.
const AROUND: &str = "\
daemon off;
master_process off;
pid pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    include payments.conf;
}
";

/// How long it may take to start.
const START_TIME: Duration = Duration::from_secs(30);

/// How often a port is tried that somebody else has taken meanwhile.
const TRIES: u32 = 5;

/// One that runs. Dropping it kills it, and it dies with this process.
pub struct Nginx {
    dir: PathBuf,
    addr: SocketAddr,
    child: Child,
    leash: Option<Leash>,
}

impl Nginx {
    /// Starts one in `dir`, where its certificates are under the names that the settings have: it asks the agent at the socket
    /// `agent`, and passes on to `service` what is good.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(dir: &Path, agent: &Path, service: SocketAddr) -> Self {
        fs::create_dir_all(dir.join("tmp")).expect("a directory");
        fs::write(dir.join("nginx.conf"), AROUND).expect("write its settings");
        for _ in 0..TRIES {
            let addr = SocketAddr::from(([127, 0, 0, 1], free_port().expect("a free port")));
            fs::write(dir.join("payments.conf"), settings(dir, agent, service, addr)).expect("write its settings");
            let mut nginx = Self::launch(dir, addr);
            if nginx.serves().await {
                return nginx;
            }
        }
        panic!("nginx does not start: {}", fs::read_to_string(dir.join("log")).unwrap_or_default());
    }

    fn launch(dir: &Path, addr: SocketAddr) -> Self {
        let log = File::options().create(true).append(true).open(dir.join("log")).expect("its log");
        let mut command = Command::new(program());
        command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf")).arg("-e").arg("stderr");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("start nginx");
        let leash = Leash::on(child.id()).expect("a leash");
        Self { dir: dir.to_owned(), addr, child, leash: Some(leash) }
    }

    /// Whether it comes to listen, and does not end.
    async fn serves(&mut self) -> bool {
        let deadline = Instant::now() + START_TIME;
        while self.child.try_wait().expect("its status").is_none() {
            let listens = TcpStream::connect(self.addr).await.is_ok();
            // Another that has the port would make it end at once.
            if listens && self.child.try_wait().expect("its status").is_none() {
                return true;
            }
            assert!(Instant::now() < deadline, "nginx does not listen: {}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it wrote to its log.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).expect("its log")
    }

    /// Its version.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn version() -> String {
        let said = Command::new(program()).arg("-v").stdin(Stdio::null()).output().expect("run nginx");
        let said = String::from_utf8_lossy(&said.stderr);
        said.trim().rsplit('/').next().expect("a version").to_owned()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // After its end: the number may be somebody else's then.
        self.leash.take();
    }
}

/// The example, with the test's own places.
fn settings(dir: &Path, agent: &Path, service: SocketAddr, addr: SocketAddr) -> String {
    let places = [
        ("/run/leasehold/auth.sock", agent.display().to_string()),
        ("/run/spire/", format!("{}/", dir.display())),
        ("127.0.0.1:8080", service.to_string()),
        ("127.0.0.1:8443", addr.to_string()),
    ];
    places.into_iter().fold(SETTINGS.to_owned(), |settings, (from, to)| {
        assert!(settings.contains(from), "the settings do not name {from}");
        settings.replace(from, &to)
    })
}

/// Where `scripts/setup --tests` puts it, unless the machine has one.
fn program() -> PathBuf {
    let own = cache_dir().join("nginx/usr/sbin/nginx");
    let all = [own, "/usr/sbin/nginx".into(), "/usr/bin/nginx".into(), "/usr/local/bin/nginx".into()];
    let found = all.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("the tests need nginx, and there is none: run `scripts/setup --tests`"))
}
