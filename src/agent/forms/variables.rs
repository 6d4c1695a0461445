//! A credential as environment variables.

use zeroize::Zeroizing;

use super::{Aws, Login, Opened, Token};

/// What libpq reads from the environment for options that a URL carries in its query.
const PG_OPTIONS: [(&str, &str); 6] = [
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("application_name", "PGAPPNAME"),
];

/// One variable.
pub type Variable = (String, Zeroizing<String>);

/// The variables of one credential and the lease's id, if it has one. For a login: those of libpq if it is for PostgreSQL, and
/// `DATABASE_URL`. For keys of AWS: those of its SDKs. For a token, of which no reader has names of his own: `ACCESS_TOKEN` and what
/// begins with it.
pub fn of(lease: Option<&str>, credential: &Opened) -> Vec<Variable> {
    let mut all = Vec::new();
    let mut put = |name: &str, value: &str| all.push((name.to_owned(), Zeroizing::new(value.to_owned())));
    match credential {
        Opened::Login(login) => of_login(login, &mut put),
        Opened::Token(Token { access_token, token_type, scope, expires_at }) => {
            put("ACCESS_TOKEN", access_token);
            put("ACCESS_TOKEN_TYPE", token_type);
            put("ACCESS_TOKEN_SCOPE", scope);
            put("ACCESS_TOKEN_EXPIRES_AT", expires_at);
        }
        Opened::Aws(keys) => of_aws(keys, &mut put),
    }
    if let Some(lease) = lease {
        put("LEASEHOLD_LEASE_ID", lease);
    }
    all
}

fn of_login(login: &Login, put: &mut impl FnMut(&str, &str)) {
    if login.is_postgres() {
        put("PGHOST", &login.host);
        put("PGPORT", &login.port.to_string());
        put("PGUSER", &login.username);
        put("PGPASSWORD", &login.password);
        put("PGDATABASE", &login.database);
        for (key, value) in login.options() {
            if let Some((_, name)) = PG_OPTIONS.iter().find(|(option, _)| *option == key) {
                put(name, &value);
            }
        }
    }
    put("DATABASE_URL", &login.url);
}

fn of_aws(keys: &Aws, put: &mut impl FnMut(&str, &str)) {
    put("AWS_ACCESS_KEY_ID", &keys.access_key_id);
    put("AWS_SECRET_ACCESS_KEY", &keys.secret_access_key);
    if let Some(token) = &keys.session_token {
        put("AWS_SESSION_TOKEN", token);
    }
    // Some readers know the one name, some the other.
    put("AWS_REGION", &keys.region);
    put("AWS_DEFAULT_REGION", &keys.region);
}

/// The beginning of a role's variables where several roles share one environment: `orders-read` is `ORDERS_READ_`.
pub fn prefix(role: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let mut prefix: String = role.chars().map(plain).collect();
    if prefix.starts_with(|c: char| c.is_ascii_digit()) {
        prefix.insert(0, '_');
    }
    prefix + "_"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postgres_login_is_what_libpq_reads() {
        let all = of(Some("06f0"), &Opened::odd());
        let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(all[0], ("PGHOST", "db.internal"));
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        let pg = ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT"];
        assert_eq!(names, [&pg[..], &["DATABASE_URL", "LEASEHOLD_LEASE_ID"]].concat());
    }

    #[test]
    fn another_database_has_its_url_only() {
        let other = Login { url: Zeroizing::new("mysql://u:p@h/d".into()), ..Login::odd() };
        assert_eq!(of(Some("x"), &Opened::Login(other)).len(), 2);
    }

    #[test]
    fn a_token_has_names_that_begin_alike() {
        let names = |lease| of(lease, &Opened::token()).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let token = ["ACCESS_TOKEN", "ACCESS_TOKEN_TYPE", "ACCESS_TOKEN_SCOPE", "ACCESS_TOKEN_EXPIRES_AT"];
        assert_eq!(names(None), token);
        assert_eq!(names(Some("06f0")), [&token[..], &["LEASEHOLD_LEASE_ID"]].concat());
    }

    #[test]
    fn keys_of_aws_are_what_its_sdks_read() {
        let names = |keys| of(Some("06f0"), &Opened::Aws(keys)).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let session = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"];
        assert_eq!(names(Aws::session()), [&session[..], &["AWS_DEFAULT_REGION", "LEASEHOLD_LEASE_ID"]].concat());
        let of_user = names(Aws { session_token: None, ..Aws::session() });
        assert!(of_user.len() == 5 && !of_user.contains(&"AWS_SESSION_TOKEN".to_owned()), "{of_user:?}");
    }

    #[test]
    fn a_prefix_is_a_good_name() {
        assert_eq!(prefix("orders-read"), "ORDERS_READ_");
        assert_eq!(prefix("7.é"), "_7___");
    }
}
