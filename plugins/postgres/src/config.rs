//! A target's settings.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use leasehold_pglink::{Address, Tls, host_and_port};
use leasehold_sdk::{Keys, SecretSource, SettingError, Settings};

use crate::quote::quote_ident;

/// Most replicas of one target: each is asked at every revocation.
const REPLICAS_MAX: usize = 16;

/// A target's checked settings. Its keys are described in this crate's README.
#[derive(Debug, Clone)]
pub(crate) struct TargetConfig {
    /// Where the server is, our login there and the database that we work from.
    pub(crate) address: Address,
    /// Our password; read again at each connect. `None`: the server must let us in by certificate or peer.
    pub(crate) password: Option<SecretSource>,
    /// Read replicas on which accounts may log in, each with its own TLS settings.
    pub(crate) replicas: Vec<(Address, Tls)>,
    /// By which statements we work.
    pub(crate) admin: Admin,
    /// Host and port that workloads are given.
    pub(crate) advertise: (String, u16),
    /// How connections are protected, ours and, by the URL, the workloads'.
    pub(crate) tls: Tls,
    /// Path of the CA as workloads have it, for the URL handed out.
    pub(crate) advertise_ca: Option<String>,
    /// PBKDF2 iterations of the verifiers that we make.
    pub(crate) scram_iterations: NonZeroU32,
    /// Connections for mints. There are others for everything else, so that ending never waits for making.
    pub(crate) connections: usize,
    /// Longest time that one statement of ours may take.
    pub(crate) statement_timeout: Duration,
    /// Longest time that one statement of ours waits for a lock.
    pub(crate) lock_timeout: Duration,
    /// Longest time for a connection to be made and prepared.
    pub(crate) connect_timeout: Duration,
}

/// By which statements the engine works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admin {
    /// `CREATE ROLE` and its kin, as a login with CREATEROLE or as a superuser.
    Createrole,
    /// SECURITY DEFINER functions in this schema, which a superuser installed: our login needs no right of its own.
    Functions {
        /// The schema, not quoted.
        schema: String,
    },
}

impl TargetConfig {
    /// Checks a target's settings; relative paths start at `base`.
    ///
    /// # Errors
    /// The key that is wrong and why.
    pub(crate) fn read(settings: Settings, base: &Path) -> Result<Self, SettingError> {
        let mut keys = Keys::new("postgres", settings);
        let url: String = keys.required("url", "postgres://user@host:port/database")?;
        let address = Address::parse(&url).map_err(|why| SettingError::new("url", why))?;
        for (what, name) in [("user", &address.user), ("database", &address.database)] {
            quote_ident(name).map_err(|e| SettingError::new("url", format!("the {what} cannot be a name: {e}")))?;
        }
        let (table, advertise_ca) = tls_table(&mut keys)?;
        let config = Self {
            password: keys.optional::<SecretSource>("password")?.map(|s| s.relative_to(base)),
            admin: admin(&mut keys)?,
            advertise: advertise(&mut keys, &address)?,
            replicas: replicas(&mut keys, &address, &table, base)?,
            tls: Tls::read(table, &address, base)?,
            advertise_ca,
            scram_iterations: NonZeroU32::new(keys.number("scram_iterations", 4096, 1..=1_000_000)?)
                .unwrap_or(NonZeroU32::MIN),
            connections: keys.number("connections", 4, 1..=32)? as usize,
            statement_timeout: keys.duration("statement_timeout", Duration::from_secs(10))?,
            lock_timeout: keys.duration("lock_timeout", Duration::from_secs(2))?,
            connect_timeout: keys.duration("connect_timeout", Duration::from_secs(5))?,
            address,
        };
        keys.finish()?;
        Ok(config)
    }
}

/// The same login as in `url`, on other servers.
fn replicas(
    keys: &mut Keys,
    primary: &Address,
    table: &Settings,
    base: &Path,
) -> Result<Vec<(Address, Tls)>, SettingError> {
    let urls: Vec<String> = keys.optional("replicas")?.unwrap_or_default();
    let wrong = |why: String| SettingError::new("replicas", why);
    if urls.len() > REPLICAS_MAX {
        return Err(wrong(format!("takes at most {REPLICAS_MAX} servers")));
    }
    let mut replicas: Vec<(Address, Tls)> = Vec::new();
    for url in &urls {
        let address = Address::parse(url).map_err(wrong)?;
        if address.user != primary.user {
            return Err(wrong("must name the user that `url` names: a replica has the same logins".into()));
        }
        quote_ident(&address.database).map_err(|e| wrong(format!("the database cannot be a name: {e}")))?;
        let known = replicas.iter().map(|(known, _)| known).chain([primary]);
        if known.into_iter().any(|known| (&known.host, known.port) == (&address.host, address.port)) {
            return Err(wrong(format!("names {}:{} twice, or it is the server of `url`", address.host, address.port)));
        }
        let tls = Tls::read(table.clone(), &address, base)?;
        replicas.push((address, tls));
    }
    Ok(replicas)
}

