//! Which broker, and who we are.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leasehold_identity::{Identity, SpiffeId, WorkloadApi};

use crate::ClientError;
use crate::limits::{CALL_TIME_DEFAULT, WORKLOAD_API_TIME_MAX};

/// Where the broker is, whom it must be, and who we are.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `https://host:port`. The host name only serves to find it: what is checked is its SPIFFE ID.
    pub addr: String,
    /// Our SVID and the bundle that verifies the broker's.
    pub identity: Arc<Identity>,
    /// The SPIFFE ID that the broker must show.
    pub broker_id: SpiffeId,
    /// Time for one call.
    pub timeout: Duration,
}

/// The same as texts, as they come from the environment or from flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `LEASEHOLD_ADDR`: `https://host:port`.
    pub addr: Option<String>,
    /// `LEASEHOLD_CERT`: PEM file with our certificate chain.
    pub cert: Option<PathBuf>,
    /// `LEASEHOLD_KEY`: PEM file with its private key.
    pub key: Option<PathBuf>,
    /// `LEASEHOLD_BUNDLE`: file with the trust bundle of our domain.
    pub bundle: Option<PathBuf>,
    /// `LEASEHOLD_BROKER_ID`: the broker's SPIFFE ID; `/leasehold` in our own trust domain unless said.
    pub broker_id: Option<String>,
    /// `SPIFFE_ENDPOINT_SOCKET`: the Workload API (`unix:///run/spire/agent.sock`), which takes the place of the three files
    /// where none of them is named.
    pub workload_api: Option<String>,
    /// `LEASEHOLD_SVID_HINT`: which SVID to take if the Workload API gives several; the first unless said.
    pub svid_hint: Option<String>,
}

impl ClientConfig {
    /// From `LEASEHOLD_ADDR`, `LEASEHOLD_BROKER_ID`, and either `LEASEHOLD_CERT`, `LEASEHOLD_KEY` and `LEASEHOLD_BUNDLE` or
    /// `SPIFFE_ENDPOINT_SOCKET` (with `LEASEHOLD_SVID_HINT`).
    ///
    /// # Errors
    /// [`ClientError::Setting`] or [`ClientError::Identity`], naming the variable or the file.
    pub async fn from_env() -> Result<Self, ClientError> {
        Settings::from_env()?.load().await
    }
}

impl Settings {
    /// Reads the environment. An empty variable counts as unset.
    ///
    /// # Errors
    /// [`ClientError::Setting`] for a text that is not UTF-8.
    pub fn from_env() -> Result<Self, ClientError> {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Ok(Self {
            addr: text("LEASEHOLD_ADDR")?,
            cert: path("LEASEHOLD_CERT"),
            key: path("LEASEHOLD_KEY"),
            bundle: path("LEASEHOLD_BUNDLE"),
            broker_id: text("LEASEHOLD_BROKER_ID")?,
            workload_api: text("SPIFFE_ENDPOINT_SOCKET")?,
            svid_hint: text("LEASEHOLD_SVID_HINT")?,
        })
    }

    /// Checks them, and reads the files or asks the Workload API, at most for
    /// [`WORKLOAD_API_TIME_MAX`](crate::limits::WORKLOAD_API_TIME_MAX).
    ///
    /// # Errors
    /// [`ClientError::Setting`] or [`ClientError::Identity`], naming the variable, the file or the socket.
    pub async fn load(self) -> Result<ClientConfig, ClientError> {
        let none_of_the_files = self.cert.is_none() && self.key.is_none() && self.bundle.is_none();
        match &self.workload_api {
            Some(socket) if none_of_the_files => {
                let addr = self.broker_addr()?;
                let identity = from_workload_api(socket, self.svid_hint.as_deref(), self.broker_id.as_deref()).await?;
                ClientConfig::of(addr, identity, self.broker_id.as_deref())
            }
            _ => self.load_files(),
        }
    }

    /// The same without the Workload API.
    ///
    /// # Errors
    /// [`ClientError::Setting`] or [`ClientError::Identity`], naming the variable or the file.
    pub fn load_files(self) -> Result<ClientConfig, ClientError> {
        let addr = self.broker_addr()?;
        let file = |setting, path: Option<PathBuf>, what| {
            path.ok_or_else(|| ClientError::setting(setting, format!("not set: it names the file with {what}")))
        };
        let cert = "your X.509-SVID (PEM), where SPIFFE_ENDPOINT_SOCKET does not name a Workload API";
        let cert = file("LEASEHOLD_CERT", self.cert, cert)?;
        let key = file("LEASEHOLD_KEY", self.key, "your SVID's private key (PEM)")?;
        let bundle = file("LEASEHOLD_BUNDLE", self.bundle, "your domain's trust bundle (PEM or SPIFFE JWKS)")?;
        let identity = Identity::from_files(&cert, &key, &bundle)?;
        ClientConfig::of(addr, identity, self.broker_id.as_deref())
    }

