//! The SPIFFE bundle format: a JWK Set (Trust Domain and Bundle 4, X509-SVID 6).

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Map, Value};

use super::{AddError, BundleError, TrustBundle, json};
use crate::error::tame;

const KNOWN_KTY: [&str; 3] = ["EC", "RSA", "OKP"];

pub(super) fn parse(content: &[u8], now_unix_ms: i64) -> Result<TrustBundle, BundleError> {
    let document = json::parse(content).map_err(|e| BundleError::Json(tame(&e.to_string())))?;
    let document = document.as_object().ok_or(BundleError::NotSpiffe("it is not a JSON object"))?;
    let keys =
        document.get("keys").and_then(Value::as_array).ok_or(BundleError::NotSpiffe("there is no list \"keys\""))?;
    let mut bundle =
        TrustBundle { sequence: sequence(document)?, refresh_hint: refresh_hint(document), ..TrustBundle::default() };
    for (at, key) in keys.iter().enumerate() {
        let name = format!("keys[{at}]");
        match authority(key) {
            Entry::Authority(der) => match bundle.add(der.into(), now_unix_ms, &name) {
                Ok(()) => {}
                Err(AddError::TooMany) => return Err(BundleError::TooMany),
                Err(AddError::Unreadable(why)) => bundle.ignored.push(format!("{name} is left out: {why}")),
            },
            Entry::NotOurs => {}
            Entry::Ignored(why) => bundle.ignored.push(format!("{name} is left out: {why}")),
        }
    }
    Ok(bundle)
}

/// What one entry of `keys` is to us.
enum Entry {
    Authority(Vec<u8>),
    /// Of another use or unknown: the standard says to pass over it, so nobody need be told.
    NotOurs,
    Ignored(&'static str),
}

fn authority(key: &Value) -> Entry {
    let Some(key) = key.as_object() else {
        return Entry::Ignored("it is not an object");
    };
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    match text("kty") {
        Some(kty) if KNOWN_KTY.contains(&kty) => {}
        _ => return Entry::NotOurs,
    }
    if text("use") != Some("x509-svid") {
        return Entry::NotOurs;
    }
    if key.contains_key("kid") {
        return Entry::Ignored("an x509-svid key must not have a kid");
    }
    // Only the first certificate is the authority; what follows it must not be trusted.
    let first = key.get("x5c").and_then(Value::as_array).and_then(|certs| certs.first()).and_then(Value::as_str);
    let Some(first) = first else {
        return Entry::Ignored("it has no x5c");
    };
    match BASE64.decode(first.as_bytes()) {
        Ok(der) => Entry::Authority(der),
        Err(_) => Entry::Ignored("its x5c is not base64"),
    }
}

/// What is no number of seconds is no hint: the bundle is as good without.
fn refresh_hint(document: &Map<String, Value>) -> Option<Duration> {
    document.get("spiffe_refresh_hint").and_then(Value::as_u64).map(Duration::from_secs)
}

fn sequence(document: &Map<String, Value>) -> Result<Option<u64>, BundleError> {
    match document.get("spiffe_sequence") {
        None => Ok(None),
        Some(value) => {
            let number = value
                .as_u64()
                .ok_or(BundleError::NotSpiffe("spiffe_sequence is not a whole number from 0 to 2^64-1"))?;
            Ok(Some(number))
        }
    }
}
