//! HTTPS: groups of lines as the bodies of POST requests, newline-delimited JSON. A group is taken when the answer is a 2xx.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use leasehold_sdk::SecretSource;
use secrecy::{ExposeSecret, SecretString};

use super::super::sink::{Group, NotTaken, Sink};
use super::{Remote, causes, connect};
use crate::config::HttpsCollector;
use crate::store::AuditHead;

/// Bytes of one request's body at most, unless one line is longer.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Of an answer, so much is read so that the connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Headers of an answer.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// A server that takes lines by POST.
pub struct HttpsSink {
    remote: Remote,
    path: String,
    host: String,
    authorization: Option<SecretSource>,
    connection: Option<Connection>,
}

struct Connection {
    send: SendRequest<Full<Bytes>>,
    /// As it was when the connection was made.
    authorization: Option<SecretString>,
}

/// What became of a request.
enum Sent {
    Taken,
    /// The connection was closed while it was idle, and nothing left.
    Unsent(io::Error),
}

impl HttpsSink {
    /// A sink that connects when there is something to send.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn new(name: String, to: HttpsCollector, patience: Duration) -> io::Result<Self> {
        let HttpsCollector { place, path, authorization } = to;
        let host = if place.port == 443 { place.host.clone() } else { format!("{}:{}", place.host, place.port) };
        Ok(Self { remote: Remote::new(name, place, patience)?, path, host, authorization, connection: None })
    }

    fn connect(&mut self) -> io::Result<()> {
        self.remote.pauses.may_try()?;
        match self.remote.within(self.open()) {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(why) => Err(self.failed(why)),
        }
    }

    async fn open(&self) -> io::Result<Connection> {
        // Read first: it may have been put there just now, and a connection made in vain helps nobody.
        let authorization = self.authorization()?;
        let stream = TokioIo::new(connect(&self.remote.place).await?);
        let spoken = http1::Builder::new().max_buf_size(HEADER_BYTES_MAX).handshake(stream).await;
        let (send, connection) = spoken.map_err(|error| causes(&error))?;
        tokio::spawn(connection);
        Ok(Connection { send, authorization })
    }

    fn authorization(&self) -> io::Result<Option<SecretString>> {
        let secret = self.authorization.as_ref().map(SecretSource::read).transpose();
        secret.map_err(|why| io::Error::other(format!("authorization: {why}")))
    }

    fn failed(&mut self, why: io::Error) -> io::Error {
        self.connection = None;
        self.remote.pauses.failed(&why);
        why
    }

    /// One request. Errors: it may have arrived.
    fn post(&mut self, batch: &[u8]) -> io::Result<Sent> {
        let Some(connection) = &mut self.connection else { return Ok(Sent::Unsent(io::Error::other("not connected"))) };
        let mut request = Request::post(&self.path)
            .header(HOST, &self.host)
            .header(USER_AGENT, concat!("leasehold/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/x-ndjson");
        if let Some(secret) = &connection.authorization {
            request = request.header(AUTHORIZATION, header(secret)?);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(batch))).map_err(io::Error::other)?;
        self.remote.within(async {
            if let Err(error) = connection.send.ready().await {
                return Ok(Sent::Unsent(causes(&error)));
            }
            let response = match connection.send.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => {
                    let never_left = error.take_message().is_some();
                    let why = causes(error.error());
                    return if never_left { Ok(Sent::Unsent(why)) } else { Err(why) };
                }
            };
            let status = response.status();
            if !status.is_success() {
                return Err(io::Error::other(format!("it answers {}", status.as_u16())));
            }
            // Whoever says that it took the lines has taken them, whatever comes after.
            let _ = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(Sent::Taken)
        })
    }

    /// Sends a batch, on another connection where the kept one turns out to be closed.
    fn send(&mut self, batch: &[u8]) -> Result<(), NotTaken> {
        for is_kept in [self.connection.is_some(), false] {
            if self.connection.is_none() {
                self.connect()?;
            }
            match self.post(batch) {
                Ok(Sent::Taken) => {
                    self.remote.pauses.worked();
                    return Ok(());
                }
                Ok(Sent::Unsent(_)) if is_kept => self.connection = None,
                Ok(Sent::Unsent(why)) => return Err(self.failed(why).into()),
                Err(why) => return Err(NotTaken { why: self.failed(why), may_have_it: true }),
            }
        }
        Err(io::Error::other("there is no connection").into())
    }
}

impl Sink for HttpsSink {
    fn name(&self) -> &str {
        &self.remote.name
    }

    fn is_collector(&self) -> bool {
        true
    }

    /// A connection that is idle may be closed by either side at any time, which says nothing. One that failed is made again, so
    /// that what waits for it goes on.
    fn prepare(&mut self, _head: &AuditHead) -> io::Result<()> {
        if self.connection.as_ref().is_some_and(|connection| connection.send.is_closed()) {
            self.connection = None;
        }
        if self.remote.pauses.is_down() && self.connection.is_none() { self.connect() } else { Ok(()) }
    }

    fn append(&mut self, group: &Group) -> Result<(), NotTaken> {
        let mut sent_some = false;
        for batch in batches(&group.bytes) {
            self.send(batch).map_err(|not| NotTaken { may_have_it: not.may_have_it || sent_some, ..not })?;
            sent_some = true;
        }
        Ok(())
    }
}

/// What hyper and TLS make of it on its way is not ours to wipe.
fn header(secret: &SecretString) -> io::Result<HeaderValue> {
    let value = HeaderValue::from_str(secret.expose_secret());
    let mut value = value.map_err(|_| io::Error::other("authorization: it has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whole lines, at most [`BATCH_BYTES_MAX`] together.
fn batches(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = match bytes.get(..BATCH_BYTES_MAX) {
            _ if bytes.is_empty() => return None,
            None => bytes.len(),
            Some(most) => {
                let in_time = most.iter().rposition(|byte| *byte == b'\n');
                let at = in_time.or_else(|| bytes.iter().position(|byte| *byte == b'\n'));
                at.map_or(bytes.len(), |at| at + 1)
            }
        };
        let (batch, rest) = bytes.split_at(end);
        bytes = rest;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_whole_lines() {
        let line = |bytes: usize| [&b"x".repeat(bytes - 1)[..], b"\n"].concat();
        let sizes = |bytes: &[u8]| batches(bytes).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(b""), [0; 0]);
        assert_eq!(sizes(b"a\nb\n"), [4]);
        let text = [line(600_000), line(400_000), line(100_000), line(BATCH_BYTES_MAX + 5), line(3)].concat();
        assert_eq!(sizes(&text), [1_000_000, 100_000, BATCH_BYTES_MAX + 5, 3]);
        assert!(batches(&text).all(|batch| batch.ends_with(b"\n")));
    }
}
