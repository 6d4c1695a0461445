//! Reading files with a limit, and writing them so that no reader sees half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::IdentityError;

const OTHERS_MAY_READ: u32 = 0o044;

/// Reads a file whole. The buffer is wiped when it is dropped: it may be a key.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let failed = |source| IdentityError::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    // Room for all of it at once: a buffer that grows leaves copies behind that nobody wipes.
    let room = usize::try_from(length.min(limit)).unwrap_or(0) + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    file.take(limit + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > limit {
        return Err(IdentityError::TooLarge { path: path.into(), limit });
    }
    Ok(content)
}

/// May others than its owner read it?
pub(crate) fn others_may_read(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.mode() & OTHERS_MAY_READ != 0)
}

/// Writes a file beside its place, with its mode from the start, and renames it there.
pub(crate) fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = Path::new(&beside);
    let _ = fs::remove_file(beside);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(beside);
    }
    written
}
