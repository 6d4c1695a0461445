//! What the tests share: a temporary home with an authority, an identity in files, and one handshake over loopback.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leasehold_identity::dev::DevCa;
use leasehold_identity::{
    BundleSource, Connector, HandshakeError, Identity, IdentityConfig, Peer, SpiffeId, SvidSource, TrustDomain,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

pub const DOMAIN: &str = "prod.example.org";
pub const BROKER: &str = "spiffe://prod.example.org/leasehold";
pub const BILLING: &str = "spiffe://prod.example.org/ns/billing/sa/web";
pub const HOUR: Duration = Duration::from_secs(3600);
/// No wait in a test is longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).expect("a good ID")
}

pub fn domain(text: &str) -> TrustDomain {
    TrustDomain::parse(text).expect("a good trust domain")
}

/// A directory with an authority, its bundle and SVIDs.
pub struct Home {
    pub dir: tempfile::TempDir,
    pub ca: DevCa,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ca = DevCa::create(&domain(DOMAIN)).expect("an authority");
        std::fs::write(dir.path().join("bundle.pem"), ca.bundle_pem()).expect("written");
        Self { dir, ca }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file in place as a careful writer does.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let beside = self.path(&format!("{name}.new"));
        std::fs::write(&beside, content).expect("written");
        std::fs::rename(beside, self.path(name)).expect("renamed");
    }

    /// An identity with a fresh SVID for `who`, and the bundle of the home.
    pub fn identity(&self, name: &str, who: &str) -> Arc<Identity> {
        self.issue(name, who, HOUR);
        let cert = self.path(&format!("{name}.pem"));
        let key = self.path(&format!("{name}-key.pem"));
        Identity::from_files(&cert, &key, &self.path("bundle.pem")).expect("an identity")
    }

    pub fn issue(&self, name: &str, who: &str, ttl: Duration) {
        let svid = self.ca.issue(&id(who), ttl).expect("an SVID");
        svid.write_to(self.dir.path(), name).expect("written");
    }

    /// A configuration with the SVID of that name and further bundles, file by trust domain.
    pub fn config(&self, name: &str, others: &[(&str, &Path)]) -> IdentityConfig {
        let mut bundles = BTreeMap::from([(domain(DOMAIN), BundleSource::File(self.path("bundle.pem")))]);
        for (other, path) in others {
            bundles.insert(domain(other), BundleSource::File((*path).into()));
        }
        IdentityConfig {
            trust_domain: domain(DOMAIN),
            svid: SvidSource::Files {
                cert: self.path(&format!("{name}.pem")),
                key: self.path(&format!("{name}-key.pem")),
            },
            bundles,
        }
    }
}

/// What one handshake came to on either side.
pub struct Met {
    pub server: Result<(TlsStream<TcpStream>, Peer), HandshakeError>,
    /// The client's stream after the server's greeting was read: only then is it known that the server took the client.
    pub client: Result<tokio_rustls::client::TlsStream<TcpStream>, HandshakeError>,
}

/// A handshake over loopback, after which the server greets.
pub async fn meet(server: &Arc<Identity>, client: &Connector) -> Met {
    let (ours, theirs) = socket_pair().await;
    let acceptor = server.acceptor();
    let serve = async {
        let (mut stream, peer) = acceptor.accept(ours).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        Ok((stream, peer))
    };
    let call = async {
        let mut stream = client.connect(theirs).await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await?;
        Ok(stream)
    };
    let both = async { tokio::join!(serve, call) };
    let (server, client) = tokio::time::timeout(DEADLINE, both).await.expect("in time");
    Met { server, client }
}

pub async fn socket_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(address));
    (accepted.expect("accepted").0, connected.expect("connected"))
}
