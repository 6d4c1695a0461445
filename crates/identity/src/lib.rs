//! Workload identity: SPIFFE IDs, X.509-SVID verification, trust bundles and the TLS configurations that follow them.
//!
//! This crate is the only one that names rustls, webpki, x509-parser or rcgen. It knows nothing of the broker: a caller gets
//! a verified [`Peer`] out of a handshake, or a refusal with a stable reason code, and decides for itself what the peer may do.
//!
//! * [`Identity`] holds the own SVID and one trust bundle per trust domain, and follows their sources: files, a SPIFFE Workload API, bundle endpoints.
//! * [`Acceptor`] is the server side of mTLS, [`Connector`] the client side. Both verify by the same rules.
//! * [`AnonymousConnector`] is the client side towards one workload that need not know who asks.
//! * [`HostTls`] is the client side towards servers that have a host name and no SPIFFE ID, such as collectors of audit lines.
//! * [`Identity::request_signer`] signs requests to services that know us by our certificate without a handshake.
//! * [`Identity::recheck`] asks of a kept connection whether its peer would still be let in.
//! * [`dev`] makes throwaway certificate authorities and SVIDs; [`inspect`] describes certificates without trusting them.
//!
//! The rules are those of the SPIFFE standards (SPIFFE-ID, X509-SVID, Trust Domain and Bundle) and RFC 5280; each check in the
//! code names its section. One is stricter here than there: a chain with *URI name constraints* is refused whole, with the
//! reason `name_constraints`, because the chain validator in use (rustls-webpki) cannot judge them.

mod bundle;
mod chain;
mod clock;
mod config;
pub mod dev;
mod endpoint;
mod error;
mod facts;
mod files;
mod id;
mod identity;
mod inspect;
pub mod limits;
mod next;
mod peer;
mod requests;
mod snapshot;
mod sources;
mod status;
mod svid;
mod tls;
mod watch;
mod workload;

pub use bundle::{BundleError, TrustBundle};
pub use config::{BundleSource, IdentityConfig, SvidSource};
pub use endpoint::{BundleEndpoint, EndpointProfile, UrlError};
pub use error::{HandshakeError, IdentityError, SvidError, explain_alert};
pub use id::{IdError, Segments, SpiffeId, TrustDomain};
pub use identity::{Identity, Reload};
pub use inspect::{CertReport, InspectError, inspect, inspect_der, single_from_pem};
pub use peer::{Peer, fingerprint};
pub use requests::{RequestError, RequestKey, RequestSigner};
pub use status::{DomainStatus, IdentityStatus};
pub use tls::{
    Acceptor, AnonymousConnector, AnonymousError, ClientCert, Connector, HostTls, HostTlsError, PublicAcceptor,
    ServerBundle,
};
pub use workload::{AddressError, WorkloadApi};
