//! A tiny HTTPS server that shows an SVID and answers as it is told.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use leasehold_client::{Client, ClientConfig};
use leasehold_identity::dev::DevCa;
use leasehold_identity::{Identity, SpiffeId, TrustDomain};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// From a request's method and URI, and SHA-256 of the certificate that was shown, to its answer.
type Answering = dyn Fn(&str, &str) -> Response<Full<Bytes>> + Send + Sync;

pub struct Server {
    pub addr: String,
    pub ca: DevCa,
    dir: tempfile::TempDir,
    seen: Arc<Seen>,
    /// Ends with the server.
    _tasks: JoinSet<()>,
}

struct Seen {
    asked: Mutex<Vec<String>>,
    opened: AtomicUsize,
    closed_cleanly: AtomicUsize,
    answer: Box<Answering>,
}

impl Server {
    /// A server that is `spiffe://dev.local/leasehold`.
    pub async fn start(answer: impl Fn(&str) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        Self::start_knowing(move |asked, _| answer(asked)).await
    }

    /// The same, whose answers depend on the certificate that was shown on the connection.
    pub async fn start_knowing(answer: impl Fn(&str, &str) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = DevCa::create(&TrustDomain::parse("dev.local").unwrap()).unwrap();
        std::fs::write(dir.path().join("bundle.pem"), ca.bundle_pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = format!("https://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen {
            asked: Mutex::default(),
            opened: AtomicUsize::new(0),
            closed_cleanly: AtomicUsize::new(0),
            answer: Box::new(answer),
        });
        let identity = issue(&ca, &ca, dir.path(), "leasehold");
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, identity, Arc::clone(&seen)));
        Self { addr, ca, dir, seen, _tasks: tasks }
    }

    /// A client that is `spiffe://dev.local/{name}`, issued by `ca`, and trusts the server's authority.
    pub fn client_of(&self, ca: &DevCa, name: &str) -> Client {
        Client::new(self.config(ca, name)).unwrap()
    }

    pub fn config(&self, ca: &DevCa, name: &str) -> ClientConfig {
        ClientConfig {
            addr: self.addr.clone(),
            identity: issue(ca, &self.ca, self.dir.path(), name),
            broker_id: SpiffeId::parse("spiffe://dev.local/leasehold").unwrap(),
            timeout: Duration::from_secs(10),
        }
    }

    pub fn client(&self) -> Client {
        self.client_of(&self.ca, "billing")
    }

    /// Gives a client that is `spiffe://dev.local/{name}` another certificate.
    pub fn rotate(&self, name: &str, identity: &Identity) {
        write_svid(&self.ca, self.dir.path(), name);
        assert!(identity.reload().changed);
    }

    /// Every request line so far.
    pub fn asked(&self) -> Vec<String> {
        self.seen.asked.lock().unwrap().clone()
    }

    pub fn opened(&self) -> usize {
        self.seen.opened.load(Ordering::SeqCst)
    }

    pub fn closed_cleanly(&self) -> usize {
        self.seen.closed_cleanly.load(Ordering::SeqCst)
    }
}

fn issue(issuer: &DevCa, trusted: &DevCa, dir: &Path, name: &str) -> Arc<Identity> {
    let (cert, key) = write_svid(issuer, dir, name);
    let bundle = dir.join("bundle.pem");
    assert_eq!(std::fs::read_to_string(&bundle).unwrap(), trusted.bundle_pem());
    Identity::from_files(&cert, &key, &bundle).unwrap()
}

fn write_svid(issuer: &DevCa, dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let id = issuer.trust_domain().id(&format!("/{name}")).unwrap();
    issuer.issue(&id, Duration::from_secs(3600)).unwrap().write_to(dir, name).unwrap()
}

async fn serve(listener: TcpListener, identity: Arc<Identity>, seen: Arc<Seen>) {
    let acceptor = identity.acceptor();
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        connections.spawn(async move {
            let Ok((stream, peer)) = acceptor.accept(stream).await else { return };
            seen.opened.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(|request| one(Arc::clone(&seen), peer.cert_sha256.clone(), request));
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            if served.is_ok() {
                seen.closed_cleanly.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
}

async fn one(seen: Arc<Seen>, shown: String, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    seen.asked.lock().unwrap().push(format!("{line} {body}").trim_end().to_owned());
    Ok((seen.answer)(&line, &shown))
}

/// An answer with a body.
pub fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}
