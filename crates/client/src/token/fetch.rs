//! One GET from an issuer, with limits on its time and size. Redirects are not followed: what is asked for is at one address.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use leasehold_identity::{AnonymousConnector, HostTls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::IssuerTls;
use crate::connection::causes;
use crate::limits::HEADER_BYTES_MAX;

/// Fetches from one issuer.
pub(super) struct Https {
    tls: Tls,
}

enum Tls {
    Broker(AnonymousConnector),
    Web(HostTls),
}

/// An answer.
pub(super) struct Answer {
    pub(super) body: Bytes,
    /// How long it may be kept, if the server said so.
    pub(super) max_age: Option<Duration>,
}

impl Https {
    pub(super) fn new(tls: &IssuerTls) -> Self {
        let tls = match tls {
            IssuerTls::Broker { id, bundle } => Tls::Broker(AnonymousConnector::new(id.clone(), bundle.clone())),
            IssuerTls::Web { ca } => Tls::Web(HostTls { ca: ca.clone(), client: None }),
        };
        Self { tls }
    }

    /// The document at `url`, which is known to begin with the issuer. Its time is bounded by whoever calls.
    ///
    /// # Errors
    /// Why there is none. Nothing of the text of an answer is in it.
    pub(super) async fn get(&self, url: &str, accept: &'static str, bytes_max: usize) -> Result<Answer, String> {
        let got = self.get_from(&Place::parse(url).ok_or("it is no https URL")?, accept, bytes_max).await;
        got.map_err(|why| format!("{url}: {why}"))
    }

    async fn get_from(&self, place: &Place, accept: &'static str, bytes_max: usize) -> Result<Answer, String> {
        let tcp = TcpStream::connect((place.bare_host(), place.port)).await;
        let tcp = tcp.map_err(|error| format!("it cannot be reached: {error}"))?;
        match &self.tls {
            Tls::Broker(connector) => {
                let stream = connector.connect(tcp).await;
                let stream = stream.map_err(|e| format!("it is not {}: {e}", connector.server_id()))?;
                get(stream, place, accept, bytes_max).await
            }
            Tls::Web(host) => {
                let stream = host.connect(&place.host, tcp).await.map_err(|error| error.to_string())?;
                get(stream, place, accept, bytes_max).await
            }
        }
    }
}

async fn get<IO>(stream: IO, place: &Place, accept: &'static str, bytes_max: usize) -> Result<Answer, String>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broke = |error: hyper::Error| format!("the connection broke: {}", causes(&error));
    let builder = &mut hyper::client::conn::http1::Builder::new();
    let (mut send, connection) =
        builder.max_buf_size(HEADER_BYTES_MAX).handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let request = Request::get(place.path.clone())
        .header(HOST, &place.authority)
        .header(ACCEPT, accept)
        .header(USER_AGENT, concat!("leasehold/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = send.send_request(request).await.map_err(broke)?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}", response.status().as_u16()));
        }
        let max_age = max_age(response.headers());
        let body = match Limited::new(response.into_body(), bytes_max).collect().await {
            Ok(whole) => whole.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(format!("it is larger than {bytes_max} bytes")),
            Err(error) => return Err(format!("the connection broke: {}", causes(&*error))),
        };
        Ok(Answer { body, max_age })
    };
    // The connection moves only while it is polled; it ends by itself when the answer is there.
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(broke(error)),
        },
    }
}

/// RFC 9111 section 5.2.2.1.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = said.split(',').find_map(|directive| directive.trim().strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

/// `https://host[:port]/path`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    host: String,
    port: u16,
    authority: String,
    path: PathAndQuery,
}

impl Place {
    /// `None`: it is no such URL.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https") && !url.contains('#'))?;
        let port = match authority.port_u16() {
            Some(0) => return None,
            Some(port) => port,
            None if authority.as_str() == authority.host() => 443,
            None => return None,
        };
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Some(Self { host: authority.host().to_owned(), port, authority: authority.to_string(), path })
    }

    /// As it is looked up: an IPv6 address without its brackets.
    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = Place::parse("https://[::1]:8440/oauth2/jwks").unwrap();
        assert_eq!((place.bare_host(), place.port, place.path.as_str()), ("::1", 8440, "/oauth2/jwks"));
        assert_eq!(Place::parse("https://l.example").unwrap().port, 443);
        for bad in [
            "http://l.example/",
            "l.example",
            "",
            "https://u@l.example/",
            "https://l.example:0/",
            "https://l.example/#a",
        ] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn how_long_it_may_be_kept() {
        let said = |text: &str| max_age(&HeaderMap::from_iter([(CACHE_CONTROL, text.parse().unwrap())]));
        assert_eq!(said("public, max-age=300"), Some(Duration::from_secs(300)));
        assert_eq!(said("max-age=0"), Some(Duration::ZERO));
        assert_eq!(said("no-store"), None);
        assert_eq!(said("max-age=-1"), None);
    }
}
