//! gRPC over the sockets.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Request, Response, Status};

use super::Answer;
use super::pb::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use super::pb::{X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse};

pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Answers calls.
#[derive(Clone)]
pub(super) struct Agent {
    pub(super) answer: watch::Receiver<Answer>,
    pub(super) calls: Arc<AtomicU32>,
}

/// Until it is aborted, which ends its connections too.
pub(super) async fn serve(listener: Listener, agent: Agent) {
    let mut connections = JoinSet::new();
    loop {
        match accept(&listener).await {
            Ok(Either::Unix(io)) => connections.spawn(connection(TokioIo::new(io), agent.clone())),
            Ok(Either::Tcp(io)) => connections.spawn(connection(TokioIo::new(io), agent.clone())),
            Err(_) => return,
        };
    }
}

enum Either {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

async fn accept(listener: &Listener) -> io::Result<Either> {
    match listener {
        Listener::Unix(listener) => listener.accept().await.map(|(io, _)| Either::Unix(io)),
        Listener::Tcp(listener) => listener.accept().await.map(|(io, _)| Either::Tcp(io)),
    }
}

async fn connection(io: impl Read + Write + Unpin, agent: Agent) {
    let service = service_fn(move |request| answer(agent.clone(), request));
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
}

async fn answer(agent: Agent, request: hyper::Request<Incoming>) -> Result<hyper::Response<Body>, Infallible> {
    let now = agent.answer.borrow().clone();
    match now {
        Answer::Rubbish(bytes) => {
            agent.calls.fetch_add(1, Ordering::SeqCst);
            let response = hyper::Response::builder().header("content-type", "application/grpc");
            Ok(response.body(Body::new(Full::new(Bytes::from(bytes)))).expect("a response"))
        }
        _ => SpiffeWorkloadApiServer::new(agent).call(request).await,
    }
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Agent {
    type FetchX509SVIDStream = BoxStream<'static, Result<X509svidResponse, Status>>;
    type FetchX509BundlesStream = BoxStream<'static, Result<X509BundlesResponse, Status>>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        demand_header(&request)?;
        let mut answer = self.answer.clone();
        answer.mark_changed();
        Ok(Response::new(stream::unfold(Some(answer), next).boxed()))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        demand_header(&request)?;
        Err(Status::unimplemented("nobody asks for it here"))
    }
}

/// Each answer once; a refusal is the last.
async fn next(
    answer: Option<watch::Receiver<Answer>>,
) -> Option<(Result<X509svidResponse, Status>, Option<watch::Receiver<Answer>>)> {
    let mut answer = answer?;
    loop {
        answer.changed().await.ok()?;
        let now = answer.borrow_and_update().clone();
        match now {
            Answer::Give(response) => return Some((Ok(response), Some(answer))),
            Answer::Refuse(code) => return Some((Err(Status::new(code, "no identity issued")), None)),
            Answer::Rubbish(_) => return None,
            Answer::Mute => {}
        }
    }
}

/// Without it a request may be one that somebody was tricked into sending.
fn demand_header<T>(request: &Request<T>) -> Result<(), Status> {
    match request.metadata().get("workload.spiffe.io") {
        Some(value) if value == "true" => Ok(()),
        _ => Err(Status::invalid_argument("the security header is missing")),
    }
}
