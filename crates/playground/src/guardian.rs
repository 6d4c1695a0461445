//! The guardian: a shell that outlives us by a moment.
//!
//! `Drop` does not run when a process is killed, and a signal at the parent's death is lost when a child changes its user.
//! So a shell waits on a pipe that only we hold. It ends when we close it or when the kernel closes it for us, and only
//! then stops the server that belongs to the directory, and removes the directory.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

use crate::account::{RunAs, run_as};

/// $1 is the data directory, $2 the temporary directory around it.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r _; do :; done
pidfile="$1/postmaster.pid"
if [ -s "$pidfile" ]; then
    pid=$(sed -n 1p "$pidfile")
    # A process id may have been given to somebody else since: only a server that works in our directory is ours.
    if [ "$(readlink "/proc/$pid/cwd")" = "$1" ]; then
        kill -QUIT "$pid"; kill -CONT "$pid"
        turns=0
        while [ -e "$pidfile" ] && [ "$turns" -lt 100 ]; do sleep 0.1; turns=$((turns + 1)); done
        if [ -e "$pidfile" ]; then kill -KILL "$pid"; fi
    fi
fi
# A server that was killed leaves its one shared memory segment, named in line 7.
if [ -s "$pidfile" ]; then ipcrm -m "$(sed -n 7p "$pidfile" | awk '{print $2}')"; fi
rm -rf -- "$2"
"#;

pub(crate) struct Guardian {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guardian {
    pub(crate) fn start(data_dir: &Path, temp_dir: &Path, user: Option<RunAs>) -> Result<Self> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(SCRIPT).arg("leasehold-playground-guardian").arg(data_dir).arg(temp_dir);
        // Of its own process group, so that Ctrl-C in a terminal reaches us and not it; and without our output,
        // so that nobody who reads that waits for it.
        command.process_group(0).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        run_as(&mut command, user);
        let mut shell = command.spawn().context("cannot start sh")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
