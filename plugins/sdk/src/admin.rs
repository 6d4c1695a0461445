//! The secret of a target's admin login, where the core keeps it in place of the configuration.

use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;

/// The secrets by which the admin login may be known to its target, in the order in which they are to be tried. The core sets
/// them, the engine tells which one let it in. Empty: only the configured one is known.
///
/// More than one is known where a rotation was cut short, or where the target or the store is an older copy of itself.
#[derive(Clone, Default)]
pub struct AdminSecrets(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    secrets: Vec<AdminSecret>,
    proved: Option<u64>,
}

/// One of them.
#[derive(Clone)]
pub struct AdminSecret {
    /// Which of those that came after each other.
    pub generation: u64,
    /// The secret.
    pub secret: Arc<SecretString>,
}

impl AdminSecrets {
    fn with<R>(&self, f: impl FnOnce(&mut Kept) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets what is to be tried, best first.
    pub fn set(&self, secrets: Vec<AdminSecret>) {
        self.with(|kept| kept.secrets = secrets);
    }

    /// What is to be tried before the configured secret, best first.
    pub fn candidates(&self) -> Vec<AdminSecret> {
        self.with(|kept| kept.secrets.clone())
    }

    /// This one let the engine in; `None`: the configured one did.
    pub fn prove(&self, generation: Option<u64>) {
        self.with(|kept| kept.proved = generation);
    }

    /// Which one let the engine in last.
    pub fn proved(&self) -> Option<u64> {
        self.with(|kept| kept.proved)
    }
}
