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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_leaves_no_core() {
        deny_dumps().unwrap();
        let limits = std::fs::read_to_string("/proc/thread-self/limits").unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
