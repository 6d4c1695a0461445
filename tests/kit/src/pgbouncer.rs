//! A real PgBouncer, by the settings in `examples/pools/pgbouncer`.

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

/// Its settings, and whom it knows.
const SETTINGS: &str = include_str!("../../../examples/pools/pgbouncer/pgbouncer.ini");
const USERS: &str = include_str!("../../../examples/pools/pgbouncer/users.txt");

/// Name and password of the one login that its clients have, for ever.
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

    /// Starts one that has all its files in `dir`, and logs in by what `databases` says.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(dir: &Path, databases: &Path) -> Self {
        fs::create_dir_all(dir).expect("a directory");
        fs::write(dir.join("users.txt"), USERS).expect("write its users");
        fs::write(dir.join("pgbouncer.ini"), settings(dir, databases)).expect("write its settings");
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

/// The example, with the test's own places.
fn settings(dir: &Path, databases: &Path) -> String {
    let dir = dir.display().to_string();
    let settings = SETTINGS.replace("/run/secrets/orders/databases.ini", &databases.display().to_string());
    settings.replace("/run/pgbouncer", &dir).replace("/etc/pgbouncer", &dir)
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