    fn broker_addr(&self) -> Result<String, ClientError> {
        self.addr.clone().ok_or_else(|| {
            ClientError::setting("LEASEHOLD_ADDR", "not set: where is the broker? Set it to https://host:port")
        })
    }
}

impl ClientConfig {
    fn of(addr: String, identity: Arc<Identity>, broker_id: Option<&str>) -> Result<Self, ClientError> {
        let broker_id = match broker_id {
            Some(text) => parse_broker_id(text)?,
            None => usual_broker_id(&identity)?,
        };
        Ok(Self { addr, identity, broker_id, timeout: CALL_TIME_DEFAULT })
    }
}

async fn from_workload_api(
    socket: &str,
    hint: Option<&str>,
    broker_id: Option<&str>,
) -> Result<Arc<Identity>, ClientError> {
    let wrong = |why| ClientError::setting("SPIFFE_ENDPOINT_SOCKET", format!("{socket:?} is no Workload API: {why}"));
    let api = WorkloadApi::parse(socket).map_err(wrong)?;
    let api = hint.into_iter().fold(api, WorkloadApi::with_hint);
    // The broker may be of a domain that ours federates with.
    let brokers = broker_id.map(parse_broker_id).transpose()?.map(|id| id.trust_domain().clone());
    Ok(Identity::from_workload_api(api, brokers, WORKLOAD_API_TIME_MAX).await?)
}

const BROKER_ID: &str = "LEASEHOLD_BROKER_ID";

fn parse_broker_id(text: &str) -> Result<SpiffeId, ClientError> {
    SpiffeId::parse(text).map_err(|error| ClientError::id(BROKER_ID, text, &error))
}

/// Any other workload of the domain must not be able to play the broker, so there always is one exact ID.
fn usual_broker_id(identity: &Identity) -> Result<SpiffeId, ClientError> {
    let own = identity.spiffe_id();
    own.trust_domain().id("/leasehold").map_err(|error| ClientError::id(BROKER_ID, own.as_str(), &error))
}

fn text(name: &'static str) -> Result<Option<String>, ClientError> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(ClientError::setting(name, "is not UTF-8")),
    }
}

/// Host and port of `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Authority {
    pub(crate) fn parse(addr: &str) -> Result<Self, ClientError> {
        let wrong =
            |why: &str| ClientError::setting("LEASEHOLD_ADDR", format!("{addr:?} {why}; it must be https://host:port"));
        let uri: http::Uri = addr.parse().map_err(|_| wrong("is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("does not begin with https://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a user name"));
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(wrong("holds a path"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str().ends_with(authority.host()) => 443,
            None => return Err(wrong("has a bad port")),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let shown = |text: &str| Authority::parse(text).map(|a| a.to_string()).map_err(|e| e.to_string());
        assert_eq!(shown("https://broker.internal:8443").unwrap(), "broker.internal:8443");
        assert_eq!(shown("https://broker.internal/").unwrap(), "broker.internal:443");
        assert_eq!(shown("https://[::1]:8443").unwrap(), "[::1]:8443");
        for (wrong, why) in [
            ("http://b:1", "https://"),
            ("b:8443", "https://"),
            ("https://u@b:1", "user name"),
            ("https://b:1/v1", "path"),
            ("https://b:1?x=y", "path"),
            ("https://b:99999", "port"),
            ("nonsense with spaces", "not a URL"),
        ] {
            let said = shown(wrong).unwrap_err();
            assert!(said.starts_with("LEASEHOLD_ADDR: ") && said.contains(why), "{wrong}: {said}");
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let said = async |settings: Settings| settings.load().await.unwrap_err().to_string();
        assert!(said(Settings::default()).await.starts_with("LEASEHOLD_ADDR: not set"));
        let addr = Some("https://b:1".to_owned());
        let no_cert = Settings { addr: addr.clone(), ..Settings::default() };
        assert!(said(no_cert).await.starts_with("LEASEHOLD_CERT: not set"));
        let workload_api = Some("/run/spire/agent.sock".to_owned());
        let socket = Settings { addr: addr.clone(), workload_api: workload_api.clone(), ..Settings::default() };
        assert!(said(socket).await.starts_with("SPIFFE_ENDPOINT_SOCKET: \"/run/spire/agent.sock\" is no Workload API"));
        let no_file = Some(PathBuf::from("/nowhere/cert.pem"));
        // Files that are named go before the Workload API.
        let files = Settings {
            addr,
            cert: no_file.clone(),
            key: no_file.clone(),
            bundle: no_file,
            workload_api,
            ..Settings::default()
        };
        assert!(said(files).await.contains("/nowhere/cert.pem"));
    }
}
