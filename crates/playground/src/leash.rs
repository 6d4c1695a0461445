//! A child process that must not outlive us.

use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// $1 is the process to kill. "done" tells that it has ended, and that its id may be somebody else's by now.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r word; do if [ "$word" = done ]; then exit 0; fi; done
kill -KILL "$1"
"#;

/// Kills one process when we die without having let it go, be it by SIGKILL.
pub struct Leash {
    shell: Child,
    pipe: ChildStdin,
}

impl Leash {
    /// Ties the process to us.
    ///
    /// # Errors
    /// When `sh` cannot be started.
    pub fn on(pid: u32) -> Result<Self> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(SCRIPT).arg("leasehold-playground-leash").arg(pid.to_string());
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = command.spawn().context("cannot start sh")?;
        let pipe = shell.stdin.take().context("sh has no input")?;
        Ok(Self { shell, pipe })
    }
}

impl Drop for Leash {
    /// Lets the process go: whoever holds the leash has seen it end, or ends it another way.
    fn drop(&mut self) {
        let _ = self.pipe.write_all(b"done\n");
        let _ = self.shell.wait();
    }
}
