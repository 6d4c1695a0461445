//! The credential as a workload gets it.

use leasehold_sdk::{Credential, DatabaseCredential};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::config::TargetConfig;
use leasehold_pglink::encoded;

/// Puts a credential together. Its URL says `sslmode` and CA as the target's own settings demand, so that a workload
/// checks the server at least as closely as we do.
pub(crate) fn credential(config: &TargetConfig, username: &str, password: SecretString, database: &str) -> Credential {
    let (host, port) = &config.advertise;
    let url = url(config, username, &password, database);
    Credential::Database(DatabaseCredential {
        username: username.to_owned(),
        host: host.clone(),
        port: *port,
        database: database.to_owned(),
        url,
        password,
    })
}

fn url(config: &TargetConfig, username: &str, password: &SecretString, database: &str) -> SecretString {
    let (host, port) = &config.advertise;
    let place = match host.as_str() {
        // libpq wants a socket's directory as a parameter.
        h if h.starts_with('/') => String::new(),
        h if h.contains(':') => format!("[{h}]:{port}"),
        h => format!("{h}:{port}"),
    };
    let mut query = format!("?sslmode={}", config.tls.mode.as_str());
    let ca = config.advertise_ca.clone().or_else(|| config.tls.ca.as_ref().map(|p| p.display().to_string()));
    if let Some(ca) = ca {
        query.push_str(&format!("&sslrootcert={}", encoded(&ca)));
    }
    if host.starts_with('/') {
        query.push_str(&format!("&host={}&port={port}", encoded(host)));
    }
    let (user, database) = (encoded(username), encoded(database));
    let secret = password.expose_secret();
    // The final size at once: growth would leave copies of the secret behind.
    let size = 32 + user.len() + secret.len() + place.len() + database.len() + query.len();
    let mut text = Zeroizing::new(String::with_capacity(size));
    for part in ["postgresql://", &user, ":", secret, "@", &place, "/", &database, &query] {
        text.push_str(part);
    }
    SecretString::from(text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_says_what_the_target_demands() {
        let said = |url: &str, more: serde_json::Value| {
            let mut table = serde_json::json!({"url": url});
            table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let config =
                TargetConfig::read(table.as_object().unwrap().clone(), std::path::Path::new("/etc/lh")).unwrap();
            super::url(&config, "lh_a", &SecretString::from("pw"), "d b").expose_secret().to_owned()
        };
        assert_eq!(
            said("postgres://u@db:5/d", serde_json::json!({"tls": {"ca": "ca.pem"}, "advertise": "pool:6432"})),
            "postgresql://lh_a:pw@pool:6432/d%20b?sslmode=verify-full&sslrootcert=%2Fetc%2Flh%2Fca.pem"
        );
        assert_eq!(
            said("postgres://u@[::1]/d", serde_json::json!({})),
            "postgresql://lh_a:pw@[::1]:5432/d%20b?sslmode=prefer"
        );
        assert_eq!(
            said("postgres://u@%2Frun%2Fpg/d", serde_json::json!({})),
            "postgresql://lh_a:pw@/d%20b?sslmode=prefer&host=%2Frun%2Fpg&port=5432"
        );
    }
}
