//! A real PgBouncer on a Unix socket, in front of a database that some file of `[databases]` names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leasehold_playground::{Leash, RunAs};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::versions::cache_dir;
use crate::wait_until;

/// Name and password of the one login that it knows: its clients are of this machine, and have it for ever.
pub const LOGIN: (&str, &str) = ("app", "for-ever-and-local");

/// Name and password of whoever may use its console.
pub const CONSOLE: (&str, &str) = ("warden", "of-the-console");

/// How long it may take to start.
const START_TIME: Duration = Duration::from_secs(30);

/// One that runs. Dropping it kills it, and it dies with this process.
pub struct PgBouncer {
    dir: PathBuf,
    child: Child,
    leash: Option<Leash>,
}

impl PgBouncer {
    /// The user that it runs as; it refuses root. `None`: the present one.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn runs_as() -> Option<RunAs> {
        RunAs::choose().unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Starts one that has all its files in `dir`, and reads what `databases` says. `lines`: more for its section `[pgbouncer]`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(dir: &Path, databases: &Path, lines: &str) -> Self {
        fs::create_dir_all(dir).expect("a directory");
        let users = [LOGIN, CONSOLE].map(|(name, password)| format!("\"{name}\" \"{password}\"\n")).concat();
        fs::write(dir.join("users.txt"), users).expect("write its users");
        fs::write(dir.join("pgbouncer.ini"), settings(dir, databases, lines)).expect("write its settings");
        let bouncer = Self::launch(dir);
        wait_until(START_TIME, "PgBouncer to answer", || async {
            let console = bouncer.options(CONSOLE, "pgbouncer").extra_float_digits(None);
            PgConnection::connect_with(&console).await.is_ok()
        })
        .await;
        bouncer
    }

    fn launch(dir: &Path) -> Self {
        let mut command = Command::new(program());
        if let Some(RunAs { uid, gid }) = Self::runs_as() {
            std::os::unix::fs::chown(dir, Some(uid), Some(gid)).expect("give it its directory");
            std::os::unix::process::CommandExt::uid(&mut command, uid);
            std::os::unix::process::CommandExt::gid(&mut command, gid);
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("let it in");
        command
            .arg("-q")
            .arg(dir.join("pgbouncer.ini"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("start PgBouncer");
        let leash = Leash::on(child.id()).expect("a leash");
        Self { dir: dir.to_owned(), child, leash: Some(leash) }
    }

    /// The URL of a database for those whose login it knows.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let (name, password) = LOGIN;
        format!("postgres://{name}:{password}@{}:{PORT}/{database}", escaped(&self.dir))
    }

    /// How to log in.
    #[must_use]
    pub fn options(&self, (name, password): (&str, &str), database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.dir)
            .port(PORT)
            .username(name)
            .password(password)
            .database(database)
    }

    /// The URL of its console, without the password, for one that has all its files in `dir`.
    #[must_use]
    pub fn console(dir: &Path) -> String {
        format!("postgres://{}@{}:{PORT}/pgbouncer", CONSOLE.0, escaped(dir))
    }

    /// What it wrote to its log.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).expect("its log")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // After its end: the number may be somebody else's then.
        self.leash.take();
    }
}

/// A number in the name of its socket; it listens at no port.
const PORT: u16 = 6432;

fn settings(dir: &Path, databases: &Path, lines: &str) -> String {
    let (dir, databases) = (dir.display(), databases.display());
    format!(
        "%include {databases}\n[pgbouncer]\nunix_socket_dir = {dir}\nlisten_port = {PORT}\nauth_type = scram-sha-256\n\
         auth_file = {dir}/users.txt\nadmin_users = {}\nlogfile = {dir}/log\npidfile = {dir}/pid\n\
         ignore_startup_parameters = extra_float_digits\n{lines}",
        CONSOLE.0
    )
}

fn escaped(path: &Path) -> String {
    path.display().to_string().replace('/', "%2F")
}

/// Where `scripts/setup --tests` puts it, unless the machine has one.
fn program() -> PathBuf {
    let own = cache_dir().join("pgbouncer/usr/sbin/pgbouncer");
    let all = [own, "/usr/sbin/pgbouncer".into(), "/usr/bin/pgbouncer".into(), "/usr/local/bin/pgbouncer".into()];
    let found = all.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("the tests need PgBouncer, and there is none: run `scripts/setup --tests`"))
}
