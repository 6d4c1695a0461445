//! What is done after a change: a program is run, a process signalled, a URL called, a PgBouncer changed over. None is told a secret.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::agent::config::Deed;

/// How much of what a program says goes into the log.
const SAID_BYTES_MAX: u64 = 4096;
/// Largest file with a process's id.
const PID_BYTES_MAX: u64 = 64;

/// Does it. `withheld`: variables that no program gets.
///
/// # Errors
/// When it could not be done, or the program did not exit 0 in time.
pub async fn call(deed: &Deed, withheld: &[String], credential: &str, generation: u64) -> anyhow::Result<()> {
    match deed {
        Deed::Run { command, timeout } => run(command, *timeout, withheld, credential, generation).await,
        Deed::Signal { signal, pid_file } => self::signal(*signal, pid_file).await,
        Deed::Call { url, timeout } => super::call::post(url, *timeout, credential, generation).await,
        Deed::PgBouncer { console, password, drain, timeout } => {
            super::pgbouncer::change_over(console, password.as_ref(), credential, *drain, *timeout).await
        }
    }
}

async fn run(
    command: &[String],
    time: Duration,
    withheld: &[String],
    credential: &str,
    generation: u64,
) -> anyhow::Result<()> {
    let [program, arguments @ ..] = command else { bail!("there is no program to run") };
    let mut command = Command::new(program);
    for name in withheld {
        command.env_remove(name);
    }
    let mut child = command
        .args(arguments)
        .env("LEASEHOLD_CREDENTIAL", credential)
        .env("LEASEHOLD_GENERATION", generation.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // A group of its own, so that what it starts ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{program} cannot be started"))?;
    let said = child.stderr.take();
    let ended = timeout(time, async {
        // Heard first: who fills the pipe would wait for us.
        let said = hear(said).await;
        child.wait().await.map(|status| (status, said))
    });
    match ended.await {
        Err(_) => {
            end_group(&child);
            let _ = child.wait().await;
            bail!("{program} did not end within {time:?}, and was killed")
        }
        Ok(ended) => {
            let (status, said) = ended.with_context(|| format!("{program} cannot be waited for"))?;
            if !status.success() {
                bail!("{program} failed ({status}): {}", said.trim().escape_debug());
            }
            Ok(())
        }
    }
}

/// What it says, to the end; the beginning of it is kept.
async fn hear(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut said = Vec::new();
    let _ = (&mut pipe).take(SAID_BYTES_MAX).read_to_end(&mut said).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&said).into_owned()
}

fn end_group(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may just have ended.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

async fn signal(signal: Signal, pid_file: &Path) -> anyhow::Result<()> {
    let name = || format!("the pid file {}", pid_file.display());
    let text = read(pid_file).await.with_context(|| format!("{} cannot be read", name()))?;
    // 1 and below are no service: negative ids would be whole groups.
    let pid = text.trim().parse::<i32>().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{} does not hold the id of a process", name()))?;
    kill_process(pid, signal)
        .with_context(|| format!("process {} of {} cannot be signalled", pid.as_raw_nonzero(), name()))
}

async fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    tokio::fs::File::open(path).await?.take(PID_BYTES_MAX).read_to_string(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, time: Duration) -> Result<(), String> {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        call(&Deed::Run { command, timeout: time }, &[], "orders", 7).await.map_err(|e| format!("{e:#}"))
    }

    #[tokio::test]
    async fn a_program_is_told_what_changed_and_its_failure_is_told() {
        let long = Duration::from_secs(60);
        sh("test \"$LEASEHOLD_CREDENTIAL $LEASEHOLD_GENERATION\" = 'orders 7'", long).await.unwrap();
        let error = sh("echo 'no such pool' >&2; exit 3", long).await.unwrap_err();
        assert!(error.contains("sh failed (exit status: 3): no such pool"), "{error}");
        // More than a pipe holds.
        sh("head -c 300000 /dev/zero >&2", long).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", mark.display());
        let error = sh(&script, Duration::from_millis(500)).await.unwrap_err();
        assert!(error.contains("did not end within 500ms"), "{error}");
        let pid = std::fs::read_to_string(&mark).unwrap();
        let proc = format!("/proc/{}/stat", pid.trim());
        let gone = || std::fs::read_to_string(&proc).map_or(true, |stat| stat.contains(") Z "));
        leasehold_testkit::wait_until(Duration::from_secs(20), "its child to be gone", || async { gone() }).await;
    }

    #[tokio::test]
    async fn a_pid_file_that_holds_no_process_signals_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        for text in ["", "0", "1", "-1", "-7", "abc", "99999999999"] {
            std::fs::write(&pid_file, text).unwrap();
            let deed = Deed::Signal { signal: Signal::HUP, pid_file: pid_file.clone() };
            let error = call(&deed, &[], "orders", 1).await.unwrap_err().to_string();
            assert!(error.contains("does not hold the id of a process"), "{text}: {error}");
        }
    }
}
