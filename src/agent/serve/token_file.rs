//! The file with a word that opens the port: random, for its owner alone, and the same over the agent's own end.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use leasehold_sdk::random;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

/// Shortest token, in bytes: what a person makes up is guessed.
const TOKEN_BYTES_MIN: usize = 32;
/// Longest.
const TOKEN_BYTES_MAX: u64 = 4096;

/// The token; made if it is not there.
///
/// # Errors
/// When the file cannot be made or read, is not its owner's alone, or holds something else.
pub fn token(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = text(file)?;
    word(text.trim_end_matches(['\r', '\n']))
}

/// The same for those who send the file's whole content as it is.
///
/// # Errors
/// Also when it ends with a newline, which they would not get into a header.
pub fn token_as_it_is(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = text(file)?;
    if text.ends_with(['\r', '\n']) {
        bail!(
            "must not end with a newline: the SDKs of AWS send what they read as it is. Remove it, and another is made"
        );
    }
    word(&text)
}

fn text(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    match made {
        Ok(mut made) => {
            // Without a line's end: some clients send what they read as it is.
            made.write_all(random::password().expose_secret().as_bytes())?;
            made.sync_all()?;
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e).context("cannot be made"),
    }
    let meta = fs::metadata(file).context("cannot be looked at")?;
    if meta.mode() & 0o077 != 0 || !meta.is_file() || meta.len() > TOKEN_BYTES_MAX {
        bail!("must be a file for its owner alone (mode 0600), of at most {TOKEN_BYTES_MAX} bytes");
    }
    Ok(Zeroizing::new(fs::read_to_string(file).context("cannot be read")?))
}

fn word(text: &str) -> anyhow::Result<Zeroizing<String>> {
    if text.len() < TOKEN_BYTES_MIN || !text.bytes().all(|b| b.is_ascii_graphic()) {
        bail!("must hold one word of at least {TOKEN_BYTES_MIN} visible ASCII characters");
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_must_be_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let made = token(&file).unwrap();
        assert_eq!(token(&file).unwrap(), made);
        assert!(made.len() >= TOKEN_BYTES_MIN && !fs::read_to_string(&file).unwrap().ends_with('\n'));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(token(&file).unwrap_err().to_string().contains("for its owner alone"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "short").unwrap();
        assert!(token(&file).unwrap_err().to_string().contains("at least 32"));
    }

    #[test]
    fn what_is_sent_as_it_is_has_no_newline() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let made = token_as_it_is(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), *made);
        assert_eq!(token_as_it_is(&file).unwrap(), made);
        fs::write(&file, format!("{}\n", *made)).unwrap();
        assert!(token_as_it_is(&file).unwrap_err().to_string().contains("must not end with a newline"));
        assert_eq!(token(&file).unwrap(), made);
    }
}
