//! Where an issuer's keys come from: its public listener, or files that were exported from it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::fetch::Https;
use super::kept::{Fetched, Kept};
use super::keys::KeySet;
use crate::limits::{ISSUER_DOCUMENT_BYTES_MAX, KEY_FILES_FRESH, KEYS_FRESH_DEFAULT, KEYS_FRESH_MAX, KEYS_FRESH_MIN};

const JSON: &str = "application/json, application/jwk-set+json";

/// Where the document is that says where everything is (OpenID Connect Discovery 1.0 section 4; for an issuer with a path, the
/// form that is appended).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Files are looked at again this soon for a key that is not known.
const FILES_PAUSE: Duration = Duration::from_secs(1);

/// Keys over HTTPS. They are used for `kept_for` after the last time that the issuer told them.
pub(super) fn over_https(https: Arc<Https>, issuer: &str, kept_for: Duration) -> Kept<KeySet> {
    let issuer: Arc<str> = issuer.into();
    // The issuer is asked where its keys are once, and again when they are not there any more.
    let known: Arc<Mutex<Option<String>>> = Arc::default();
    Kept::new(move || {
        let (https, issuer, known) = (Arc::clone(&https), Arc::clone(&issuer), Arc::clone(&known));
        async move {
            let place = known.lock().unwrap_or_else(PoisonError::into_inner).take();
            let place = match place {
                Some(place) => place,
                None => {
                    let answer = https.get(&format!("{issuer}{DISCOVERY}"), JSON, ISSUER_DOCUMENT_BYTES_MAX).await?;
                    jwks_uri(&answer.body, &issuer).map_err(|why| format!("{issuer}{DISCOVERY}: {why}"))?
                }
            };
            let answer = https.get(&place, JSON, ISSUER_DOCUMENT_BYTES_MAX).await?;
            let value = KeySet::parse(&answer.body).map_err(|why| format!("{place}: {why}"))?;
            *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
            let fresh_for = answer.max_age.unwrap_or(KEYS_FRESH_DEFAULT).clamp(KEYS_FRESH_MIN, KEYS_FRESH_MAX);
            Ok(Fetched { value, fresh_for, good_for: kept_for })
        }
    })
}

/// Keys from the files that `leasehold token export-discovery` writes. They are read again and again; whoever replaces them does
/// so by a rename.
pub(super) fn in_folder(folder: PathBuf, issuer: &str, kept_for: Duration) -> Kept<KeySet> {
    let issuer: Arc<str> = issuer.into();
    let kept = Kept::new(move || {
        let (folder, issuer) = (folder.clone(), Arc::clone(&issuer));
        async move {
            let discovery = folder.join(DISCOVERY.trim_start_matches('/'));
            jwks_uri(&read(&discovery).await?, &issuer).map_err(|why| format!("{}: {why}", discovery.display()))?;
            let keys = folder.join("oauth2/jwks");
            let value = KeySet::parse(&read(&keys).await?).map_err(|why| format!("{}: {why}", keys.display()))?;
            Ok(Fetched { value, fresh_for: KEY_FILES_FRESH, good_for: kept_for })
        }
    });
    kept.with_pause(FILES_PAUSE)
}

/// Where the keys are, by the word of the issuer that is believed and of no other (OpenID Connect Discovery 1.0 section 4.3,
/// RFC 8414 section 3.3).
fn jwks_uri(document: &[u8], issuer: &str) -> Result<String, &'static str> {
    #[derive(Deserialize)]
    struct Discovery {
        issuer: String,
        jwks_uri: String,
    }
    let found: Discovery = serde_json::from_slice(document).map_err(|_| "it is no discovery document")?;
    if found.issuer != issuer {
        return Err("it is of another issuer");
    }
    match found.jwks_uri.strip_prefix(issuer) {
        Some(path) if path.starts_with('/') => Ok(found.jwks_uri),
        _ => Err("its jwks_uri is not its issuer's"),
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut content = Vec::new();
    let most = ISSUER_DOCUMENT_BYTES_MAX as u64;
    file.take(most + 1).read_to_end(&mut content).await.map_err(failed)?;
    if content.len() > ISSUER_DOCUMENT_BYTES_MAX {
        return Err(format!("{} is larger than {most} bytes", path.display()));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_issuer_itself_says_where_its_keys_are() {
        let of = |issuer: &str, uri: &str| {
            let document = serde_json::json!({"issuer": issuer, "jwks_uri": uri}).to_string();
            jwks_uri(document.as_bytes(), "https://l.example")
        };
        assert_eq!(of("https://l.example", "https://l.example/oauth2/jwks").unwrap(), "https://l.example/oauth2/jwks");
        for issuer in ["https://l.example/", "https://L.example", "https://m.example", "http://l.example"] {
            assert_eq!(of(issuer, "https://l.example/oauth2/jwks"), Err("it is of another issuer"), "{issuer}");
        }
        for uri in
            ["https://l.example.evil/k", "https://l.example@evil/k", "http://l.example/k", "https://l.example", "/k"]
        {
            assert_eq!(of("https://l.example", uri), Err("its jwks_uri is not its issuer's"), "{uri}");
        }
    }
}
