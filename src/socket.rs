//! The file of a Unix socket: in a directory that nobody else can write, in the place of one that nobody listens on any more.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::net::{UnixListener, UnixStream};

/// Made under this name and then moved, so that it never stands in its place with another mode, and never is away.
const FRESH: &str = ".fresh";

/// A bound socket. Its file goes with it.
pub struct Socket {
    /// Where connections come in.
    pub listener: UnixListener,
    path: PathBuf,
    /// Device and inode: what stands in its place later may be another process's.
    made: (u64, u64),
}

impl Socket {
    /// Binds it, with this mode.
    ///
    /// # Errors
    /// When others than our user and root could write in its directory, when something else stands in its place, or when
    /// another process listens there. They begin with `key`, where the path was configured.
    pub async fn bind(key: &str, path: &Path, mode: u32) -> anyhow::Result<Self> {
        Self::try_bind(path, mode).await.with_context(|| format!("{key} {}", path.display()))
    }

    async fn try_bind(path: &Path, mode: u32) -> anyhow::Result<Self> {
        let dir = path.parent().context("is not the path of a file")?;
        check_directory(dir)?;
        check_free(path).await?;
        let fresh = dir.join(FRESH);
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).context("what a crash left cannot be removed"),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh).context("cannot be made")?;
        fs::set_permissions(&fresh, Permissions::from_mode(mode)).context("cannot be given its mode")?;
        fs::rename(&fresh, path).context("cannot be put in its place")?;
        let made = identity_of(path).context("cannot be looked at")?;
        Ok(Self { listener, path: path.to_owned(), made })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if identity_of(&self.path).is_ok_and(|there| there == self.made) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity_of(path: &Path) -> std::io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Whoever can write in a directory can put something of his own in the place of what we make there, and be taken for us.
///
/// # Errors
/// When others than our user and root can write in `dir`.
pub fn check_directory(dir: &Path) -> anyhow::Result<()> {
    let there = fs::metadata(dir).with_context(|| format!("its directory {} cannot be used", dir.display()))?;
    let us = rustix::process::geteuid().as_raw();
    if !there.is_dir() || ![0, us].contains(&there.uid()) || there.mode() & 0o022 != 0 {
        bail!(
            "its directory {} must belong to our user or to root, and nobody else may write in it (mode {:04o} \
             now): put it right, or name another",
            dir.display(),
            there.mode() & 0o7777
        );
    }
    Ok(())
}

async fn check_free(path: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).context("cannot be looked at"),
        Ok(there) if !there.file_type().is_socket() => bail!("something else stands there, which is left alone"),
        Ok(_) if UnixStream::connect(path).await.is_ok() => bail!("another process listens there"),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bind(path: &Path) -> anyhow::Result<Socket> {
        Socket::bind("break_glass.socket", path, 0o600).await
    }

    fn private() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[tokio::test]
    async fn it_takes_the_place_of_one_that_nobody_listens_on() {
        let dir = private();
        let path = dir.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a crash leaves it there");
        let socket = bind(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(UnixStream::connect(&path).await.is_ok());
        let said = format!("{:#}", bind(&path).await.err().unwrap());
        assert!(said.contains("another process listens there"), "{said}");
        drop(socket);
        assert!(!path.exists() && !dir.path().join(FRESH).exists());
    }

    #[tokio::test]
    async fn what_is_not_ours_is_left_alone() {
        let dir = private();
        let path = dir.path().join("s.sock");
        fs::write(&path, "precious").unwrap();
        let said = format!("{:#}", bind(&path).await.err().unwrap());
        assert!(said.contains("something else stands there"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        // Another's socket, in the place of ours by now, stays when ours goes.
        fs::remove_file(&path).unwrap();
        let ours = bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
        drop(theirs);
    }

    #[tokio::test]
    async fn a_directory_that_others_can_write_is_refused() {
        let dir = private();
        for mode in [0o770, 0o707, 0o1777] {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            let said = format!("{:#}", bind(&dir.path().join("s.sock")).await.err().unwrap());
            assert!(said.contains("nobody else may write in it"), "{mode:o}: {said}");
        }
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(bind(&dir.path().join("s.sock")).await.is_ok());
    }
}
