//! The program: started, given our signals, waited for.

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::task::Poll;

use anyhow::Context;
use rustix::process::{Pid, Signal as SignalNumber, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::forms::variables::Variable;

/// The shell's exit codes for a program that is not there, or cannot be started (POSIX 2.8.2).
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;
/// A program ended by a signal has this plus the signal's number.
const BY_SIGNAL: i32 = 128;

/// The signals that are passed on.
const PASSED_ON: [SignalNumber; 6] = [
    SignalNumber::TERM,
    SignalNumber::INT,
    SignalNumber::HUP,
    SignalNumber::QUIT,
    SignalNumber::USR1,
    SignalNumber::USR2,
];

/// Those of them that end a program that has not been started.
const ENDING: [SignalNumber; 4] = [SignalNumber::TERM, SignalNumber::INT, SignalNumber::HUP, SignalNumber::QUIT];

/// Hears the signals that are passed on, from before the program starts.
pub struct Signals(Vec<(SignalNumber, Signal)>);

impl Signals {
    /// Hears them from now on.
    pub fn listen() -> anyhow::Result<Self> {
        let hear = |number: SignalNumber| {
            let heard = signal(SignalKind::from_raw(number.as_raw()));
            heard.map(|heard| (number, heard)).context("signals cannot be heard")
        };
        PASSED_ON.into_iter().map(hear).collect::<anyhow::Result<_>>().map(Self)
    }

    /// The next one.
    pub async fn next(&mut self) -> SignalNumber {
        std::future::poll_fn(|context| {
            for (number, heard) in &mut self.0 {
                if heard.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether it ends a process that does nothing about it of its own: SIGTERM and SIGINT.
    pub fn means_stop(number: SignalNumber) -> bool {
        matches!(number, SignalNumber::TERM | SignalNumber::INT)
    }

    /// The exit code, if a signal has come that means not to start at all.
    pub fn ended_before_start(&mut self) -> Option<u8> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut came =
            self.0.iter_mut().filter_map(|(number, heard)| heard.poll_recv(&mut context).is_ready().then_some(*number));
        came.find_map(code_before_start)
    }
}

/// The exit code of a program that was not started because of this signal, if it is one of those that end programs.
pub fn code_before_start(number: SignalNumber) -> Option<u8> {
    ENDING.contains(&number).then(|| code(BY_SIGNAL + number.as_raw()))
}

/// Starts the program, passes signals on to it, and answers its exit code.
pub async fn run(command: &[OsString], environment: Vec<Variable>, mut signals: Signals) -> anyhow::Result<u8> {
    let mut child = match start(command, environment, &[])? {
        Ok(child) => child,
        Err(code) => return Ok(code),
    };
    loop {
        tokio::select! {
            code = ended(&mut child) => return code,
            number = signals.next() => hand_on(&child, number),
        }
    }
}

/// Starts the program, without the variables of ours that are `withheld`; the exit code of one that cannot be started.
pub fn start(
    command: &[OsString],
    environment: Vec<Variable>,
    withheld: &[String],
) -> anyhow::Result<Result<Child, u8>> {
    let [program, arguments @ ..] = command else { anyhow::bail!("there is no program to start") };
    let mut command = Command::new(program);
    for name in withheld {
        command.env_remove(name);
    }
    // In the environment and never among the arguments, which every user of the machine can read.
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value.as_str())));
    let started = command.spawn();
    drop(environment);
    Ok(started.map_err(|error| not_started(program, &error)))
}

/// Waits for its end, and answers its exit code.
pub async fn ended(child: &mut Child) -> anyhow::Result<u8> {
    Ok(exit_code(child.wait().await.context("the program cannot be waited for")?))
}

/// Passes on a signal that was sent to us, unless the program has it already: a terminal sends to all of its process group.
pub fn hand_on(child: &Child, number: SignalNumber) {
    let seen = io::stdin().is_terminal() && matches!(number, SignalNumber::INT | SignalNumber::QUIT);
    if !seen {
        pass_on(child, number);
    }
}

/// Sends it a signal.
pub fn pass_on(child: &Child, number: SignalNumber) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended a moment ago; then there is nobody to tell.
        let _ = kill_process(pid, number);
    }
}

fn not_started(program: &OsString, error: &io::Error) -> u8 {
    eprintln!("leasehold: {} cannot be started: {error}", program.to_string_lossy().escape_debug());
    if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_STARTED }
}

fn exit_code(status: ExitStatus) -> u8 {
    code(status.code().unwrap_or_else(|| BY_SIGNAL + status.signal().unwrap_or_default()))
}

fn code(number: i32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    async fn ran(command: &[&str]) -> u8 {
        let command: Vec<_> = command.iter().map(OsString::from).collect();
        let environment = vec![("CANARY".to_owned(), Zeroizing::new("x".to_owned()))];
        run(&command, environment, Signals::listen().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn the_programs_status_is_ours_and_signals_reach_it() {
        assert_eq!(ran(&["sh", "-c", "test \"$CANARY\" = x"]).await, 0);
        assert_eq!(ran(&["sh", "-c", "exit 7"]).await, 7);
        assert_eq!(ran(&["sh", "-c", "kill -KILL $$"]).await, 137);
        assert_eq!(ran(&["/nowhere/at-all"]).await, 127);
        assert_eq!(ran(&["/etc"]).await, 126);

        // Sent to us by the program itself, once it is ready to take it back. In the same test as the others, because
        // every program that is running then gets it.
        let script = "trap 'exit 42' USR1; kill -USR1 $PPID; while :; do sleep 0.05; done";
        assert_eq!(ran(&["sh", "-c", script]).await, 42);
    }
}
