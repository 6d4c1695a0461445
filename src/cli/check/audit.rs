//! What `check` says of the audit log.

use leasehold_sdk::Level;

use super::super::audit::public_keys;
use super::report::Found;
use crate::config::Config;

/// Looks at what the log's checkpoints are signed by.
pub(super) fn look(config: &Config) -> Vec<Found> {
    let found = |level, what: String| vec![Found::new(level, "audit", what)];
    match public_keys(config) {
        Ok(Some(keys)) => match keys.first() {
            Some(key) => found(Level::Good, format!("checkpoints are signed by key {}", key.id())),
            None => Vec::new(),
        },
        Ok(None) => {
            let what = "without [seal] the checkpoints are not signed: a log that is written anew as a whole, by somebody who can \
                        write the store too, cannot be told from the real one; set seal.key";
            found(Level::Warning, what.to_owned())
        }
        // What is wrong with the key is said of [seal].
        Err(_) => Vec::new(),
    }
}
