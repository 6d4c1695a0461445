//! Where lines go. Here: files, which can be renamed under us and cut back, and standard output, which cannot. In
//! [`super::collector`]: over the network.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mend;
use crate::store::AuditHead;

/// A place for lines. Private to this module, and a trait so that a test can put one that fails in its place.
pub trait Sink: Send {
    /// What operators call it.
    fn name(&self) -> &str;

    /// Called before each group and now and then when there is none: repairs what a failure left behind, follows a rename,
    /// connects. `head` is the last line that it took.
    fn prepare(&mut self, head: &AuditHead) -> io::Result<()>;

    /// Takes all of a group, or fails and leaves nothing of it where that is possible. Bounded in time where it waits for
    /// another machine.
    fn append(&mut self, group: &Group) -> Result<(), NotTaken>;

    /// What is to be synced after an append; `None` where syncing means nothing.
    fn file(&self) -> Option<Arc<File>> {
        None
    }

    /// Whether it is on another machine, so that what it missed is sent to it again.
    fn is_collector(&self) -> bool {
        false
    }

    /// The last line that it has for certain, where `last` is the last that it took.
    fn certain(&self, last: &AuditHead) -> AuditHead {
        last.clone()
    }
}

/// A sink did not take a group.
#[derive(Debug)]
pub struct NotTaken {
    /// Why not.
    pub why: io::Error,
    /// Some or all of it may have arrived all the same. Its numbers are then used up, and it must be sent again as it is: other
    /// lines of the same numbers would be another chain.
    pub may_have_it: bool,
}

impl From<io::Error> for NotTaken {
    fn from(why: io::Error) -> Self {
        Self { why, may_have_it: false }
    }
}

/// Lines that are written together.
pub struct Group {
    /// The lines, each with its newline.
    pub bytes: Vec<u8>,
    /// How many.
    pub lines: u64,
    /// The last of them.
    pub head: AuditHead,
}

impl Group {
    /// Several as one; `None`: there are none.
    pub fn of(groups: &[Arc<Self>]) -> Option<Arc<Self>> {
        let (last, before) = groups.split_last()?;
        if before.is_empty() {
            return Some(Arc::clone(last));
        }
        let bytes = groups.iter().map(|group| group.bytes.as_slice()).collect::<Vec<_>>().concat();
        let lines = groups.iter().map(|group| group.lines).sum();
        Some(Arc::new(Self { bytes, lines, head: last.head.clone() }))
    }

    /// The number of the first.
    pub fn first_seq(&self) -> u64 {
        self.head.seq + 1 - self.lines
    }
}

/// A file that is appended to.
pub struct FileSink {
    path: PathBuf,
    name: String,
    file: Arc<File>,
    /// Device and inode: another one under the same path means that the file was rotated away.
    id: (u64, u64),
    /// A failed append left a piece that could not be cut off at once; the length to cut to.
    torn_at: Option<u64>,
}

impl FileSink {
    /// Opens the file, makes it (mode 0600) where it is absent, and locks it against a second broker.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_locked(path)?;
        let id = id(&file.metadata()?);
        let name = path.display().to_string();
        Ok(Self { path: path.to_owned(), name, file: Arc::new(file), id, torn_at: None })
    }

    /// Opens what stands at the path now and goes on there. The old file is synced first: nobody will do it later.
    fn rotate(&mut self, head: &AuditHead) -> io::Result<()> {
        self.file.sync_data()?;
        let next = Self::open(&self.path)?;
        let tail = mend::read_tail(&next.file).map_err(|why| io::Error::other(why.to_string()))?;
        if tail.cut.is_some() || tail.last.is_some_and(|line| line.head() != *head) {
            return Err(io::Error::other("another file was put in its place, with lines that are not this log's last"));
        }
        tracing::info!(sink = self.name, "the audit file was rotated away; a new one goes on with the chain");
        *self = next;
        Ok(())
    }
}

impl Sink for FileSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare(&mut self, head: &AuditHead) -> io::Result<()> {
        if let Some(len) = self.torn_at {
            self.file.set_len(len)?;
            self.torn_at = None;
        }
        match fs::metadata(&self.path) {
            Ok(found) if id(&found) == self.id => Ok(()),
            Ok(_) => self.rotate(head),
            Err(why) if why.kind() == io::ErrorKind::NotFound => self.rotate(head),
            Err(why) => Err(why),
        }
    }

    fn append(&mut self, group: &Group) -> Result<(), NotTaken> {
        let start = self.file.metadata()?.len();
        let mut file: &File = &self.file;
        file.write_all(&group.bytes).map_err(|why| {
            if self.file.set_len(start).is_err() {
                self.torn_at = Some(start);
            }
            NotTaken::from(why)
        })
    }

    fn file(&self) -> Option<Arc<File>> {
        Some(Arc::clone(&self.file))
    }
}

/// Standard output. What it took in part stays there; the next line then begins on a line of its own, and lines may repeat.
pub struct StdoutSink {
    out: File,
    torn: bool,
}

impl StdoutSink {
    /// A handle of its own, past the buffer of the standard library: a write has happened when it returns.
    pub fn open() -> io::Result<Self> {
        Ok(Self { out: File::from(io::stdout().as_fd().try_clone_to_owned()?), torn: false })
    }
}

impl Sink for StdoutSink {
    fn name(&self) -> &str {
        "stdout"
    }

    fn prepare(&mut self, _head: &AuditHead) -> io::Result<()> {
        Ok(())
    }

    fn append(&mut self, group: &Group) -> Result<(), NotTaken> {
        if self.torn {
            self.out.write_all(b"\n")?;
        }
        self.torn = true;
        self.out.write_all(&group.bytes)?;
        self.torn = false;
        Ok(())
    }
}

fn open_locked(path: &Path) -> io::Result<File> {
    // Before opening: a FIFO without a reader would block, and a device cannot be cut back.
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(io::Error::other("not a regular file")),
        _ => {}
    }
    let file = fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    file.try_lock().map_err(|why| match why {
        TryLockError::WouldBlock => io::Error::other("another process writes it"),
        TryLockError::Error(why) => why,
    })?;
    // A name that is not durable loses its file with the power.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()?;
    Ok(file)
}

fn id(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
