//! Keys, and where they come from.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use aws_lc_rs::hmac;
use data_encoding::{BASE64, HEXLOWER};
use leasehold_sdk::random;
use zeroize::Zeroizing;

use super::SealError;

/// Longest text that a source may give.
const TEXT_BYTES_MAX: u64 = 4096;

/// How long a command may take.
const COMMAND_MAX: Duration = Duration::from_secs(10);

/// Where a key of 32 random bytes in base64 is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file; one trailing newline is cut.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A credential that systemd hands to the service (`LoadCredential=`, `LoadCredentialEncrypted=`), by its name.
    SystemdCredential(String),
    /// What this program writes to its standard output, started without a shell: for a key that a KMS or a HSM keeps.
    Command(Vec<String>),
}

/// Names a key without telling anything of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct KeyId(String);

impl KeyId {
    /// The id as it is kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id that was kept.
    pub fn kept(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 32 secret bytes.
pub struct Key {
    bytes: Zeroizing<[u8; 32]>,
    id: KeyId,
}

impl Key {
    fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref()), b"leasehold seal key id");
        Self { id: KeyId(HEXLOWER.encode(&tag.as_ref()[..8])), bytes }
    }

    /// Reads 32 bytes in base64.
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('\n').unwrap_or(text).trim_end_matches('\r');
        let raw = Zeroizing::new(BASE64.decode(text.as_bytes()).ok()?);
        let bytes: [u8; 32] = raw.as_slice().try_into().ok()?;
        Some(Self::new(Zeroizing::new(bytes)))
    }

    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// A secret of its own for another purpose: who has that one cannot tell this key from it.
    pub fn derived(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.bytes.as_ref()), purpose.as_bytes());
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::SystemdCredential(name) => write!(f, "the systemd credential {name}"),
            Self::Command(words) => write!(f, "the command {}", words.first().map_or("", String::as_str)),
        }
    }
}

impl KeySource {
    /// Reads the key now.
    ///
    /// # Errors
    /// [`SealError::Key`] that names the source and what is wrong, never what it gave.
    pub fn read(&self) -> Result<Key, SealError> {
        let text =
            self.text().map_err(|why| SealError::Key(format!("the seal key cannot be read from {self}: {why}")))?;
        Key::parse(&text).ok_or_else(|| {
            SealError::Key(format!(
                "{self} does not hold a seal key, which is 32 random bytes in base64: `openssl rand -base64 32` makes one"
            ))
        })
    }

    fn text(&self) -> Result<Zeroizing<String>, String> {
        match self {
            Self::File(path) => from_file(path),
            Self::Env(name) => std::env::var(name).map(Zeroizing::new).map_err(|_| "it is not set".to_owned()),
            Self::SystemdCredential(name) => {
                let dir = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or("CREDENTIALS_DIRECTORY is not set: systemd did not start this process")?;
                from_file(&Path::new(&dir).join(name))
            }
            Self::Command(words) => from_command(words),
        }
    }

    /// Makes the key when its file is not there yet: for a store that is as new. Of two that make it at once, one wins.
    ///
    /// # Errors
    /// [`SealError::Key`] when the file cannot be made.
    pub fn make_if_missing(&self) -> Result<(), SealError> {
        let Self::File(path) = self else { return Ok(()) };
        let failed = |e: std::io::Error| SealError::Key(format!("the seal key {} cannot be made: {e}", path.display()));
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = match made {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            made => made.map_err(failed)?,
        };
        let raw = Zeroizing::new(random::bytes::<32>());
        let text = Zeroizing::new(format!("{}\n", BASE64.encode(raw.as_ref())));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    bounded(file)
}

/// Reads all of it, up to a bound, into one allocation.
fn bounded(from: impl Read) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES_MAX as usize + 1));
    from.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > TEXT_BYTES_MAX { Err(format!("it is longer than {TEXT_BYTES_MAX} bytes")) } else { Ok(text) }
}

/// What a program says within its time. One that hangs is ended.
fn from_command(words: &[String]) -> Result<Zeroizing<String>, String> {
    let (program, arguments) = words.split_first().ok_or("it names no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| e.to_string())?;
    let out = child.stdout.take().ok_or("its output cannot be read")?;
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || told.send(bounded(out)));
    let said = heard.recv_timeout(COMMAND_MAX);
    if said.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    let text = said.map_err(|_| format!("it took longer than {} s", COMMAND_MAX.as_secs()))??;
    if status.success() { Ok(text) } else { Err(format!("it ended with {status}")) }
}
