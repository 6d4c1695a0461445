//! Collectors of audit lines, real servers that misbehave on command: syslog over TLS (RFC 5425), and HTTPS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::database_tls;

/// How a collector behaves. A change cuts every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    Good,
    /// Closes each connection before a word.
    Away,
    /// Takes a connection and never says a word.
    Mute,
    /// Shakes hands and reads nothing.
    Deaf,
    /// Takes the lines and never answers: HTTPS only.
    Silent,
    /// Takes so many messages or requests on a connection, and cuts it in the middle of the next, unanswered.
    CutAfter(u32),
    /// Answers with this status and forgets the lines: HTTPS only.
    Status(u16),
}

/// What came over one connection at a time, in its order.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Each line, without its newline.
    pub lines: Vec<String>,
    /// What stood before each line: the header of a syslog message, or the request's `Authorization` and `Content-Type`.
    pub heads: Vec<String>,
    /// How many lines each message or request brought.
    pub sizes: Vec<usize>,
    /// Connections that shook hands.
    pub connections: usize,
}

/// A collector on loopback. Dropping it closes every connection.
pub struct Collector {
    address: SocketAddr,
    ca_pem: String,
    mood: watch::Sender<Mood>,
    received: Arc<Mutex<Received>>,
    authorization: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy)]
enum Speaks {
    Syslog,
    Https,
}

impl Collector {
    /// A syslog server; one that demands a client certificate of these authorities, where there are any.
    pub async fn syslog(client_ca_pem: Option<String>) -> Self {
        Self::start(Speaks::Syslog, client_ca_pem, Ipv4Addr::LOCALHOST).await
    }

    /// A syslog server at an address that its certificate does not name.
    pub async fn misnamed_syslog() -> Self {
        Self::start(Speaks::Syslog, None, Ipv4Addr::new(127, 0, 0, 2)).await
    }

    /// An HTTPS server.
    pub async fn https(client_ca_pem: Option<String>) -> Self {
        Self::start(Speaks::Https, client_ca_pem, Ipv4Addr::LOCALHOST).await
    }

    async fn start(speaks: Speaks, client_ca_pem: Option<String>, at: Ipv4Addr) -> Self {
        let (tls, ca_pem) = database_tls(None);
        let acceptor =
            TlsAcceptor::from(Arc::new(server_config(&tls.cert_pem, &tls.key_pem, client_ca_pem.as_deref())));
        let listener = TcpListener::bind((at, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (mood, moods) = watch::channel(Mood::Good);
        let (received, authorization) = (Arc::<Mutex<Received>>::default(), Arc::<Mutex<Option<String>>>::default());
        let server = Server { speaks, acceptor, received: received.clone(), authorization: authorization.clone() };
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(server.clone().take(tcp, moods.clone()));
            }
        });
        Self { address, ca_pem, mood, received, authorization, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority of its certificate, which is for `localhost` and `127.0.0.1`.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Changes how it behaves, and cuts every connection.
    pub fn mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Demands this `Authorization` (HTTPS): else 401.
    pub fn demand(&self, authorization: &str) {
        *lock(&self.authorization) = Some(authorization.to_owned());
    }

    /// What has come so far.
    #[must_use]
    pub fn received(&self) -> Received {
        lock(&self.received).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
        // The connections see that nobody can change the mood any more.
    }
}

#[derive(Clone)]
struct Server {
    speaks: Speaks,
    acceptor: TlsAcceptor,
    received: Arc<Mutex<Received>>,
    authorization: Arc<Mutex<Option<String>>>,
}

impl Server {
    async fn take(self, tcp: TcpStream, mut moods: watch::Receiver<Mood>) {
        let mood = *moods.borrow_and_update();
        tokio::select! {
            _ = moods.changed() => {}
            _ = self.serve(tcp, mood) => {}
        }
    }

    async fn serve(&self, tcp: TcpStream, mood: Mood) -> Result<()> {
        match mood {
            Mood::Away => return Ok(()),
            Mood::Mute => return std::future::pending().await,
            _ => {}
        }
        let tls = self.acceptor.accept(tcp).await?;
        lock(&self.received).connections += 1;
        match (mood, self.speaks) {
            (Mood::Deaf, _) => {
                let _open = tls;
                std::future::pending().await
            }
            (_, Speaks::Syslog) => self.syslog(tls, mood).await,
            (_, Speaks::Https) => self.https(tls, mood).await,
        }
    }

    async fn syslog(&self, tls: TlsStream<TcpStream>, mood: Mood) -> Result<()> {
        let mut input = BufReader::new(tls);
        for n in 0.. {
            let mut digits = Vec::new();
            if input.read_until(b' ', &mut digits).await? == 0 {
                return Ok(());
            }
            let length: usize = std::str::from_utf8(&digits)?.trim_end().parse().context("no count of octets")?;
            let mut message = vec![0; length];
            if matches!(mood, Mood::CutAfter(most) if n >= most) {
                input.read_exact(&mut message[..length / 2]).await?;
                return Ok(());
            }
            input.read_exact(&mut message).await?;
            // PRI and version, time, host, application, process, message id, structured data; then the message.
            let message = String::from_utf8(message)?;
            let at = message.match_indices(' ').nth(6).context("no RFC 5424 message")?.0;
            self.keep(&message[..at], &message[at + 1..]);
        }
        Ok(())
    }

    async fn https(&self, tls: TlsStream<TcpStream>, mood: Mood) -> Result<()> {
        let taken = std::sync::atomic::AtomicU32::new(0);
        let service = service_fn(|request| self.answer(request, mood, &taken));
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service).await?;
        Ok(())
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        mood: Mood,
        taken: &std::sync::atomic::AtomicU32,
    ) -> Result<Response<Empty<Bytes>>> {
        let status = |code| {
            let mut response = Response::new(Empty::new());
            *response.status_mut() = StatusCode::from_u16(code).expect("a status");
            response
        };
        let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let head = format!("{} {} {}", request.uri(), header("authorization"), header("content-type"));
        if lock(&self.authorization).as_ref().is_some_and(|wanted| *wanted != header("authorization")) {
            return Ok(status(401));
        }
        let number = taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let is_post = request.method() == hyper::Method::POST;
        let mut body = request.into_body();
        if matches!(mood, Mood::CutAfter(most) if number >= most) {
            let _ = body.frame().await;
            bail!("cut");
        }
        let body = body.collect().await?.to_bytes();
        match mood {
            Mood::Status(code) => return Ok(status(code)),
            _ if !is_post => return Ok(status(405)),
            _ => self.keep(&head, std::str::from_utf8(&body)?),
        }
        if mood == Mood::Silent {
            return std::future::pending().await;
        }
        Ok(status(204))
    }

    fn keep(&self, head: &str, lines: &str) {
        let mut received = lock(&self.received);
        let before = received.lines.len();
        received.lines.extend(lines.lines().map(str::to_owned));
        received.heads.push(head.to_owned());
        let size = received.lines.len() - before;
        received.sizes.push(size);
    }
}

/// TLS with this certificate, for clients of these authorities if it is to demand certificates of them.
pub(crate) fn server_config(cert_pem: &str, key_pem: &str, client_ca_pem: Option<&str>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().expect("protocol versions");
    let certs = |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).map(|c| c.expect("PEM")).collect::<Vec<_>>();
    let builder = match client_ca_pem {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            certs(pem).into_iter().for_each(|ca| roots.add(ca).expect("an authority"));
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("a key");
    builder.with_single_cert(certs(cert_pem), key).expect("a certificate with its key")
}

/// A panic while it was held leaves a plain value behind.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
