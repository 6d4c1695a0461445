//! Sinks on other machines. Each has a thread of its own for its connection, a deadline for whatever it waits for, and pauses
//! between tries that grow.

mod https;
mod syslog;

use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;

use leasehold_sdk::{clock, random};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

pub use https::HttpsSink;
pub use syslog::SyslogSink;

use crate::config::Collector;

/// First and longest pause between two tries. What is required hands nothing out meanwhile, so they are short.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// What was sent and not acknowledged by the other machine's kernel for so long breaks the connection.
const UNACKNOWLEDGED_MILLISECONDS_MAX: u32 = 10_000;
/// A connection that is quiet for so long is asked whether it lives, so often, before it is taken for broken.
const QUIET_MAX: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES_MAX: u32 = 3;

/// A connection.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Where a collector is, and how it is reached.
struct Remote {
    name: String,
    place: Collector,
    /// Time for one try: `audit_send_milliseconds_max`.
    patience: Duration,
    pauses: Pauses,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Remote {
    fn new(name: String, place: Collector, patience: Duration) -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("audit-collector").enable_all().build()?;
        Ok(Self { name, place, patience, pauses: Pauses::default(), runtime: Some(runtime) })
    }

    /// Does `work` within the time for one try.
    fn within<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let Some(runtime) = &self.runtime else { return Err(io::Error::other("it is closed")) };
        let late = || {
            let why = format!("no answer within {} ms (audit_send_milliseconds_max)", self.patience.as_millis());
            io::Error::new(io::ErrorKind::TimedOut, why)
        };
        runtime.block_on(async { tokio::time::timeout(self.patience, work).await.map_err(|_| late())? })
    }
}

/// Whether a collector can be reached now and is who it should be: for `check`. In TLS 1.3 a server that refuses our certificate
/// says so only later.
///
/// # Errors
/// Why not.
pub async fn reach(place: &Collector, patience: Duration) -> io::Result<()> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", patience.as_millis()));
    let hello_and_goodbye = async { connect(place).await?.shutdown().await };
    tokio::time::timeout(patience, hello_and_goodbye).await.map_err(|_| late())?
}

/// Connects, within the time that whoever calls gives it.
async fn connect(place: &Collector) -> io::Result<Box<dyn Stream>> {
    let tcp = TcpStream::connect((place.host.as_str(), place.port)).await?;
    tcp.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(&tcp, UNACKNOWLEDGED_MILLISECONDS_MAX)?;
    sockopt::set_socket_keepalive(&tcp, true)?;
    sockopt::set_tcp_keepidle(&tcp, QUIET_MAX)?;
    sockopt::set_tcp_keepintvl(&tcp, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(&tcp, PROBES_MAX)?;
    let tls = place.tls.connect(&place.host, tcp).await;
    Ok(Box::new(tls.map_err(|error| io::Error::other(error.to_string()))?))
}

impl Drop for Remote {
    /// Without waiting: whoever drops it may be a task of another runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Pauses between tries that fail.
#[derive(Default)]
struct Pauses {
    pause: Duration,
    /// By the boot clock.
    until: Duration,
    why: String,
}

impl Pauses {
    /// Whether it may be tried now.
    fn may_try(&self) -> io::Result<()> {
        if clock::boot() >= self.until { Ok(()) } else { Err(io::Error::other(self.why.clone())) }
    }

    /// Whether the last try failed.
    fn is_down(&self) -> bool {
        !self.pause.is_zero()
    }

    fn failed(&mut self, why: &io::Error) {
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        // Many brokers lost the same collector at the same moment.
        self.until = clock::boot() + self.pause.mul_f64(0.8 + 0.2 * random::fraction());
        self.why = why.to_string();
    }

    fn worked(&mut self) {
        *self = Self::default();
    }
}

/// An error with its causes.
fn causes(error: &dyn Error) -> io::Error {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    io::Error::other(text)
}
