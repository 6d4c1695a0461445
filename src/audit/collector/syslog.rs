//! Syslog over TLS: RFC 5424 messages, each counted in octets as RFC 5425 frames them, the JSON line as the message.
//!
//! The protocol has no acknowledgement: a line counts as taken when it was written to the TLS connection and flushed. So what
//! was sent within the last minute before a connection broke is sent again on the next one; lines that come twice are known by
//! their `seq`.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use leasehold_sdk::clock;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use super::super::sink::{Group, NotTaken, Sink};
use super::{Remote, Stream, connect};
use crate::config::Collector;
use crate::store::AuditHead;
use crate::telemetry::process;

/// Facility 13, log audit, and severity 6, informational (RFC 5424, section 6.2.1).
const PRIORITY: u8 = 13 * 8 + 6;
/// Longest host name and message id (RFC 5424, section 6).
const HOST_BYTES_MAX: usize = 255;
const MESSAGE_ID_BYTES_MAX: usize = 32;
/// What is sent again when a connection breaks: what was sent within this time, and at most so much of it.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);
const AGAIN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a new connection is watched before it is used: in TLS 1.3 a server that refuses our certificate says so only after
/// the handshake.
const WATCHED: Duration = Duration::from_millis(200);
/// One that does not live longer than this counts as a try that failed.
const YOUNG: Duration = Duration::from_secs(5);
/// How long the end waits for the other side to have read what was sent.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// A syslog server.
pub struct SyslogSink {
    remote: Remote,
    /// What stands between time and message id in each message.
    origin: String,
    connection: Option<Connection>,
    /// What is sent again when the connection breaks, oldest first.
    sent: VecDeque<Sent>,
    sent_bytes: usize,
    /// The last line before those: had it not arrived, the connection would have broken long since.
    certain: Option<AuditHead>,
}

/// Frames that were written, when by the boot clock, and the last line in them.
struct Sent {
    at: Duration,
    frames: Vec<u8>,
    head: AuditHead,
}

struct Connection {
    write: WriteHalf<Box<dyn Stream>>,
    /// Says when the other side is gone, and why.
    gone: Arc<OnceLock<String>>,
    watch: JoinHandle<()>,
    since: Duration,
}

impl SyslogSink {
    /// A sink that connects when it is first prepared.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn new(name: String, place: Collector, patience: Duration) -> io::Result<Self> {
        let origin = format!("{} leasehold {}", header(&process::host(), HOST_BYTES_MAX), std::process::id());
        let remote = Remote::new(name, place, patience)?;
        Ok(Self { remote, origin, connection: None, sent: VecDeque::new(), sent_bytes: 0, certain: None })
    }

    /// Makes sure of a connection.
    fn ready(&mut self) -> io::Result<()> {
        if let Some(why) = self.connection.as_ref().and_then(|connection| connection.gone.get()) {
            let why = io::Error::other(format!("it closed the connection, {why}"));
            tracing::info!(sink = self.remote.name, %why, lines_again = !self.sent.is_empty(), "an audit collector is gone");
            self.broke(&why);
        }
        if self.connection.is_some() {
            return Ok(());
        }
        self.remote.pauses.may_try()?;
        match self.remote.within(self.open()) {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(why) => {
                self.remote.pauses.failed(&why);
                Err(why)
            }
        }
    }

    async fn open(&self) -> io::Result<Connection> {
        let (read, write) = tokio::io::split(connect(&self.remote.place).await?);
        let gone = Arc::new(OnceLock::new());
        let watch = tokio::spawn(watch(read, Arc::clone(&gone)));
        let mut connection = Connection { write, gone, watch, since: clock::boot() };
        for sent in &self.sent {
            connection.write.write_all(&sent.frames).await?;
        }
        connection.write.flush().await?;
        if tokio::time::timeout(WATCHED.min(self.remote.patience / 4), &mut connection.watch).await.is_ok() {
            let why = connection.gone.get().map_or("", String::as_str);
            return Err(io::Error::other(format!("it closes the connection, {why}")));
        }
        Ok(connection)
    }

    fn broke(&mut self, why: &io::Error) {
        let lived = self.connection.take().map_or(Duration::ZERO, |old| clock::boot().saturating_sub(old.since));
        match lived < YOUNG {
            true => self.remote.pauses.failed(why),
            false => self.remote.pauses.worked(),
        }
    }

    fn forget_old(&mut self) {
        let now = clock::boot();
        while let Some(oldest) = self.sent.front() {
            if now.saturating_sub(oldest.at) <= AGAIN_WITHIN && self.sent_bytes <= AGAIN_BYTES_MAX {
                return;
            }
            self.sent_bytes -= oldest.frames.len();
            self.certain = self.sent.pop_front().map(|sent| sent.head);
        }
    }

    fn frames(&self, lines: &[u8]) -> io::Result<Vec<u8>> {
        let mut frames = Vec::with_capacity(lines.len() + lines.len() / 4);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            frame(&mut frames, &self.origin, line)?;
        }
        Ok(frames)
    }
}

