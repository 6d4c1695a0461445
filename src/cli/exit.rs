//! Exit codes, and the one line that says why.

use std::process::ExitCode;

use leasehold_client::ClientError;

use super::output::safe;
use crate::config::ConfigErrors;

/// It is done.
pub const DONE: u8 = 0;
/// It was refused or failed.
pub const FAILED: u8 = 1;
/// The command line or the environment is wrong.
pub const USAGE: u8 = 2;

/// The command line is wrong in a way that only the command itself can see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Says on standard error why it failed, and answers the exit code. Errors of a configuration begin with their file and
/// line, as editors and people want them.
pub fn failed(error: &anyhow::Error) -> ExitCode {
    let whose = if error.is::<ConfigErrors>() { "" } else { "leasehold: " };
    eprintln!("{whose}{}", causes(error));
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    // A certificate, key or bundle that cannot be used is a setting that names the wrong file.
    let setting = matches!(error.downcast_ref(), Some(ClientError::Setting { .. } | ClientError::Identity(_)));
    if setting || error.is::<Usage>() { USAGE } else { FAILED }
}

/// The error and its causes, each once: `what: why: why`. An error of several lines, such as those of a configuration,
/// keeps its lines.
pub fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let said = cause.to_string();
        if text.ends_with(&said) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&said);
    }
    text.lines().map(safe).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_are_said_once_and_harmlessly() {
        let error =
            anyhow!("no such \x1b[31mfile").context("cannot read x: no such \x1b[31mfile").context("check failed");
        assert_eq!(causes(&error), "check failed: cannot read x: no such \\u{1b}[31mfile");
        assert_eq!(causes(&anyhow!("a:1: x\na:2: y")), "a:1: x\na:2: y");
    }

    #[test]
    fn wrong_usage_is_told_apart() {
        assert_eq!(code(&anyhow!("x")), FAILED);
        assert_eq!(code(&anyhow::Error::new(Usage("x".into())).context("y")), USAGE);
        let unset = ClientError::Setting { setting: "LEASEHOLD_ADDR", why: "not set".into() };
        assert_eq!(code(&unset.into()), USAGE);
    }
}
