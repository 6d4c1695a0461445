//! What `check` says of the audit log: what signs it, and whether collectors can be reached.

use std::time::Duration;

use leasehold_sdk::Level;

use super::super::audit::public_keys;
use super::report::Found;
use crate::audit::reach;
use crate::config::{AuditSink, AuditTo, Config, HttpsCollector};

/// Looks at what signs the log's checkpoints, and at each collector.
pub(super) async fn look(config: &Config) -> Vec<Found> {
    let found = |level, what: String| Found::new(level, "audit", what);
    let mut all = Vec::new();
    match public_keys(config) {
        Ok(Some(keys)) => {
            let signed = |id| found(Level::Good, format!("checkpoints are signed by key {id}"));
            all.extend(keys.first().map(|key| signed(key.id())));
        }
        Ok(None) => all.push(found(
            Level::Warning,
            "without [seal] the checkpoints are not signed: a log that is written anew as a whole, by somebody who can write the \
             store too, cannot be told from the real one; set seal.key"
                .to_owned(),
        )),
        // What is wrong with the key is said of [seal].
        Err(_) => {}
    }
    if !config.audit.iter().any(|sink| matches!(sink.to, AuditTo::File(_))) {
        let what =
            "no sink is a file: after a crash only the store tells where the chain ends, and may be two seconds behind";
        all.push(found(Level::Warning, what.to_owned()));
    }
    let patience = Duration::from_millis(config.limits.audit_send_milliseconds_max);
    for sink in &config.audit {
        let bad = if sink.required { Level::Error } else { Level::Warning };
        match collector(sink, patience).await {
            None => {}
            Some(Ok(())) => all.push(found(Level::Good, format!("{} can be reached", sink.to))),
            Some(Err(why)) => all.push(found(bad, format!("{} cannot be reached: {why}", sink.to))),
        }
    }
    all
}

/// `None`: the sink is no collector.
async fn collector(sink: &AuditSink, patience: Duration) -> Option<Result<(), String>> {
    let (place, authorization) = match &sink.to {
        AuditTo::File(_) | AuditTo::Stdout => return None,
        AuditTo::Syslog(place) => (place, &None),
        AuditTo::Https(HttpsCollector { place, authorization, .. }) => (place, authorization),
    };
    if let Some(Err(why)) = authorization.as_ref().map(|source| source.read()) {
        return Some(Err(format!("authorization: {why}")));
    }
    Some(reach(place, patience).await.map_err(|why| why.to_string()))
}
