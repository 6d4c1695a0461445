//! Certificates for tests: SVIDs from a development CA, and a database's server certificate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use leasehold_identity::dev::DevCa;
use leasehold_identity::{Identity, RequestKey, RequestSigner, SpiffeId, TrustDomain};
use leasehold_playground::PgTls;
use tempfile::TempDir;

/// The broker's own path in its trust domain (DESIGN 5).
const BROKER_PATH: &str = "/leasehold";

/// Long enough for any test.
const HOUR: Duration = Duration::from_secs(3600);

/// A trust domain's CA, with a directory for what it issues.
pub struct TestCa {
    ca: DevCa,
    dir: TempDir,
}

/// An X.509-SVID in files.
#[derive(Clone, Debug)]
pub struct Svid {
    /// The whole `spiffe://…`.
    pub id: String,
    /// PEM, mode 0644.
    pub cert: PathBuf,
    /// PEM, mode 0600.
    pub key: PathBuf,
    /// The bundle of its trust domain, PEM.
    pub bundle: PathBuf,
}

impl TestCa {
    /// A new CA for this trust domain.
    ///
    /// # Panics
    /// When the name is wrong or its files cannot be written.
    #[must_use]
    pub fn new(trust_domain: &str) -> Self {
        let trust_domain = TrustDomain::parse(trust_domain).expect("a trust domain");
        let ca = DevCa::create(&trust_domain).expect("make a CA");
        let dir = tempfile::tempdir().expect("make a temporary directory");
        std::fs::write(dir.path().join("bundle.pem"), ca.bundle_pem()).expect("write the bundle");
        Self { ca, dir }
    }

    /// The CA underneath, for what is not here.
    #[must_use]
    pub fn dev(&self) -> &DevCa {
        &self.ca
    }

    /// Its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.ca.trust_domain().as_str()
    }

    /// Its bundle in PEM.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        self.ca.bundle_pem()
    }

    /// An SVID of one hour for a workload with this path, such as `/billing`.
    ///
    /// # Panics
    /// When the path is wrong or the files cannot be written.
    #[must_use]
    pub fn svid(&self, path: &str) -> Svid {
        self.svid_for(path, HOUR)
    }

    /// An SVID of this life. One for the same path replaces the earlier one's files.
    ///
    /// # Panics
    /// When the path is wrong or the files cannot be written.
    #[must_use]
    pub fn svid_for(&self, path: &str, ttl: Duration) -> Svid {
        let name = path.trim_matches('/').replace('/', "-");
        self.write(self.dir.path(), &name, path, ttl)
    }

    /// Writes what a broker needs into its directory, under the names that [`crate::ConfigFile`] uses: `broker.pem`,
    /// `broker-key.pem`, `bundle.pem`.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn equip_broker(&self, dir: &Path) -> Svid {
        std::fs::write(dir.join("bundle.pem"), self.ca.bundle_pem()).expect("write the bundle");
        self.write(dir, "broker", BROKER_PATH, HOUR)
    }

    fn write(&self, dir: &Path, name: &str, path: &str, ttl: Duration) -> Svid {
        let id: SpiffeId = self.ca.trust_domain().id(path).expect("a SPIFFE ID");
        let issued = self.ca.issue(&id, ttl).expect("issue an SVID");
        let (cert, key) = issued.write_to(dir, name).expect("write an SVID");
        Svid { id: id.as_str().to_owned(), cert, key, bundle: self.dir.path().join("bundle.pem") }
    }
}

/// A database server's certificate for `localhost` and `127.0.0.1`, with the CA that clients must trust, in PEM.
///
/// `client_ca_pem` is whose client certificates the server takes: a trust bundle, for `clientcert=verify-ca`.
///
/// # Panics
/// When a certificate cannot be made.
#[must_use]
pub fn database_tls(client_ca_pem: Option<String>) -> (PgTls, String) {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca_params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca_params.distinguished_name.push(rcgen::DnType::CommonName, "database CA");
    let ca_pem = ca_params.self_signed(&ca_key).expect("a CA").pem();
    let issuer = rcgen::Issuer::new(ca_params, ca_key);

    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = rcgen::CertificateParams::new(names).expect("parameters");
    let cert_pem = params.signed_by(&key, &issuer).expect("a server certificate").pem();
    (PgTls { cert_pem, key_pem: key.serialize_pem(), client_ca_pem }, ca_pem)
}

