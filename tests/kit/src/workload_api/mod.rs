//! A SPIFFE Workload API: an agent that gives what it is told to give, goes away, comes back, refuses and talks rubbish.
//!
//! Its protocol is made from `proto/workload.proto`, while the client under test has messages of its own: that they understand
//! each other is part of what is tested.

#[allow(missing_docs, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
mod pb;
mod serve;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use leasehold_identity::SpiffeId;
use leasehold_identity::dev::DevCa;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use pb::{X509svid, X509svidResponse};
use serve::{Agent, Listener, serve};
pub use tonic::Code;

/// What every caller is answered.
#[derive(Clone, Debug)]
enum Answer {
    Give(X509svidResponse),
    Refuse(Code),
    Rubbish(Vec<u8>),
    Mute,
}

/// An agent on a socket of its own. Dropping it ends it and its connections.
pub struct WorkloadApi {
    place: Place,
    answer: watch::Sender<Answer>,
    calls: Arc<AtomicU32>,
    serving: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
enum Place {
    Unix(PathBuf),
    Tcp(std::net::SocketAddr),
}

impl WorkloadApi {
    /// An agent at `agent.sock` in this directory, which says nothing yet.
    ///
    /// # Panics
    /// When it cannot listen there.
    pub async fn start(dir: &Path) -> Self {
        Self::start_at(Place::Unix(dir.join("agent.sock"))).await
    }

    /// The same on a free port of loopback.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start_tcp() -> Self {
        Self::start_at(Place::Tcp(([127, 0, 0, 1], 0).into())).await
    }

    async fn start_at(place: Place) -> Self {
        let mut agent = Self { place, answer: watch::Sender::new(Answer::Mute), calls: Arc::default(), serving: None };
        agent.come_back().await;
        agent
    }

    /// Its address, as `SPIFFE_ENDPOINT_SOCKET` has it.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.place {
            Place::Unix(path) => format!("unix://{}", path.display()),
            Place::Tcp(address) => format!("tcp://{address}"),
        }
    }

    /// Gives this to everybody from now on, on open streams too.
    pub fn give(&self, response: X509svidResponse) {
        self.answer.send_replace(Answer::Give(response));
    }

    /// Refuses everybody from now on, on open streams too.
    pub fn refuse(&self, code: Code) {
        self.answer.send_replace(Answer::Refuse(code));
    }

    /// Ends the open streams, and answers with these bytes where a message should be.
    pub fn talk_rubbish(&self, bytes: impl Into<Vec<u8>>) {
        self.answer.send_replace(Answer::Rubbish(bytes.into()));
    }

    /// How many calls there have been.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Nobody is connected.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        // The task that listens has one receiver; each connection and stream has its own.
        self.answer.receiver_count() <= 1
    }

    /// Cuts every connection and takes the socket away.
    pub async fn go_away(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
        if let Place::Unix(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Listens again at the same place.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn come_back(&mut self) {
        let listener = match &self.place {
            Place::Unix(path) => Listener::Unix(UnixListener::bind(path).expect("listen at the socket")),
            Place::Tcp(address) => {
                let listener = TcpListener::bind(address).await.expect("listen at the port");
                self.place = Place::Tcp(listener.local_addr().expect("its address"));
                Listener::Tcp(listener)
            }
        };
        let agent = Agent { answer: self.answer.subscribe(), calls: Arc::clone(&self.calls) };
        self.serving = Some(tokio::spawn(serve(listener, agent)));
    }
}

impl Drop for WorkloadApi {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// A message with these SVIDs and nothing federated.
#[must_use]
pub fn svids(svids: impl IntoIterator<Item = X509svid>) -> X509svidResponse {
    X509svidResponse { svids: svids.into_iter().collect(), ..X509svidResponse::default() }
}

/// A fresh SVID of this authority with its bundle, for a message.
///
/// # Panics
/// When the ID is not one of the authority's domain.
#[must_use]
pub fn workload_svid(ca: &DevCa, id: &str, life: Duration) -> X509svid {
    let id = SpiffeId::parse(id).expect("a SPIFFE ID");
    let svid = ca.issue(&id, life).expect("issue an SVID");
    let key = PrivateKeyDer::from_pem_slice(svid.key_pem.as_bytes()).expect("a key in PEM");
    X509svid {
        spiffe_id: id.as_str().to_owned(),
        x509_svid: ders(&svid.cert_pem),
        x509_svid_key: key.secret_der().to_vec(),
        bundle: bundle_ders(ca),
        hint: String::new(),
    }
}

/// The bundle of this authority, for a message.
#[must_use]
pub fn bundle_ders(ca: &DevCa) -> Vec<u8> {
    ders(&ca.bundle_pem())
}

fn ders(pem: &str) -> Vec<u8> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).flat_map(|cert| cert.expect("PEM").to_vec()).collect()
}
