//! TLS settings: `tls = { mode, ca, cert, key }`. The words for `mode` are libpq's `sslmode`.

use std::path::{Path, PathBuf};

use leasehold_sdk::{SettingError, Settings};
use serde::Deserialize;

use crate::Address;

/// How a connection is protected. The words are libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// In the clear.
    Disable,
    /// Encrypted if the server can; against nobody in between.
    Prefer,
    /// Encrypted, whoever the server is.
    Require,
    /// The server's certificate is of the CA.
    VerifyCa,
    /// And it names the host.
    VerifyFull,
}

impl TlsMode {
    /// The word for it in libpq.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// Whether somebody in between would be noticed.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

/// TLS settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// How the connection is protected.
    pub mode: TlsMode,
    /// CA certificates in PEM. `None`: those of the public web.
    pub ca: Option<PathBuf>,
    /// Our client certificate chain and key, in PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mode: Option<TlsMode>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Tls {
    /// Checks the table `tls` of the server at `address`; relative paths start at `base`. Without a `mode` the server is
    /// verified, unless it is on this very machine.
    ///
    /// # Errors
    /// The key that is wrong and why.
    pub fn read(settings: Settings, address: &Address, base: &Path) -> Result<Self, SettingError> {
        let table: Table = serde_json::from_value(serde_json::Value::Object(settings))
            .map_err(|e| SettingError::new("tls", e.to_string()))?;
        let local = if address.is_local() { TlsMode::Prefer } else { TlsMode::VerifyFull };
        // A CA says that somebody wants the server checked, be it near or far.
        let mode = table.mode.unwrap_or(if table.ca.is_some() { TlsMode::VerifyFull } else { local });
        if table.ca.is_some() && !mode.verifies() {
            return Err(SettingError::new("tls.ca", format!("has no effect with mode = \"{}\"", mode.as_str())));
        }
        if mode.verifies() && address.is_socket() {
            return Err(SettingError::new("tls.mode", "a Unix socket has no TLS"));
        }
        let client = match (&table.cert, &table.key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((base.join(cert), base.join(key))),
            (Some(_), None) => return Err(SettingError::new("tls.key", "is missing: cert and key go together")),
            (None, Some(_)) => return Err(SettingError::new("tls.cert", "is missing: cert and key go together")),
        };
        Ok(Self { mode, ca: table.ca.as_ref().map(|p| base.join(p)), client })
    }
}
