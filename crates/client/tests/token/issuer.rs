//! The public listener of a broker, as far as verifiers see it, whose answers a test can change.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use leasehold_client::token::{IssuerTls, KeySource, Presented, Refused, ServerBundle, Verified};
use leasehold_client::token::{Verifier, VerifierConfig, Wanted};
use leasehold_identity::TrustDomain;
use leasehold_identity::dev::DevCa;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::signer::Signer;

pub const AUDIENCE: &str = "https://payments.example.org";
pub const BILLING: &str = "spiffe://dev.local/ns/billing/sa/web";
/// No wait in a test is longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Issuer {
    pub url: String,
    pub ca: DevCa,
    dir: tempfile::TempDir,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    documents: Mutex<HashMap<String, (String, Bytes)>>,
    asked: Mutex<Vec<String>>,
    is_away: AtomicBool,
}

impl Issuer {
    /// One that shows the broker's SVID and publishes these keys.
    pub async fn start(keys: &[&Signer]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = DevCa::create(&TrustDomain::parse("dev.local").unwrap()).unwrap();
        std::fs::write(dir.path().join("bundle.pem"), ca.bundle_pem()).unwrap();
        let id = ca.trust_domain().id("/leasehold").unwrap();
        let svid = ca.issue(&id, Duration::from_secs(3600)).unwrap();
        Self::show(dir, ca, &svid.cert_pem, &svid.key_pem, keys).await
    }

    /// One that shows a certificate for its address, which `web-ca.pem` in its folder verifies.
    pub async fn start_on_the_web(keys: &[&Signer]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = DevCa::create(&TrustDomain::parse("dev.local").unwrap()).unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.path().join("web-ca.pem"), made.cert.pem()).unwrap();
        Self::show(dir, ca, &made.cert.pem(), &made.signing_key.serialize_pem(), keys).await
    }

    async fn show(dir: tempfile::TempDir, ca: DevCa, cert: &str, key: &str, keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, acceptor(cert, key), Arc::clone(&seen)));
        let issuer = Self { url: format!("https://{address}"), ca, dir, seen, _tasks: tasks };
        issuer.put("/.well-known/openid-configuration", issuer.discovery().to_string());
        issuer.publish(keys, "max-age=300");
        issuer
    }

    pub fn discovery(&self) -> Value {
        json!({"issuer": self.url, "jwks_uri": format!("{}/oauth2/jwks", self.url), "response_types_supported": ["none"]})
    }

    pub fn publish(&self, keys: &[&Signer], cache_control: &str) {
        let document = key_set(keys);
        self.seen
            .documents
            .lock()
            .unwrap()
            .insert("/oauth2/jwks".into(), (cache_control.into(), document.to_string().into()));
    }

    pub fn put(&self, path: &str, document: impl Into<Bytes>) {
        self.seen.documents.lock().unwrap().insert(path.into(), (String::new(), document.into()));
    }

    pub fn remove(&self, path: &str) {
        self.seen.documents.lock().unwrap().remove(path);
    }

    /// From now on connections are cut off, or no longer.
    pub fn set_away(&self, is_away: bool) {
        self.seen.is_away.store(is_away, Ordering::SeqCst);
    }

    /// How often this was asked for.
    pub fn asked_for(&self, path: &str) -> usize {
        self.seen.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn source(&self) -> KeySource {
        let id = self.ca.trust_domain().id("/leasehold").unwrap();
        KeySource::Issuer(IssuerTls::Broker { id, bundle: ServerBundle::File(self.path("bundle.pem")) })
    }

    /// What most tests use: tokens need no certificate.
    pub fn config(&self) -> VerifierConfig {
        VerifierConfig::new(&self.url, AUDIENCE, self.source()).accept_unbound()
    }

    pub fn verifier(&self) -> Verifier {
        Verifier::new(self.config()).unwrap()
    }

    /// Claims of a good token.
    pub fn claims(&self) -> Value {
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": BILLING, "client_id": BILLING, "jti": "lh_dev_abcd_1",
            "scope": "payments:read payments:write", "iat": now(), "exp": now() + 300, "tenant": "42",
        })
    }

    /// The same with one changed, or without it if it is null.
    pub fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        claims
    }

    /// A fresh certificate of a caller, in DER.
    pub fn certificate(&self, id: &str) -> Vec<u8> {
        let svid = self.ca.issue(&id.parse().unwrap(), Duration::from_secs(3600)).unwrap();
        CertificateDer::from_pem_slice(svid.cert_pem.as_bytes()).unwrap().to_vec()
    }
}

pub fn key_set(keys: &[&Signer]) -> Value {
    json!({"keys": keys.iter().map(|key| &key.jwk).collect::<Vec<_>>()})
}

/// A judgement without a certificate, of which nothing is wanted.
pub async fn judge(verifier: &Verifier, token: &str) -> Result<Verified, Refused> {
    verifier.verify(&Presented { token, certificate: None }, &Wanted::default()).await
}

pub fn now() -> i64 {
    #[allow(clippy::disallowed_methods)] // tokens are about the wall clock
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// Writes files as `leasehold token export-discovery` does.
pub fn export(folder: &Path, discovery: &Value, keys: &[&Signer]) {
    for (name, content) in [(".well-known/openid-configuration", discovery), ("oauth2/jwks", &key_set(keys))] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = folder.join("new");
        std::fs::write(&beside, content.to_string()).unwrap();
        std::fs::rename(beside, path).unwrap();
    }
}

fn acceptor(cert: &str, key: &str) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if seen.is_away.load(Ordering::SeqCst) {
            continue;
        }
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| one(Arc::clone(&seen), request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn one(seen: Arc<Seen>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    seen.asked.lock().unwrap().push(path.clone());
    let found = seen.documents.lock().unwrap().get(&path).cloned();
    let answer = match found {
        Some((cache, body)) => Response::builder().header("cache-control", cache).body(Full::new(body)),
        None => Response::builder().status(404).body(Full::default()),
    };
    Ok(answer.unwrap())
}
