//! What the core does for engines: it signs by the issuer's keys and by the broker's own, neither of which an engine ever has.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use leasehold_identity::{Identity, RequestError, RequestKey, RequestSigner};
use leasehold_sdk::{CloudAssertion, EngineError, Host, JwtOrder, SvidKey, SvidSigner, Withdrawal};
use secrecy::SecretString;

use crate::token::Issuer;

/// The host of all engines of a process. They are made with the configuration, and the broker's identity is made from that: it comes later.
#[derive(Default)]
pub struct Core {
    issuer: Arc<Issuer>,
    identity: OnceLock<Arc<Identity>>,
}

impl Core {
    /// Whoever signs tokens and assertions.
    pub fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }

    /// From now on requests are signed by this identity's SVID, whichever that is at the moment.
    pub fn attach(&self, identity: Arc<Identity>) {
        // Whoever is first stays: a process has one identity.
        let _ = self.identity.set(identity);
    }
}

#[async_trait]
impl Host for Core {
    async fn sign_jwt(&self, order: JwtOrder) -> Result<SecretString, EngineError> {
        self.issuer.sign_jwt(order).await
    }

    async fn withdraw(&self, ended: &[Withdrawal]) -> Result<(), EngineError> {
        self.issuer.withdraw(ended).await
    }

    fn cloud_issuer(&self) -> Option<String> {
        self.issuer.cloud_issuer()
    }

    async fn assert(&self, assertion: CloudAssertion) -> Result<SecretString, EngineError> {
        self.issuer.assert(assertion).await
    }

    fn svid(&self) -> Result<Arc<dyn SvidSigner>, EngineError> {
        let identity = self.identity.get().ok_or_else(|| EngineError::retry("the broker's own SVID is not loaded"))?;
        Ok(Arc::new(Svid(identity.request_signer().map_err(refused)?)))
    }
}

/// The broker's SVID of one moment, as engines see it.
struct Svid(RequestSigner);

impl SvidSigner for Svid {
    fn chain(&self) -> &[Vec<u8>] {
        self.0.chain()
    }

    fn serial(&self) -> &str {
        self.0.serial()
    }

    fn key(&self) -> SvidKey {
        match self.0.key() {
            RequestKey::Ecdsa => SvidKey::Ecdsa,
            RequestKey::Rsa => SvidKey::Rsa,
        }
    }

    fn sign(&self, text: &str) -> Result<Vec<u8>, EngineError> {
        self.0.sign(text).map_err(refused)
    }
}

fn refused(why: RequestError) -> EngineError {
    match why {
        RequestError::NoSvid => EngineError::retry(why.to_string()),
        _ => EngineError::refused(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use leasehold_identity::dev::DevCa;

    use super::*;

    #[test]
    fn requests_are_signed_by_the_svid_once_there_is_one() {
        let core = Core::default();
        assert!(matches!(core.svid().err(), Some(EngineError::Retry { .. })));

        let dir = tempfile::tempdir().unwrap();
        let ca = DevCa::create(&"dev.local".parse().unwrap()).unwrap();
        let svid = ca.issue(&"spiffe://dev.local/leasehold".parse().unwrap(), Duration::from_secs(60)).unwrap();
        let (cert, key) = svid.write_to(dir.path(), "broker").unwrap();
        let bundle = dir.path().join("bundle.pem");
        std::fs::write(&bundle, ca.bundle_pem()).unwrap();
        core.attach(Identity::from_files(&cert, &key, &bundle).unwrap());

        let signer = core.svid().unwrap();
        assert_eq!((signer.key(), signer.chain().len()), (SvidKey::Ecdsa, 1));
        assert!(!signer.serial().is_empty() && signer.serial().bytes().all(|b| b.is_ascii_digit()));
        assert!(signer.sign("AWS4-X509-ECDSA-SHA256\n20260102T030405Z").is_ok());
        assert!(matches!(signer.sign("anything"), Err(EngineError::Refused { .. })));
    }

    /// As `leasehold check` has it: it may say who would ask, and never asks.
    #[tokio::test]
    async fn nothing_is_asserted_where_no_broker_runs() {
        let core = Core::default();
        let order = || CloudAssertion { audience: "a".into(), about: "role".into(), claims: serde_json::Map::new() };
        assert_eq!(core.cloud_issuer(), None);
        assert!(core.assert(order()).await.unwrap_err().to_string().contains("there is no [token]"));

        core.issuer().follow(Some(&crate::token::TokenConfig {
            issuer: "https://issuer.test".into(),
            publish_before: Duration::from_secs(60),
            rotate_every: Duration::from_secs(3600),
        }));
        assert_eq!(core.cloud_issuer().as_deref(), Some("https://issuer.test/cloud"));
        let why = core.assert(order()).await.unwrap_err();
        assert!(
            matches!(&why, EngineError::Refused { why } if why.to_string().contains("check signs nothing")),
            "{why}"
        );
    }
}
