//! Copies of a server of ours, to be put back later.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::PgServer;
use crate::account::{RunAs, run_as};
use crate::guardian::Guardian;
use crate::setup::Layout;

/// All that a server had when it was backed up. Dropping it removes it.
pub struct Backup {
    layout: Layout,
    _guardian: Guardian,
}

impl PgServer {
    /// Copies all that it has. It is stopped for that, and started again.
    ///
    /// # Errors
    /// When the copy cannot be made, or it does not start within the deadline.
    pub async fn back_up(&self) -> Result<Backup> {
        self.stop().await?;
        let layout = Layout::create(self.user)?;
        let guardian = Guardian::start(&layout.data, &layout.root, self.user)?;
        let backup = Backup { layout, _guardian: guardian };
        let copied = tokio::task::block_in_place(|| copy(self.data_dir(), &backup.layout.data, self.user));
        self.restart().await?;
        copied.map(|()| backup)
    }

    /// Puts back what it had then: all that came later is forgotten. As after a crash, nobody is asked whether it suits.
    ///
    /// # Errors
    /// When it cannot be put back, or does not start within the deadline.
    pub async fn restore(&self, backup: &Backup) -> Result<()> {
        self.kill().await?;
        tokio::task::block_in_place(|| {
            for entry in fs::read_dir(self.data_dir()).context("cannot list the data directory")? {
                let path = entry?.path();
                if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
            }
            copy(&backup.layout.data, self.data_dir(), self.user)
        })?;
        self.restart().await
    }
}

/// Copies what is in one directory into another.
pub(crate) fn copy(from: &Path, to: &Path, user: Option<RunAs>) -> Result<()> {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from.join(".")).arg(to).current_dir("/");
    run_as(&mut command, user);
    let output = command.output().context("cannot run cp")?;
    if !output.status.success() {
        bail!("the copy failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
