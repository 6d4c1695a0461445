//! Has a credential reached its caller? What has not is ended at once (law 1).
//!
//! A credential counts as delivered when its bytes were flushed into the socket and the connection was not reset soon
//! after. A client that had hung up answers our bytes with a reset; one that reads them and then closes does not.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use leasehold_sdk::clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::lease::Delivery;

/// A reset this long after the flush says nothing about the credential any more.
const RESET_WITHIN: Duration = Duration::from_secs(3);

/// The credentials under way on one connection.
#[derive(Clone, Default)]
pub(super) struct Deliveries(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Given to the connection, not yet flushed.
    handed: Vec<Delivery>,
    /// Flushed, at this boot time.
    flushed: Vec<(Duration, Delivery)>,
    /// The connection was reset or could not be written.
    broken: bool,
}

impl Deliveries {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another request came: whoever sent it has read the answer before.
    pub(super) fn next_request(&self) {
        let known = self.with(|s| std::mem::take(&mut s.flushed));
        known.into_iter().for_each(|(_, delivery)| delivery.delivered());
    }

    fn handed(&self, delivery: Delivery) {
        self.with(|s| s.handed.push(delivery));
    }

    fn was_flushed(&self) {
        self.with(|s| {
            if !s.handed.is_empty() {
                let now = clock::boot();
                let handed = std::mem::take(&mut s.handed);
                s.flushed.extend(handed.into_iter().map(|d| (now, d)));
            }
        });
    }

    fn broke(&self) {
        self.with(|s| s.broken = true);
    }

    /// The connection is over: what was flushed into it and not reset is delivered, the rest is not.
    pub(super) fn connection_ended(&self) {
        let State { handed, flushed, broken } = self.with(std::mem::take);
        let now = clock::boot();
        drop(handed);
        for (at, delivery) in flushed {
            if !broken || now.saturating_sub(at) > RESET_WITHIN {
                delivery.delivered();
            }
        }
    }
}

/// The body of an answer with a credential in it.
pub(super) struct CredentialBody {
    bytes: Option<Bytes>,
    /// Dropped with the body if nobody ever asks for its bytes.
    delivery: Option<Delivery>,
    connection: Deliveries,
}

impl CredentialBody {
    pub(super) fn new(bytes: Bytes, delivery: Delivery, connection: Deliveries) -> Self {
        Self { bytes: Some(bytes), delivery: Some(delivery), connection }
    }
}

impl http_body::Body for CredentialBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = self.bytes.take().map(|bytes| Ok(Frame::data(bytes)));
        if let Some(delivery) = self.delivery.take() {
            self.connection.handed(delivery);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |b| b.len() as u64))
    }
}

/// A connection whose flushes and breaks are noted. HTTP/1 flushes only when all it was given is written.
pub(super) struct Watched<IO> {
    io: IO,
    deliveries: Deliveries,
}

impl<IO> Watched<IO> {
    pub(super) fn new(io: IO, deliveries: Deliveries) -> Self {
        Self { io, deliveries }
    }

    /// The other side closing is no break: a client may read its answer and close.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(e) = &result
            && e.kind() != io::ErrorKind::UnexpectedEof
        {
            self.deliveries.broke();
        }
        result
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        Poll::Ready(self.note(result))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write(cx, buf));
        Poll::Ready(self.note(result))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.io).poll_flush(cx));
        if result.is_ok() {
            self.deliveries.was_flushed();
        }
        Poll::Ready(self.note(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
