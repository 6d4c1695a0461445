//! The call itself: gRPC over a socket.

use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::address::Socket;
use super::wire::{FETCH_X509_SVID, Request, Response, SECURITY_HEADER};
use super::{Update, WorkloadApi};
use crate::IdentityError;
use crate::error::tame;
use crate::limits::{
    WORKLOAD_API_ANSWER_MS_MAX, WORKLOAD_API_CONNECT_MS_MAX, WORKLOAD_API_MESSAGE_BYTES_MAX, WORKLOAD_API_RETRY_MS_MAX,
    WORKLOAD_API_RETRY_MS_MIN,
};

/// Why there is no message.
#[derive(Debug)]
pub(super) enum Failure {
    /// To be tried again.
    Broken(String),
    /// We have no identity there (any more). To be tried again: it may be registered later.
    Denied(String),
    /// Asking again would not help (Workload Endpoint 6).
    Hopeless(String),
}

impl Failure {
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Broken(why) | Self::Denied(why) | Self::Hopeless(why) => why,
        }
    }
}

/// Asks until there is a first good message, at most for this long.
pub(crate) async fn first(api: &WorkloadApi, time_max: Duration) -> Result<Update, IdentityError> {
    let mut last = "it did not answer in time".to_owned();
    let asked = timeout(time_max, ask_until_good(api, &mut last)).await;
    match asked {
        Ok(Ok(update)) => Ok(update),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(IdentityError::WorkloadApi { address: api.to_string(), why: last }),
    }
}

/// Keeps in `last` why there is nothing yet.
async fn ask_until_good(api: &WorkloadApi, last: &mut String) -> Result<Update, IdentityError> {
    let mut pause = Pause::default();
    loop {
        let failure = match Call::open(api).await {
            Ok(mut call) => match call.next().await {
                Ok(message) => match Update::read(message, api) {
                    Ok(update) => return Ok(update),
                    Err(discarded) => Failure::Broken(discarded),
                },
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        failure.why().clone_into(last);
        if let Failure::Hopeless(why) = failure {
            return Err(IdentityError::WorkloadApi { address: api.to_string(), why });
        }
        pause.wait().await;
    }
}

/// One open stream.
pub(super) struct Call {
    messages: Streaming<Response>,
}

impl Call {
    /// Connects and asks.
    pub(super) async fn open(api: &WorkloadApi) -> Result<Self, Failure> {
        let socket = api.socket().clone();
        // The name is never resolved; gRPC wants one. No keep-alive: servers take pings more often than every five minutes
        // for abuse, and hang up.
        let endpoint = Endpoint::from_static("http://localhost");
        let connecting = endpoint.connect_with_connector(tower::service_fn(move |_| connect(socket.clone())));
        let channel = in_time(WORKLOAD_API_CONNECT_MS_MAX, connecting).await?.map_err(|e| broken(&e))?;
        in_time(WORKLOAD_API_ANSWER_MS_MAX, Self::ask(channel)).await?
    }

    async fn ask(channel: Channel) -> Result<Self, Failure> {
        let mut grpc = Grpc::new(channel).max_decoding_message_size(WORKLOAD_API_MESSAGE_BYTES_MAX);
        grpc.ready().await.map_err(|e| broken(&e))?;
        let mut request = tonic::Request::new(Request {});
        let (header, value) = SECURITY_HEADER;
        request.metadata_mut().insert(header, MetadataValue::from_static(value));
        let (path, codec) = (PathAndQuery::from_static(FETCH_X509_SVID), ProstCodec::<Request, Response>::default());
        let answer = grpc.server_streaming(request, path, codec).await.map_err(|status| refused(&status))?;
        Ok(Self { messages: answer.into_inner() })
    }

    /// The next message, however long it takes.
    pub(super) async fn next(&mut self) -> Result<Response, Failure> {
        match self.messages.message().await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Failure::Broken("it ended the stream".into())),
            Err(status) => Err(refused(&status)),
        }
    }
}

/// Either kind of connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(socket: Socket) -> std::io::Result<TokioIo<Box<dyn Stream>>> {
    let stream: Box<dyn Stream> = match socket {
        Socket::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Socket::Tcp(address) => Box::new(TcpStream::connect(address).await?),
    };
    Ok(TokioIo::new(stream))
}

async fn in_time<T>(ms_max: u64, doing: impl Future<Output = T>) -> Result<T, Failure> {
    let late = || Failure::Broken(format!("it did not answer within {ms_max} ms"));
    timeout(Duration::from_millis(ms_max), doing).await.map_err(|_| late())
}

/// Libraries hide the cause below their own words.
fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    Failure::Broken(format!("it cannot be reached: {}", tame(&cause.to_string())))
}

fn refused(status: &Status) -> Failure {
    let said = tame(status.message());
    match status.code() {
        Code::PermissionDenied => Failure::Denied(format!("it has no identity for this process ({said})")),
        code @ (Code::InvalidArgument | Code::Unimplemented) => {
            Failure::Hopeless(format!("it cannot answer and is not asked again: {code} ({said})"))
        }
        code => Failure::Broken(format!("the stream broke: {code} ({said})")),
    }
}

/// How long to wait before asking again: longer each time.
#[derive(Debug)]
pub(super) struct Pause {
    next_ms: u64,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next_ms: WORKLOAD_API_RETRY_MS_MIN }
    }
}

impl Pause {
    pub(super) async fn wait(&mut self) {
        let now_ms = self.next_ms;
        self.next_ms = (now_ms * 2).min(WORKLOAD_API_RETRY_MS_MAX);
        sleep(Duration::from_millis(now_ms)).await;
    }
}
