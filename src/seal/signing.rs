//! Signatures by which others can tell that a text is this broker's: Ed25519 (RFC 8032), by a key that follows from the seal
//! key. Who has the public key can check and nothing more.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER};

use super::{Key, KeyId, KeyRing, SealError};

/// What the signing key is derived for. Another purpose is another key.
const PURPOSE: &str = "leasehold audit checkpoint signature 1";

/// What stands before the key's 32 bytes in its DER form, `SubjectPublicKeyInfo` (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// A key that signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

/// A key that checks what was signed. No secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    bytes: [u8; 32],
    id: KeyId,
}

impl SigningKey {
    fn of(key: &Key) -> Result<Self, SealError> {
        let refused = || SealError::Key("the library does not take the key that is derived for signatures".to_owned());
        let pair = Ed25519KeyPair::from_seed_unchecked(key.derived(PURPOSE).as_ref()).map_err(|_| refused())?;
        let public = VerifyingKey::new(pair.public_key().as_ref().try_into().map_err(|_| refused())?);
        Ok(Self { pair, public })
    }

    /// The key that checks its signatures.
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// The signature of `text`, in base64.
    pub fn sign(&self, text: &str) -> String {
        BASE64.encode(self.pair.sign(text.as_bytes()).as_ref())
    }
}

impl VerifyingKey {
    fn new(bytes: [u8; 32]) -> Self {
        Self { id: KeyId::kept(HEXLOWER.encode(&digest(&SHA256, &bytes).as_ref()[..8])), bytes }
    }

    /// Its name: the first 8 bytes of its SHA-256.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Whether `signature`, in base64, is this key's of `text`.
    pub fn signed(&self, text: &str, signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature.as_bytes()) else { return false };
        UnparsedPublicKey::new(&ED25519, &self.bytes).verify(text.as_bytes(), &signature).is_ok()
    }

    /// In PEM, as other tools read it.
    pub fn to_pem(&self) -> String {
        let der = [&SPKI_PREFIX[..], &self.bytes].concat();
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", BASE64.encode(&der))
    }

    /// All keys in a PEM text; what stands between them is passed over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn all_from_pem(text: &str) -> Result<Vec<Self>, String> {
        let blocks = text.split(PEM_BEGIN).skip(1);
        let keys: Vec<Self> = blocks.map(Self::from_block).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(format!("it holds no {PEM_BEGIN}")) } else { Ok(keys) }
    }

    fn from_block(block: &str) -> Result<Self, String> {
        let (body, _) = block.split_once(PEM_END).ok_or_else(|| format!("a key in it lacks its {PEM_END}"))?;
        let base64: String = body.split_whitespace().collect();
        let der = BASE64.decode(base64.as_bytes()).map_err(|_| "a key in it is no base64")?;
        let bytes = der.strip_prefix(&SPKI_PREFIX).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self::new).ok_or_else(|| "a key in it is no Ed25519 key".to_owned())
    }
}

impl KeyRing {
    /// The key that signs the audit log's checkpoints.
    ///
    /// # Errors
    /// [`SealError::Key`] when the library refuses the key.
    pub fn signing_key(&self) -> Result<SigningKey, SealError> {
        SigningKey::of(&self.current)
    }

    /// The keys that check them: the current one first, then those of the old keys.
    ///
    /// # Errors
    /// As [`KeyRing::signing_key`].
    pub fn verifying_keys(&self) -> Result<Vec<VerifyingKey>, SealError> {
        let keys = std::iter::once(&self.current).chain(&self.old);
        keys.map(|key| SigningKey::of(key).map(|signing| signing.public)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::KeySource;
    use super::*;

    fn ring(dir: &std::path::Path, current: &str, old: &[&str]) -> KeyRing {
        let source = |name: &str| KeySource::File(dir.join(name));
        for name in old.iter().chain([&current]) {
            source(name).make_if_missing().unwrap();
        }
        let old: Vec<_> = old.iter().map(|name| source(name)).collect();
        KeyRing::read(&source(current), &old).unwrap()
    }

    #[test]
    fn a_signature_holds_for_its_text_and_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (ring(dir.path(), "a", &[]), ring(dir.path(), "b", &["a"]));
        let signature = first.signing_key().unwrap().sign("text");
        let keys = second.verifying_keys().unwrap();
        assert_eq!(keys[1], *first.signing_key().unwrap().public());
        assert!(keys[1].signed("text", &signature));
        assert!(!keys[0].signed("text", &signature));
        assert!(!keys[1].signed("texT", &signature));
        assert!(!keys[1].signed("text", "no base64") && !keys[1].signed("text", ""));
        assert_ne!(keys[0].id(), keys[1].id());
        assert_ne!(keys[0].id(), second.current(), "it tells nothing of the seal key");
    }

    #[test]
    fn public_keys_go_through_pem() {
        let dir = tempfile::tempdir().unwrap();
        let keys = ring(dir.path(), "b", &["a"]).verifying_keys().unwrap();
        let text = format!("# key {}\n{}\nmore\n{}", keys[0].id(), keys[0].to_pem(), keys[1].to_pem());
        assert_eq!(VerifyingKey::all_from_pem(&text).unwrap(), keys);
        for bad in ["", "x", PEM_BEGIN, &text[..80], &text.replace("MCowBQ", "MCowBR")] {
            assert!(VerifyingKey::all_from_pem(bad).is_err(), "{bad:?}");
        }
    }
}
