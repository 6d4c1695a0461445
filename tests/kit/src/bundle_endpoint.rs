//! A SPIFFE bundle endpoint on loopback, by host name or by SPIFFE ID, which changes its mind on command.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use leasehold_identity::SpiffeId;
use leasehold_identity::dev::DevCa;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::ca::database_tls;
use crate::collector::server_config;

/// What is answered to a GET.
#[derive(Clone, Debug)]
pub enum BundleAnswer {
    /// This document.
    Document(String),
    /// This status, for a redirect with its `Location`.
    Status(u16, Option<String>),
    /// Nothing, on a connection that stays open.
    Silence,
    /// The connection is closed before TLS.
    Away,
}

/// The endpoint. Dropping it closes every connection.
pub struct BundleEndpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    tls: Mutex<Arc<ServerConfig>>,
    answer: Mutex<BundleAnswer>,
    fetches: AtomicU32,
}

impl BundleEndpoint {
    /// One with a certificate for `localhost` and `127.0.0.1`; its authority in PEM comes with it.
    pub async fn web(document: &str) -> (Self, String) {
        let (tls, ca_pem) = database_tls(None);
        let config = server_config(&tls.cert_pem, &tls.key_pem, None);
        (Self::start(config, document).await, ca_pem)
    }

    /// One with an SVID of this authority.
    pub async fn spiffe(ca: &DevCa, id: &str, document: &str) -> Self {
        Self::start(svid_config(ca, id), document).await
    }

    async fn start(tls: ServerConfig, document: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            tls: Mutex::new(Arc::new(tls)),
            answer: Mutex::new(BundleAnswer::Document(document.to_owned())),
            fetches: AtomicU32::new(0),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// `https://localhost:PORT/bundle`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}/bundle", self.address.port())
    }

    /// Answers this from now on.
    pub fn answer(&self, answer: BundleAnswer) {
        *self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// Gives this document from now on.
    pub fn give(&self, document: &str) {
        self.answer(BundleAnswer::Document(document.to_owned()));
    }

    /// Shows an SVID of this authority from now on.
    pub fn show(&self, ca: &DevCa, id: &str) {
        *self.shared.tls.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(svid_config(ca, id));
    }

    /// How many connections there have been.
    #[must_use]
    pub fn fetches(&self) -> u32 {
        self.shared.fetches.load(Ordering::SeqCst)
    }
}

impl Drop for BundleEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        shared.fetches.fetch_add(1, Ordering::SeqCst);
        connections.spawn(connection(tcp, Arc::clone(&shared)));
    }
}

async fn connection(tcp: TcpStream, shared: Arc<Shared>) {
    let now = shared.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if matches!(now, BundleAnswer::Away) {
        return;
    }
    let tls = Arc::clone(&shared.tls.lock().unwrap_or_else(PoisonError::into_inner));
    let Ok(stream) = TlsAcceptor::from(tls).accept(tcp).await else { return };
    let service = service_fn(move |request| answer(now.clone(), request));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(now: BundleAnswer, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, location, body) = match now {
        BundleAnswer::Document(document) if request.uri().path() == "/bundle" => (200, None, document),
        BundleAnswer::Document(_) => (404, None, String::new()),
        BundleAnswer::Status(status, location) => (status, location, String::new()),
        BundleAnswer::Silence | BundleAnswer::Away => std::future::pending().await,
    };
    let mut response = Response::builder().status(status);
    if let Some(location) = location {
        response = response.header("location", location);
    }
    Ok(response.body(Full::from(body)).expect("a response"))
}

fn svid_config(ca: &DevCa, id: &str) -> ServerConfig {
    let id = SpiffeId::parse(id).expect("a SPIFFE ID");
    let svid = ca.issue(&id, Duration::from_secs(3600)).expect("issue an SVID");
    server_config(&svid.cert_pem, &svid.key_pem, None)
}
