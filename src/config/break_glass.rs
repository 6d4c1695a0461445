//! `[break_glass]`: the socket for root on the broker's host.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::section::Section;

/// Longest path of a Unix socket, in bytes (`sun_path` in unix(7), without the NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Its file in `data_dir` unless the configuration names another.
const DEFAULT_NAME: &str = "break-glass.sock";

/// Where the socket is to be; `Some(None)`: it is turned off.
pub(super) fn break_glass(root: &Section<'_>, base: &Path, data_dir: Option<&Path>) -> Option<Option<PathBuf>> {
    let section = root.section_or_empty("break_glass");
    let enabled = section.flag("enabled").unwrap_or(true);
    let socket = match section.has("socket") {
        true => section.path("socket", base),
        false => data_dir.map(|dir| dir.join(DEFAULT_NAME)),
    };
    let socket = socket.map(|socket| Some(socket).filter(|_| enabled));
    if let Some(bytes) = socket.iter().flatten().next().map(|path| path.as_os_str().as_bytes().len())
        && bytes > SOCKET_PATH_BYTES_MAX
    {
        let why = format!(
            "its path has {bytes} bytes, and the system takes {SOCKET_PATH_BYTES_MAX}: name a shorter one, such as \
             \"/run/leasehold/break-glass.sock\", or say enabled = false"
        );
        section.wrong("socket", why);
    }
    section.finish();
    socket
}