fn admin(keys: &mut Keys) -> Result<Admin, SettingError> {
    let word: Option<String> = keys.optional("admin")?;
    let schema: Option<String> = keys.optional("functions_schema")?;
    match word.as_deref().unwrap_or("createrole") {
        "createrole" if schema.is_some() => {
            Err(SettingError::new("functions_schema", "is only for admin = \"functions\""))
        }
        "createrole" => Ok(Admin::Createrole),
        "functions" => {
            let schema = schema.unwrap_or_else(|| "leasehold".into());
            quote_ident(&schema).map_err(|e| SettingError::new("functions_schema", e.to_string()))?;
            Ok(Admin::Functions { schema })
        }
        other => Err(SettingError::new("admin", format!("{other:?} is neither \"createrole\" nor \"functions\""))),
    }
}

fn advertise(keys: &mut Keys, address: &Address) -> Result<(String, u16), SettingError> {
    match keys.optional::<String>("advertise")? {
        None => Ok((address.host.clone(), address.port)),
        Some(place) => host_and_port(&place).map_err(|why| SettingError::new("advertise", why)),
    }
}

/// The table `tls`, and of it what is not for us: the path under which workloads have the CA.
fn tls_table(keys: &mut Keys) -> Result<(Settings, Option<String>), SettingError> {
    let mut table: Settings = keys.optional("tls")?.unwrap_or_default();
    let advertised = match table.remove("advertise_ca") {
        None => None,
        Some(serde_json::Value::String(path)) => Some(path),
        Some(_) => return Err(SettingError::new("tls.advertise_ca", "must be a path in quotes")),
    };
    Ok((table, advertised))
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_pglink::TlsMode;

    fn read(table: serde_json::Value) -> Result<TargetConfig, SettingError> {
        let serde_json::Value::Object(settings) = table else { panic!("a table") };
        TargetConfig::read(settings, Path::new("/etc/leasehold"))
    }

    #[test]
    fn verification_is_on_unless_the_server_is_here() {
        let far = read(serde_json::json!({"url": "postgres://u@db.internal/d"})).unwrap();
        assert_eq!(far.tls.mode, TlsMode::VerifyFull);
        let near = read(serde_json::json!({"url": "postgres://u@127.0.0.1/d"})).unwrap();
        assert_eq!(near.tls.mode, TlsMode::Prefer);
        let asked = read(serde_json::json!({"url": "postgres://u@127.0.0.1/d", "tls": {"ca": "ca.pem"}})).unwrap();
        assert_eq!(asked.tls.mode, TlsMode::VerifyFull);
        assert_eq!(asked.tls.ca.unwrap(), Path::new("/etc/leasehold/ca.pem"));
    }

    #[test]
    fn a_replica_is_verified_by_its_own_address() {
        let url = "postgres://u@127.0.0.1/d";
        let config = read(serde_json::json!({"url": url, "replicas": ["postgres://u@far:6000/d"]})).unwrap();
        let (address, tls) = &config.replicas[0];
        assert_eq!((address.port, tls.mode, config.tls.mode), (6000, TlsMode::VerifyFull, TlsMode::Prefer));
    }

    #[test]
    fn wrong_settings_are_named() {
        for (table, key) in [
            (serde_json::json!({}), "url"),
            (serde_json::json!({"url": "postgres://u:p@h/d"}), "url"),
            (serde_json::json!({"url": "postgres://u@h/d", "replicas": ["postgres://u:p@r/d"]}), "replicas"),
            (serde_json::json!({"url": "postgres://u@h/d", "replicas": ["postgres://v@r/d"]}), "replicas"),
            (serde_json::json!({"url": "postgres://u@h/d", "replicas": ["postgres://u@h/e"]}), "replicas"),
            (serde_json::json!({"url": "postgres://u@h/d", "admin": "root"}), "admin"),
            (serde_json::json!({"url": "postgres://u@h/d", "scram_iterations": 0}), "scram_iterations"),
            (serde_json::json!({"url": "postgres://u@h/d", "connections": 33}), "connections"),
            (serde_json::json!({"url": "postgres://u@h/d", "lock_timeout": "soon"}), "lock_timeout"),
            (serde_json::json!({"url": "postgres://u@h/d", "tls": {"cert": "c.pem"}}), "tls.key"),
            (serde_json::json!({"url": "postgres://u@h/d", "tls": {"sslmode": "x"}}), "tls"),
            (serde_json::json!({"url": "postgres://u@h/d", "pasword": {"env": "X"}}), "pasword"),
        ] {
            assert_eq!(read(table.clone()).unwrap_err().key, key, "{table}");
        }
    }
}
