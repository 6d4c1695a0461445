//! Sealing of what must be kept: rotated admin passwords. AES-256-GCM-SIV (RFC 8452), whose nonces are random.
//!
//! A sealed text is bound to its place, so that one that is put into another place, or an older one that is put back, does not
//! open; and it says which key it was sealed by, so that keys can be changed while the broker runs. A key for signatures follows
//! from the seal key.

mod key;
mod recovery;
mod signing;
#[cfg(test)]
mod tests;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use data_encoding::BASE64;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

pub use key::{Key, KeyId, KeySource};
pub use recovery::{Recovery, RecoveryEntry};
pub use signing::{SigningKey, VerifyingKey};

/// Why something was not sealed or opened. Never says what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key cannot be had.
    #[error("{0}")]
    Key(String),
    /// It was sealed by a key that is not configured.
    #[error("it is sealed by key {0}, which is neither seal.key nor one of seal.old_keys")]
    UnknownKey(KeyId),
    /// It does not open at this place: it was changed, or belongs to another place or generation.
    #[error("it does not open: it was changed, or it was sealed for another place or generation")]
    Broken,
    /// The recovery file cannot be written.
    #[error("the recovery file {file} cannot be written: {why}")]
    Recovery {
        /// Which.
        file: String,
        /// Why not.
        why: String,
    },
}

/// Where a sealed text belongs. It opens nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The table, or what else holds it.
    pub table: &'a str,
    /// What it is, such as `admin_password`.
    pub kind: &'a str,
    /// Whose it is, such as the target's name.
    pub name: &'a str,
    /// Which of those that came after each other.
    pub generation: u64,
}

impl Place<'_> {
    /// The text that is authenticated with the secret. Each part has its length before it: no two places share a text.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"leasehold seal 1".to_vec();
        for part in [self.cluster, self.table, self.kind, self.name] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes.extend(self.generation.to_be_bytes());
        bytes
    }
}

/// A sealed text: worthless without its key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sealed {
    /// Which key it was sealed by.
    pub key_id: KeyId,
    /// Nonce and ciphertext, in base64.
    pub blob: String,
}

/// The keys: one that seals, and those that sealed before it.
pub struct KeyRing {
    current: Key,
    old: Vec<Key>,
}

impl KeyRing {
    /// Reads the keys from where they are kept.
    ///
    /// # Errors
    /// [`SealError::Key`] that names the source.
    pub fn read(current: &KeySource, old: &[KeySource]) -> Result<Self, SealError> {
        let old = old.iter().map(KeySource::read).collect::<Result<_, _>>()?;
        Ok(Self { current: current.read()?, old })
    }

    /// The key that seals.
    pub fn current(&self) -> &KeyId {
        self.current.id()
    }

    /// Seals `secret` for `place`.
    ///
    /// # Errors
    /// [`SealError::Key`] when the library refuses the key.
    pub fn seal(&self, place: &Place<'_>, secret: &SecretString) -> Result<Sealed, SealError> {
        let plain = secret.expose_secret().as_bytes();
        // Of its final size at once: growth would leave copies of the secret behind.
        let mut text = Zeroizing::new(Vec::with_capacity(plain.len() + 16));
        text.extend_from_slice(plain);
        let key = aead(&self.current)?;
        let nonce =
            key.seal_in_place_append_tag(Aad::from(place.bytes()), &mut *text).map_err(|_| SealError::Broken)?;
        let blob = [nonce.as_ref().as_slice(), &text].concat();
        Ok(Sealed { key_id: self.current.id().clone(), blob: BASE64.encode(&blob) })
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`] and [`SealError::Broken`].
    pub fn open(&self, place: &Place<'_>, sealed: &Sealed) -> Result<SecretString, SealError> {
        let mut keys = std::iter::once(&self.current).chain(&self.old);
        let key = keys.find(|key| *key.id() == sealed.key_id).ok_or(SealError::UnknownKey(sealed.key_id.clone()))?;
        let blob = BASE64.decode(sealed.blob.as_bytes()).map_err(|_| SealError::Broken)?;
        let (nonce, text) = blob.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Broken)?;
        let mut text = Zeroizing::new(text.to_vec());
        let plain = aead(key)?
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place.bytes()), &mut text)
            .map_err(|_| SealError::Broken)?;
        std::str::from_utf8(plain).map(SecretString::from).map_err(|_| SealError::Broken)
    }
}

fn aead(key: &Key) -> Result<RandomizedNonceKey, SealError> {
    RandomizedNonceKey::new(&AES_256_GCM_SIV, key.bytes())
        .map_err(|_| SealError::Key("the library does not take the key".to_owned()))
}
