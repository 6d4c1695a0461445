//! Making a new cluster: directories, `initdb`, the two configuration files, keys.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::account::{RunAs, give_to, run_as};
use crate::{Installation, PgOptions, PgTls};

/// Ports are taken below the range from which the kernel gives ports to outgoing connections (32768 and up), so that
/// none of those can sit on a server's port while it restarts.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// The folders and files of one throwaway server.
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) log: PathBuf,
}

impl Layout {
    /// Makes the directories, owned by the server's user and closed to others.
    pub(crate) fn create(user: Option<RunAs>) -> Result<Self> {
        let temp =
            tempfile::Builder::new().prefix("leasehold-pg-").tempdir().context("cannot make a temporary directory")?;
        give_to(temp.path(), user)?;
        // From here the guardian removes it. The real path, because that is what the kernel shows of a server's place.
        let root = fs::canonicalize(temp.keep()).context("cannot find the temporary directory")?;
        let layout = Self { data: root.join("data"), socket: root.join("socket"), log: root.join("server.log"), root };
        for dir in [&layout.data, &layout.socket] {
            fs::create_dir(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            give_to(dir, user)?;
        }
        Ok(layout)
    }
}

/// Runs `initdb` with a superuser `postgres` that has this password, and SCRAM for everyone.
pub(crate) fn init_cluster(
    installation: &Installation,
    layout: &Layout,
    user: Option<RunAs>,
    password: &str,
) -> Result<()> {
    let password_file = layout.root.join("superuser-password");
    write_private(&password_file, password.as_bytes(), user)?;
    let mut command = Command::new(installation.program("initdb"));
    command
        .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"])
        .arg(format!("--pwfile={}", password_file.display()))
        .arg("-D")
        .arg(&layout.data)
        .env("LC_ALL", "C")
        .current_dir(&layout.root);
    run_as(&mut command, user);
    let output =
        command.output().with_context(|| format!("cannot run initdb of {}", installation.bin_dir().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("initdb of {} failed: {}", installation.bin_dir().display(), said.trim());
    }
    fs::remove_file(&password_file).context("cannot remove initdb's password file")
}

/// Writes `postgresql.conf` and `pg_hba.conf`, and the keys they name.
pub(crate) fn configure(layout: &Layout, options: &PgOptions, port: u16, user: Option<RunAs>) -> Result<()> {
    if let Some(tls) = &options.tls {
        write_tls(&layout.data, tls, user)?;
    }
    append_conf(layout, &postgresql_conf(layout, options, port))?;
    write_private(&layout.data.join("pg_hba.conf"), pg_hba(options).as_bytes(), user)
}

/// Puts lines at the end of `postgresql.conf`, where they outrank those before them.
pub(crate) fn append_conf(layout: &Layout, lines: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .open(layout.data.join("postgresql.conf"))
        .context("cannot open the new cluster's postgresql.conf")?;
    file.write_all(lines.as_bytes()).context("cannot write postgresql.conf")
}

fn postgresql_conf(layout: &Layout, options: &PgOptions, port: u16) -> String {
    let mut conf = format!(
        "\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nunix_socket_permissions = 0777\n\
         max_connections = {}\npassword_encryption = 'scram-sha-256'\nlogging_collector = off\nlog_destination = 'stderr'\n\
         log_line_prefix = '%m [%p] %u@%d '\nshared_buffers = 32MB\n",
        layout.socket.display(),
        options.max_connections,
    );
    if options.log_statements {
        conf.push_str("log_statement = 'all'\nlog_connections = on\nlog_disconnections = on\n");
    }
    if !options.fsync {
        conf.push_str("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n");
    }
    if let Some(tls) = &options.tls {
        conf.push_str("ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n");
        if tls.client_ca_pem.is_some() {
            conf.push_str("ssl_ca_file = 'client-ca.crt'\n");
        }
    }
    for line in &options.conf {
        let _ = writeln!(conf, "{line}");
    }
    conf
}

fn pg_hba(options: &PgOptions) -> String {
    let mut hba = String::new();
    for line in &options.hba {
        let _ = writeln!(hba, "{line}");
    }
    hba.push_str(
        "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n\
         local replication all scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n",
    );
    hba
}

fn write_tls(data: &Path, tls: &PgTls, user: Option<RunAs>) -> Result<()> {
    write_private(&data.join("server.crt"), tls.cert_pem.as_bytes(), user)?;
    write_private(&data.join("server.key"), tls.key_pem.as_bytes(), user)?;
    if let Some(ca) = &tls.client_ca_pem {
        write_private(&data.join("client-ca.crt"), ca.as_bytes(), user)?;
    }
    Ok(())
}

/// Replaces a file by one that only the server's user reads.
pub(crate) fn write_private(path: &Path, content: &[u8], user: Option<RunAs>) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(content).with_context(|| format!("cannot write {}", path.display()))?;
    give_to(path, user)
}

/// A password of 192 random bits in hex, which needs no quoting anywhere.
pub(crate) fn random_password() -> Result<String> {
    Ok(random_bytes::<24>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A port on 127.0.0.1 that was free a moment ago, for those who must know it before they listen.
///
/// # Errors
/// When none is found.
pub fn free_port() -> Result<u16> {
    for _ in 0..200 {
        let port = PORTS.start + u16::from_be_bytes(random_bytes()?) % (PORTS.end - PORTS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {} and {} on 127.0.0.1", PORTS.start, PORTS.end)
}

/// Straight from the kernel: this crate stays below the SDK that owns the broker's randomness.
fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes)
}
