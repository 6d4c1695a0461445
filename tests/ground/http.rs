//! HTTP/1.1 by hand over mTLS: what a good client never sends must be sendable.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use leasehold_identity::{Connector, HandshakeError, Identity};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SOON;

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// One connection.
pub struct Line {
    wire: Box<dyn Wire>,
    got: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// Demands a problem document of this status, and answers it.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let document = self.json();
        assert_eq!(document["status"], status, "{document}");
        assert!(document["type"].as_str().is_some_and(|t| t.starts_with("urn:leasehold:problem:")), "{document}");
        for member in ["title", "detail", "request_id"] {
            assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{member} is missing: {document}");
        }
        assert_eq!(self.header("x-request-id"), document["request_id"].as_str());
        document
    }
}

/// A request as text. A body comes as JSON.
pub fn request(method: &str, uri: &str, body: Option<&str>) -> String {
    let mut text = format!("{method} {uri} HTTP/1.1\r\nhost: broker\r\n");
    if let Some(body) = body {
        text += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    text + "\r\n" + body.unwrap_or_default()
}

impl Line {
    /// Shakes hands. A refusal by the broker shows at the first read only (TLS 1.3).
    pub async fn open(to: SocketAddr, identity: &Arc<Identity>) -> Result<Self, HandshakeError> {
        Self::open_as(to, identity, &["http/1.1"]).await
    }

    /// The same, offering these protocols (ALPN).
    pub async fn open_as(to: SocketAddr, identity: &Arc<Identity>, alpn: &[&str]) -> Result<Self, HandshakeError> {
        let broker = identity.spiffe_id().trust_domain().id("/leasehold").expect("an ID");
        Self::open_to(to, identity, broker.as_str(), alpn).await
    }

    /// The same, to a broker of this ID.
    pub async fn open_to(
        to: SocketAddr,
        identity: &Arc<Identity>,
        broker: &str,
        alpn: &[&str],
    ) -> Result<Self, HandshakeError> {
        let broker = leasehold_identity::SpiffeId::parse(broker).expect("an ID");
        let alpn = alpn.iter().map(|protocol| protocol.as_bytes().to_vec());
        let connector = Connector::new(identity.clone(), broker).with_alpn(alpn);
        let tcp = TcpStream::connect(to).await.expect("connect");
        tcp.set_nodelay(true).expect("set nodelay");
        let tls = timeout(SOON, connector.connect(tcp)).await.expect("a handshake in time")?;
        Ok(Self::over(tls))
    }

    /// A connection that is reset (RST) when it is dropped, as that of a process that died with unread data.
    pub async fn open_resetting(to: SocketAddr, identity: &Arc<Identity>) -> Self {
        let broker = identity.spiffe_id().trust_domain().id("/leasehold").expect("an ID");
        let tcp = TcpStream::connect(to).await.expect("connect");
        tcp.set_zero_linger().expect("have it reset when dropped");
        let connector = Connector::new(identity.clone(), broker);
        Self::over(timeout(SOON, connector.connect(tcp)).await.expect("a handshake in time").expect("a handshake"))
    }

    /// Over any stream.
    pub fn over(wire: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self { wire: Box::new(wire), got: Vec::new() }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        timeout(SOON, self.wire.write_all(bytes.as_ref())).await.expect("it takes the bytes")?;
        self.wire.flush().await
    }

    /// Sends bytes and reads one answer, which must come.
    pub async fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes).await.expect("send");
        self.answer().await.expect("read an answer").expect("an answer")
    }

    /// One request and its answer.
    pub async fn ask(&mut self, method: &str, uri: &str, body: Option<&str>) -> Answer {
        self.exchange(request(method, uri, body)).await
    }

    /// The next answer; `None` when the broker has closed instead.
    pub async fn answer(&mut self) -> io::Result<Option<Answer>> {
        loop {
            if let Some((answer, length)) = parse(&self.got) {
                self.got.drain(..length);
                if answer.status != 100 {
                    return Ok(Some(answer));
                }
                continue;
            }
            let mut chunk = [0; 16 * 1024];
            let n = timeout(SOON, self.wire.read(&mut chunk)).await.expect("an answer or an end in time")?;
            if n == 0 {
                assert!(self.got.is_empty(), "cut off: {}", String::from_utf8_lossy(&self.got));
                return Ok(None);
            }
            self.got.extend_from_slice(&chunk[..n]);
        }
    }

    /// Reads until this text has come, and answers all that has come.
    pub async fn read_until(&mut self, text: &str) -> String {
        let reading = async {
            while !String::from_utf8_lossy(&self.got).contains(text) {
                let count = self.wire.read_buf(&mut self.got).await.expect("read the answer");
                assert!(count > 0, "the answer ends early: {}", String::from_utf8_lossy(&self.got));
            }
        };
        timeout(SOON, reading).await.expect("the answer comes");
        String::from_utf8_lossy(&std::mem::take(&mut self.got)).into_owned()
    }

    /// Demands that the broker closes, without a further answer.
    pub async fn assert_closed(&mut self) {
        if let Ok(Some(answer)) = self.answer().await {
            panic!("not closed: {answer:?}");
        }
    }

    /// Ends the connection with TLS's goodbye.
    pub async fn close(mut self) {
        timeout(SOON, self.wire.shutdown()).await.expect("it takes the goodbye").expect("say goodbye");
    }
}

/// One whole answer at the head of `bytes`, with its length.
fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
    let header = |line: &str| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
    let headers: Vec<_> = lines.filter_map(header).collect();
    let chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
    assert!(!chunked, "the broker's answers have a length: {head}");
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().expect("a length"));
    let whole = end + 4 + length;
    let body = String::from_utf8_lossy(bytes.get(end + 4..whole)?).into_owned();
    Some((Answer { status, headers, body }, whole))
}
