//! A credential as environment variables.

use zeroize::Zeroizing;

use super::Login;

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

/// The variables of one credential: those of libpq if it is for PostgreSQL, `DATABASE_URL`, and the lease's id.
pub fn of(lease: &str, login: &Login) -> Vec<Variable> {
    let mut all = Vec::new();
    let mut put = |name: &str, value: &str| all.push((name.to_owned(), Zeroizing::new(value.to_owned())));
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
    put("LEASEHOLD_LEASE_ID", lease);
    all
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
        let all = of("06f0", &Login::odd());
        let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(all[0], ("PGHOST", "db.internal"));
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        let pg = ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT"];
        assert_eq!(names, [&pg[..], &["DATABASE_URL", "LEASEHOLD_LEASE_ID"]].concat());
    }

    #[test]
    fn another_database_has_its_url_only() {
        let other = Login { url: Zeroizing::new("mysql://u:p@h/d".into()), ..Login::odd() };
        assert_eq!(of("x", &other).len(), 2);
    }

    #[test]
    fn a_prefix_is_a_good_name() {
        assert_eq!(prefix("orders-read"), "ORDERS_READ_");
        assert_eq!(prefix("7.é"), "_7___");
    }
}
