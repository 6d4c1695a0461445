//! A stand-in for IAM Roles Anywhere, which moto has not: it verifies each request as AWS's user guide describes it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leasehold_playground::Leash;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::moto::{clean, python};

const SERVER: &str = include_str!("../aws/roles_anywhere.py");

/// How long it may take to start.
const START_TIME: Duration = Duration::from_secs(60);

/// One that runs, with one trust anchor, profile and role. Dropping it kills it, and it dies with this process.
pub struct RolesAnywhere {
    dir: TempDir,
    port: u16,
    child: Child,
    leash: Option<Leash>,
}

impl RolesAnywhere {
    /// Its trust anchor.
    pub const TRUST_ANCHOR: &str = "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/kit";
    /// Its profile.
    pub const PROFILE: &str = "arn:aws:rolesanywhere:us-east-1:123456789012:profile/kit";
    /// The role that may be had.
    pub const ROLE: &str = "arn:aws:iam::123456789012:role/leasehold";
    /// Its region.
    pub const REGION: &str = "us-east-1";

    /// Starts one that trusts this authority (PEM). `names`: whether its profile accepts names of sessions.
    ///
    /// # Panics
    /// When its Python is missing, with the command that installs it, or it does not start.
    pub async fn start(anchor: &str, names: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = dir.path().join("anchor.pem");
        fs::write(&ca, anchor).expect("write the anchor");
        let known = json!({
            "ca": ca, "region": Self::REGION, "trustAnchorArn": Self::TRUST_ANCHOR, "profileArn": Self::PROFILE,
            "roleArn": Self::ROLE, "acceptRoleSessionName": names,
        });
        let log = File::create(dir.path().join("log")).expect("its log");
        let mut command = Command::new(python());
        command.args(["-c", SERVER]).arg(dir.path().join("port")).arg(known.to_string());
        clean(&mut command, dir.path());
        let again = log.try_clone().expect("its log");
        let child = command.stdin(Stdio::null()).stdout(again).stderr(log).spawn().expect("start it");
        let leash = Leash::on(child.id()).expect("a leash");
        let mut started = Self { dir, port: 0, child, leash: Some(leash) };
        started.port = started.listens().await;
        started
    }

    async fn listens(&mut self) -> u16 {
        let deadline = Instant::now() + START_TIME;
        loop {
            if let Ok(port) = fs::read_to_string(self.dir.path().join("port")) {
                return port.parse().expect("a port");
            }
            let ended = self.child.try_wait().expect("its status");
            assert!(ended.is_none() && Instant::now() < deadline, "it does not start: {}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its URL, for `roles_anywhere_endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Asks it as AWS's own client for Python does (`iam-rolesanywhere-session`), by these files in PEM. Returns the id of the key
    /// that it got, or what that client said.
    ///
    /// # Errors
    /// When it got none.
    ///
    /// # Panics
    /// When the client does not run.
    pub fn ask(&self, certificate: &Path, key: &Path, chain: Option<&Path>) -> Result<String, String> {
        let mut command = Command::new(python());
        command.args(["-c", CUSTOMER, &format!("127.0.0.1:{}", self.port)]).args([certificate, key]);
        command.arg(chain.unwrap_or(Path::new("")));
        command.args([Self::PROFILE, Self::ROLE, Self::TRUST_ANCHOR, Self::REGION]);
        clean(&mut command, self.dir.path());
        let output = command.stdin(Stdio::null()).output().expect("run python");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        assert!(said.contains("CredentialsRetrievalError"), "{said}");
        Err(said)
    }
}

/// That client knows TLS only; what it signs is the same without.
const CUSTOMER: &str = r#"
import sys
from iam_rolesanywhere_session import IAMRolesAnywhereSession

endpoint, certificate, key, chain, profile, role, anchor, region = sys.argv[1:]
session = IAMRolesAnywhereSession(
    profile, role, anchor, certificate, key, certificate_chain=chain or None, region=region, endpoint=endpoint,
    role_session_name="kit",
)
send = session._session.send

def plain(request):
    request.url = request.url.replace("https://", "http://", 1)
    return send(request)

session._session.send = plain
print(session.get_refreshable_credentials().get_frozen_credentials().access_key)
"#;

impl Drop for RolesAnywhere {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // After its end: the number may be somebody else's then.
        self.leash.take();
    }
}
