//! What the process denies to onlookers: its memory holds keys and, for moments, passwords (law 6).

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump, and no reading of this process's memory through `ptrace` or `/proc` by others of the same user. To be
/// called before any secret is read; a process that it starts later inherits the core limit only.
///
/// # Errors
/// The kernel refused, which a sandbox might make it do; the caller should not go on.
pub fn deny_dumps() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// What the PostgreSQL driver would take from the environment for every server, whatever the configuration says of each.
const DRIVER_VARIABLES: [&str; 4] = ["PGOPTIONS", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"];

/// Refuses an environment that would change how every server is reached.
///
/// # Errors
/// The variable, and what to do.
pub fn deny_driver_environment() -> Result<(), EnvironmentRefused> {
    match DRIVER_VARIABLES.into_iter().find(|name| std::env::var_os(name).is_some()) {
        None => Ok(()),
        Some(name) => Err(EnvironmentRefused { name }),
    }
}

/// A variable of the environment that must not be set.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} is set in the environment, and would hold for the store and every target alike: unset it, and say what \
         each needs in the configuration"
)]
pub struct EnvironmentRefused {
    name: &'static str,
}

/// The host's name, for people.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_takes_nothing_from_the_environment() {
        const CHILD: &str = "LEASEHOLD_TEST_ENVIRONMENT";
        if std::env::var_os(CHILD).is_none() {
            assert!(deny_driver_environment().is_ok());
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "telemetry::process::tests::the_driver_takes_nothing_from_the_environment"])
                .envs([(CHILD, "1"), ("PGOPTIONS", "-c search_path=theirs")])
                .status();
            assert!(status.unwrap().success());
            return;
        }
        assert!(deny_driver_environment().unwrap_err().to_string().starts_with("PGOPTIONS is set"));
    }

    /// In a process of its own: what it does cannot be undone, and other tests look into `/proc/self`.
    #[test]
    fn the_process_leaves_no_core() {
        const CHILD: &str = "LEASEHOLD_TEST_NO_CORE";
        if std::env::var_os(CHILD).is_none() {
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "telemetry::process::tests::the_process_leaves_no_core"])
                .env(CHILD, "1")
                .status();
            assert!(status.unwrap().success());
            return;
        }
        deny_dumps().unwrap();
        let limits = std::fs::read_to_string("/proc/thread-self/limits").unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