impl Sink for SyslogSink {
    fn name(&self) -> &str {
        &self.remote.name
    }

    fn is_collector(&self) -> bool {
        true
    }

    fn certain(&self, last: &AuditHead) -> AuditHead {
        let before = || self.certain.as_ref().unwrap_or(last);
        if self.sent.is_empty() { last.clone() } else { before().clone() }
    }

    fn prepare(&mut self, head: &AuditHead) -> io::Result<()> {
        self.certain.get_or_insert_with(|| head.clone());
        self.forget_old();
        self.ready()
    }

    fn append(&mut self, group: &Group) -> Result<(), NotTaken> {
        self.ready()?;
        let frames = self.frames(&group.bytes)?;
        let Some(connection) = &mut self.connection else {
            return Err(io::Error::other("there is no connection").into());
        };
        let written = self.remote.within(async {
            connection.write.write_all(&frames).await?;
            connection.write.flush().await
        });
        match written {
            Ok(()) => {
                if clock::boot().saturating_sub(connection.since) >= YOUNG {
                    self.remote.pauses.worked();
                }
                self.sent_bytes += frames.len();
                self.sent.push_back(Sent { at: clock::boot(), frames, head: group.head.clone() });
                self.forget_old();
                Ok(())
            }
            Err(why) => {
                self.broke(&why);
                Err(NotTaken { why, may_have_it: true })
            }
        }
    }
}

impl Drop for SyslogSink {
    /// With TLS's goodbye (RFC 5425, section 4.4), and not before the other side has read what came before it.
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let _ = self.remote.within(async {
            connection.write.shutdown().await?;
            let _ = tokio::time::timeout(GOODBYE_MAX, &mut connection.watch).await;
            Ok(())
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Reads what nobody should send, until the other side is gone.
async fn watch(mut read: ReadHalf<Box<dyn Stream>>, gone: Arc<OnceLock<String>>) {
    let mut rubbish = [0; 512];
    let why = loop {
        match read.read(&mut rubbish).await {
            Ok(0) => break "with TLS's goodbye".to_owned(),
            Ok(_) => {}
            // The library's own words for it are a page of documentation.
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => break "without TLS's goodbye".to_owned(),
            Err(why) => break why.to_string(),
        }
    };
    let _ = gone.set(why);
}

/// Appends a line as a counted message (RFC 5425, section 4.3).
fn frame(out: &mut Vec<u8>, origin: &str, line: &[u8]) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        at: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        event: std::borrow::Cow<'a, str>,
    }
    let members: Members<'_> = serde_json::from_slice(line)?;
    let id = header(&members.event, MESSAGE_ID_BYTES_MAX);
    let head = format!("<{PRIORITY}>1 {} {origin} {id} - ", members.at);
    out.extend_from_slice((head.len() + line.len()).to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(line);
    Ok(())
}

/// A field of the header: visible ASCII, bounded; `-` where there is none.
fn header(text: &str, bytes_max: usize) -> String {
    let kept: String = text.chars().filter(char::is_ascii_graphic).take(bytes_max).collect();
    if kept.is_empty() { "-".to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_counted_message() {
        let line = r#"{"seq":1,"at":"2026-01-02T03:04:05.678Z","chain":"c","event":"decision","note":"é"}"#;
        let mut out = Vec::new();
        frame(&mut out, "host leasehold 7", line.as_bytes()).unwrap();
        let message = format!("<110>1 2026-01-02T03:04:05.678Z host leasehold 7 decision - {line}");
        assert_eq!(String::from_utf8(out).unwrap(), format!("{} {message}", message.len()));
        assert_eq!(header("a b\u{e9}\nc", 3), "abc");
        assert_eq!(header(" ", 3), "-");
    }
}
