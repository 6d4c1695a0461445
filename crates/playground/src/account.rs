//! Under which operating-system user the server runs: PostgreSQL refuses root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// The user to become before a server program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAs {
    /// The user's number.
    pub uid: u32,
    /// Its group's.
    pub gid: u32,
}

impl RunAs {
    /// `None` when the present user will do; when it is root, `postgres`, else `nobody`.
    ///
    /// # Errors
    /// When we are root and there is neither of them.
    pub fn choose() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let found = ["postgres", "nobody"].iter().find_map(|name| parse_passwd(&passwd, name));
        found.map(Some).context(
            "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody` to run it as",
        )
    }
}

/// Makes `command` run as that user; the supplementary groups of root are dropped with it.
pub(crate) fn run_as(command: &mut Command, user: Option<RunAs>) {
    if let Some(RunAs { uid, gid }) = user {
        command.gid(gid).uid(uid);
    }
}

/// Gives a file or folder to that user.
pub(crate) fn give_to(path: &Path, user: Option<RunAs>) -> Result<()> {
    match user {
        Some(RunAs { uid, gid }) => {
            chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot give {} to uid {uid}", path.display()))
        }
        None => Ok(()),
    }
}

fn parse_passwd(passwd: &str, name: &str) -> Option<RunAs> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(RunAs { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        assert_eq!(parse_passwd(passwd, "postgres"), Some(RunAs { uid: 101, gid: 104 }));
        assert_eq!(parse_passwd(passwd, "nobody"), None);
    }
}
