//! Files that change as one: the layout of Kubernetes' volumes. A reader that opens `NAME` goes through the link `..data` into a
//! folder of one generation, which is never changed; a new generation is a new folder, and one rename of the link.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use data_encoding::HEXLOWER;
use leasehold_sdk::random;
use zeroize::Zeroizing;

use crate::socket::check_directory;

/// The link to the folder in use, and the one that is about to take its place.
const DATA: &str = "..data";
const NEXT: &str = "..data_next";
/// Beginning of the folders' names, by which they are known to be ours.
const FOLDER: &str = "..leasehold-";

/// One file to be written.
pub struct Content {
    /// Its name in the directory.
    pub name: String,
    /// What is in it.
    pub text: Zeroizing<String>,
    /// Its mode.
    pub mode: u32,
    /// Its user and group, if not ours.
    pub owner: Option<(u32, u32)>,
}

/// A directory in which we are the only one to write.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    /// Locked as long as it is held: two agents on one file would take turns.
    _lock: File,
}

impl Folder {
    /// Makes the directory if it is not there, and takes it for us alone.
    ///
    /// # Errors
    /// When another agent has it, or it cannot be made or locked.
    pub fn claim(dir: &Path) -> anyhow::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o755).create(dir).with_context(|| at(dir, "cannot be made"))?;
        check_directory(dir)?;
        let lock = File::open(dir).with_context(|| at(dir, "cannot be opened"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("{}", at(dir, "is another agent's: each needs a directory of its own"))
            }
            Err(TryLockError::Error(e)) => return Err(e).with_context(|| at(dir, "cannot be locked")),
        }
        let folder = Self { dir: dir.to_owned(), _lock: lock };
        folder.sweep();
        Ok(folder)
    }

    /// Replaces all files at once. `false`: they are as they are to be.
    ///
    /// # Errors
    /// When they cannot be written; then those before are still there, whole.
    pub fn put(&self, files: &[Content]) -> anyhow::Result<bool> {
        if self.holds(files) {
            return Ok(false);
        }
        for file in files {
            self.check_place(&file.name)?;
        }
        let name = format!("{FOLDER}{}", HEXLOWER.encode(&random::bytes::<8>()));
        let made = self.write(&name, files).and_then(|()| self.point_to(&name));
        if made.is_err() {
            let _ = fs::remove_dir_all(self.dir.join(&name));
        }
        made.with_context(|| at(&self.dir, "cannot take the new files"))?;
        for file in files {
            self.link(&file.name).with_context(|| at(&self.dir.join(&file.name), "cannot be linked"))?;
        }
        self.sweep();
        Ok(true)
    }

    fn holds(&self, files: &[Content]) -> bool {
        files.iter().all(|file| {
            let path = self.dir.join(&file.name);
            let is_ours = fs::read_link(&path).is_ok_and(|to| to == Path::new(DATA).join(&file.name));
            let is_whose = |meta: &fs::Metadata| file.owner.is_none_or(|owner| owner == (meta.uid(), meta.gid()));
            let same_mode = fs::metadata(&path).is_ok_and(|meta| meta.mode() & 0o777 == file.mode && is_whose(&meta));
            is_ours
                && same_mode
                && fs::read(&path).map(Zeroizing::new).is_ok_and(|there| *there == file.text.as_bytes())
        })
    }

    /// What stands in the place of a link must be ours.
    fn check_place(&self, name: &str) -> anyhow::Result<()> {
        let path = self.dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(there) if !there.is_symlink() => {
                bail!("{}", at(&path, "is there, and was not written by an agent: move it away"))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, name: &str, files: &[Content]) -> io::Result<()> {
        let folder = self.dir.join(name);
        DirBuilder::new().mode(0o755).create(&folder)?;
        // Whatever the umask: others may have to pass; what they may read is said by each file.
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        for file in files {
            let path = folder.join(&file.name);
            let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            out.write_all(file.text.as_bytes())?;
            if let Some((uid, gid)) = file.owner {
                fchown(&out, Some(uid), Some(gid))?;
            }
            out.set_permissions(Permissions::from_mode(file.mode))?;
            out.sync_all()?;
        }
        File::open(&folder)?.sync_all()
    }

    /// The moment of the change.
    fn point_to(&self, name: &str) -> io::Result<()> {
        let next = self.dir.join(NEXT);
        match fs::remove_file(&next) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        symlink(name, &next)?;
        fs::rename(&next, self.dir.join(DATA))?;
        File::open(&self.dir)?.sync_all()
    }

    fn link(&self, name: &str) -> io::Result<()> {
        let (path, to) = (self.dir.join(name), Path::new(DATA).join(name));
        if fs::read_link(&path).is_ok_and(|there| there == to) {
            return Ok(());
        }
        let beside = self.dir.join(format!("{FOLDER}link"));
        let _ = fs::remove_file(&beside);
        symlink(&to, &beside)?;
        fs::rename(&beside, &path)
    }

    /// Removes the folders that are not in use: of the generation before, and of a crash.
    fn sweep(&self) {
        let in_use = fs::read_link(self.dir.join(DATA)).ok();
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| name.starts_with(FOLDER));
            if ours && in_use.as_deref() != Some(Path::new(&name)) && entry.file_type().is_ok_and(|kind| kind.is_dir())
            {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn at(path: &Path, what: &str) -> String {
    format!("{} {what}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> Vec<Content> {
        let file = |name: &str, mode| Content {
            name: name.to_owned(),
            text: Zeroizing::new(text.to_owned()),
            mode,
            owner: None,
        };
        vec![file("user", 0o640), file("password", 0o600)]
    }

    #[test]
    fn files_change_as_one_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::claim(&dir.path().join("secrets")).unwrap();
        let dir = dir.path().join("secrets");
        assert!(folder.put(&pair("one")).unwrap());
        assert!(!folder.put(&pair("one")).unwrap(), "nothing is new");
        assert!(folder.put(&pair("two")).unwrap());
        for (name, mode) in [("user", 0o640), ("password", 0o600)] {
            assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), "two");
            assert_eq!(fs::metadata(dir.join(name)).unwrap().mode() & 0o777, mode);
        }
        let left = fs::read_dir(&dir).unwrap().count();
        assert_eq!(left, 4, "two links, the link to the folder, and the folder");
        let other = Folder::claim(&dir).unwrap_err().to_string();
        assert!(other.contains("is another agent's"), "{other}");
        drop(folder);
        Folder::claim(&dir).unwrap();
    }

    #[test]
    fn a_file_belongs_to_whom_it_is_said_to() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::claim(dir.path()).unwrap();
        // Whoever is not root can give a file to itself only, and is told so of others.
        let root = rustix::process::geteuid().is_root();
        let ours = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let owner = Some(if root { (65_534, 65_534) } else { ours });
        let files: Vec<_> = pair("one").into_iter().map(|file| Content { owner, ..file }).collect();
        assert!(folder.put(&files).unwrap());
        let meta = fs::metadata(dir.path().join("password")).unwrap();
        assert_eq!((Some((meta.uid(), meta.gid())), meta.mode() & 0o777), (owner, 0o600));
        assert!(!folder.put(&files).unwrap());
    }

    /// Else whoever writes there too could turn what root writes to another place.
    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
        let error = Folder::claim(dir.path()).unwrap_err().to_string();
        assert!(error.contains("nobody else may write in it"), "{error}");
    }

    #[test]
    fn somebody_elses_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("user"), "mine").unwrap();
        let folder = Folder::claim(dir.path()).unwrap();
        let error = folder.put(&pair("one")).unwrap_err().to_string();
        assert!(error.contains("move it away"), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("user")).unwrap(), "mine");
    }

    /// Ten thousand reads while it changes all the time: user and password are always of one generation.
    #[test]
    fn a_reader_never_sees_half_a_pair() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::claim(dir.path()).unwrap();
        folder.put(&pair("0")).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1.. {
                    if done.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                    folder.put(&pair(&n.to_string())).unwrap();
                }
            });
            let (mut changes, mut reads, mut torn) = (0, 0, None);
            let mut before = String::new();
            // A disk may be slow: until it has changed often enough, too.
            while torn.is_none() && (reads < 10_000 || changes < 20) && reads < 10_000_000 {
                // As who opens both by one look at the link.
                let to = dir.path().join(fs::read_link(dir.path().join(DATA)).unwrap());
                let (user, password) = (fs::read_to_string(to.join("user")), fs::read_to_string(to.join("password")));
                // Replaced between the look and the opening.
                let (Ok(user), Ok(password)) = (user, password) else { continue };
                reads += 1;
                changes += usize::from(user != before);
                torn = (user != password).then(|| format!("{user} with {password}"));
                before = user;
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(torn, None);
            assert!(changes >= 20, "it changed {changes} times while it was read");
        });
    }
}