/// What a server of the web has in files: a certificate for `localhost` and `127.0.0.1`, and the authority that others must trust.
#[derive(Clone, Debug)]
pub struct WebTls {
    /// PEM.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// PEM, of the authority.
    pub ca: PathBuf,
}

impl WebTls {
    /// Writes a new one into `dir`: `web.pem`, `web-key.pem`, `web-ca.pem`.
    ///
    /// # Panics
    /// When it cannot be made or written.
    #[must_use]
    pub fn write(dir: &Path) -> Self {
        // Strict libraries want all of what RFC 5280 wants.
        let ca_key = rcgen::KeyPair::generate().expect("a key");
        let mut ca_params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca_params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        ca_params.distinguished_name.push(rcgen::DnType::CommonName, "web CA");
        let ca_pem = ca_params.self_signed(&ca_key).expect("a CA").pem();
        let issuer = rcgen::Issuer::new(ca_params, ca_key);

        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).expect("parameters");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let cert_pem = params.signed_by(&key, &issuer).expect("a server certificate").pem();

        let written = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("write it");
            path
        };
        Self {
            cert: written("web.pem", &cert_pem),
            key: written("web-key.pem", &key.serialize_pem()),
            ca: written("web-ca.pem", &ca_pem),
        }
    }
}

/// A broker's SVID with an intermediate between it and its root, by a key of either kind that signs requests.
pub struct ChainedSvid {
    dir: TempDir,
    root: String,
}

impl ChainedSvid {
    /// A new one, with a new root.
    ///
    /// # Panics
    /// When it cannot be made or written.
    #[must_use]
    pub fn new(kind: RequestKey) -> Self {
        let root_key = rcgen::KeyPair::generate().expect("a key");
        let root_params = authority_params("kit root");
        let root = root_params.self_signed(&root_key).expect("a root").pem();
        let root_issuer = rcgen::Issuer::new(root_params, root_key);

        let between_key = rcgen::KeyPair::generate().expect("a key");
        let between_params = authority_params("kit intermediate");
        let between = between_params.signed_by(&between_key, &root_issuer).expect("an intermediate").pem();
        let issuer = rcgen::Issuer::new(between_params, between_key);

        let key = match kind {
            RequestKey::Ecdsa => rcgen::KeyPair::generate(),
            RequestKey::Rsa => rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048),
        };
        let key = key.expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names =
            vec![rcgen::SanType::URI(format!("spiffe://kit.test{BROKER_PATH}").try_into().expect("ASCII"))];
        let leaf = params.signed_by(&key, &issuer).expect("a leaf").pem();

        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write it");
        write("leaf.pem", &leaf);
        write("between.pem", &between);
        write("svid.pem", &(leaf + &between));
        write("root.pem", &root);
        write("key.pem", &key.serialize_pem());
        Self { dir, root }
    }

    /// Its root in PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root
    }

    /// The certificate alone, in PEM.
    #[must_use]
    pub fn leaf(&self) -> PathBuf {
        self.dir.path().join("leaf.pem")
    }

    /// What is between it and the root, in PEM.
    #[must_use]
    pub fn between(&self) -> PathBuf {
        self.dir.path().join("between.pem")
    }

    /// The key, in PEM.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// What signs requests with it, as a broker's own.
    ///
    /// # Panics
    /// When it is no good SVID.
    #[must_use]
    pub fn signer(&self) -> RequestSigner {
        let identity =
            Identity::from_files(&self.dir.path().join("svid.pem"), &self.key(), &self.dir.path().join("root.pem"));
        identity.expect("an identity").request_signer().expect("a signer")
    }
}

fn authority_params(name: &str) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    params
}
