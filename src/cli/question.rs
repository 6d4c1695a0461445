//! Asking before something large is ended.

use std::io::{self, BufRead, IsTerminal, Write};

use super::exit::Usage;

/// Asks on the terminal. `yes` answers beforehand.
///
/// # Errors
/// [`Usage`] where there is no terminal to ask on and nobody answered beforehand.
pub async fn confirmed(question: String, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Err(Usage(format!("{question} There is no terminal to ask on: add --yes to go ahead")).into());
    }
    Ok(tokio::task::spawn_blocking(move || ask(&question)).await??)
}

fn ask(question: &str) -> io::Result<bool> {
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
