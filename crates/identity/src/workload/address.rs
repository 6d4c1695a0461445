//! Where a Workload API is (Workload Endpoint 4).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// A Workload API, and which of the SVIDs that it gives is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadApi {
    socket: Socket,
    /// The one with this hint; else the first, which is the default (Workload API 5.2.1 and 8).
    hint: Option<String>,
}

/// The two kinds of address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Why a text is not the address of a Workload API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Another scheme, or none.
    #[error("it must begin with unix:/// or tcp://, as in unix:///run/spire/agent.sock")]
    Scheme,
    /// A socket has no host and an absolute path.
    #[error("unix:// is followed by the absolute path of a socket and nothing else: unix:///run/spire/agent.sock")]
    Path,
    /// A host name, or no port.
    #[error("tcp:// is followed by an IP address and a port and nothing else: tcp://127.0.0.1:8081")]
    Tcp,
}

impl WorkloadApi {
    /// Reads an address as `SPIFFE_ENDPOINT_SOCKET` has it: `unix:///absolute/path` or `tcp://IP:port`. The path is taken as it
    /// is written, without percent-encoding. TCP is not encrypted: it is for loopback.
    ///
    /// # Errors
    /// An [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once(':').ok_or(AddressError::Scheme)?;
        let odd = |c: char| matches!(c, '?' | '#' | '%') || c.is_control();
        let socket = match scheme {
            "unix" => {
                // unix:/path is common too.
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if !path.starts_with('/') || path.len() == 1 || path.contains(odd) {
                    return Err(AddressError::Path);
                }
                Socket::Unix(path.into())
            }
            "tcp" => {
                let address = rest.strip_prefix("//").ok_or(AddressError::Tcp)?;
                let address = address.strip_suffix('/').unwrap_or(address);
                Socket::Tcp(address.parse().ok().filter(|a: &SocketAddr| a.port() != 0).ok_or(AddressError::Tcp)?)
            }
            _ => return Err(AddressError::Scheme),
        };
        Ok(Self { socket, hint: None })
    }

    /// Takes the SVID that has this hint instead of the first; where several have it, the first of them.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What leaves this host unencrypted: the private key, over TCP to elsewhere.
    pub(crate) fn is_exposed(&self) -> bool {
        matches!(&self.socket, Socket::Tcp(address) if !is_loopback(address.ip()))
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

impl fmt::Display for WorkloadApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Socket::Unix(path) => write!(f, "unix://{}", path.display()),
            Socket::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let shown = |text: &str| WorkloadApi::parse(text).map(|api| api.to_string());
        for (text, address) in [
            ("unix:///run/spire/agent.sock", "unix:///run/spire/agent.sock"),
            ("unix:/run/spire/agent.sock", "unix:///run/spire/agent.sock"),
            ("tcp://127.0.0.1:8081", "tcp://127.0.0.1:8081"),
            ("tcp://[::1]:8081/", "tcp://[::1]:8081"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(address), "{text}");
        }
        for (text, error) in [
            ("/run/spire/agent.sock", AddressError::Scheme),
            ("http://127.0.0.1:8081", AddressError::Scheme),
            ("", AddressError::Scheme),
            ("unix://host/run/agent.sock", AddressError::Path),
            ("unix:run/agent.sock", AddressError::Path),
            ("unix:///", AddressError::Path),
            ("unix:///run/agent.sock?x=y", AddressError::Path),
            ("unix:///run/agent.sock#x", AddressError::Path),
            ("tcp://agent:8081", AddressError::Tcp),
            ("tcp://127.0.0.1", AddressError::Tcp),
            ("tcp://127.0.0.1:0", AddressError::Tcp),
            ("tcp://127.0.0.1:8081/x", AddressError::Tcp),
            ("tcp://u@127.0.0.1:8081", AddressError::Tcp),
        ] {
            assert_eq!(shown(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_key_must_not_travel_in_the_clear() {
        let exposed = |text: &str| WorkloadApi::parse(text).expect("an address").is_exposed();
        assert!(!exposed("unix:///run/agent.sock") && !exposed("tcp://127.0.0.1:1") && !exposed("tcp://[::1]:1"));
        assert!(exposed("tcp://10.0.0.1:1"));
    }
}
