use super::*;

pub(crate) fn lease() -> Lease {
    let time = || "2026-01-02T03:04:05.678Z".to_owned();
    Lease {
        id: "06f0".into(),
        role: "orders-read".into(),
        target: "orders".into(),
        identity: "spiffe://dev.local/billing".into(),
        state: "active".into(),
        ended_by: None,
        issued_at: time(),
        expires_at: time(),
        max_expires_at: time(),
        rotate_at: time(),
        renewable: true,
        revocable: "immediate".into(),
        worst_case_until: None,
        account: "lh_a_b_c".into(),
        attempts: None,
        last_error: None,
    }
}

fn made(form: Form) -> String {
    formed(form, "orders-read", &lease(), &Login::odd()).unwrap().to_string()
}

#[test]
fn json_is_flat() {
    let read: serde_json::Value = serde_json::from_str(&made(Form::Json)).unwrap();
    let mut names: Vec<_> = read.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["database", "expires_at", "host", "kind", "lease_id", "password", "port", "url", "username"]);
    assert_eq!(read["password"], Login::odd().password.as_str());
    assert_eq!(read["port"], 5432);
    let whole: serde_json::Value = serde_json::from_str(&whole_json(&lease(), &Login::odd()).unwrap()).unwrap();
    assert_eq!((&whole["lease"]["id"], &whole["credential"]["kind"]), (&"06f0".into(), &"database".into()));
}

/// The shell itself is asked whether the quoting holds.
#[test]
fn env_is_safe_in_a_shell() {
    let script = made(Form::Env) + "printf %s \"$PGPASSWORD\"; printf '|%s' \"$PGSSLMODE\"; printenv PGHOST";
    let ran = std::process::Command::new("sh").arg("-euc").arg(script).output().unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    let wanted = format!("{}|verify-fulldb.internal\n", *Login::odd().password);
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), wanted);
    let nul = Login { database: "a\0b".into(), ..Login::odd() };
    assert!(formed(Form::Env, "r", &lease(), &nul).is_err());
}

#[test]
fn a_service_is_a_section() {
    let password = Login::odd().password;
    let wanted = format!(
        "[orders-read]\nhost=db.internal\nport=5432\ndbname=or:ders\nuser=lh_a_b_c\npassword={}\nsslmode=verify-full\nsslrootcert=/ca.pem\n",
        *password
    );
    assert_eq!(made(Form::Pgservice), wanted);
    for odd in ["a\npassword=x", " a", "a "] {
        let login = Login { database: odd.into(), ..Login::odd() };
        assert!(formed(Form::Pgservice, "r", &lease(), &login).is_err(), "{odd:?}");
    }
    assert!(formed(Form::Pgservice, "a]\nhost=x", &lease(), &Login::odd()).is_err());
}

#[test]
fn a_password_line_escapes_what_separates() {
    assert_eq!(made(Form::Pgpass), "db.internal:5432:or\\:ders:lh_a_b_c:it's $(a) \\\\ \"pass\"\\: `x`\n");
    let two_lines = Login { database: "a\nb".into(), ..Login::odd() };
    assert!(formed(Form::Pgpass, "r", &lease(), &two_lines).is_err());
}

#[test]
fn formats_of_postgres_are_for_postgres() {
    let other = Login { url: Zeroizing::new("mysql://u:p@h/d".into()), ..Login::odd() };
    assert!(formed(Form::Pgpass, "r", &lease(), &other).is_err());
    assert_eq!(formed(Form::Url, "r", &lease(), &other).unwrap().as_str(), "mysql://u:p@h/d\n");
}

#[test]
fn other_readers_have_their_own_quoting() {
    let password = "it's $(a) \\ \"pass\": `x`";
    assert_eq!(*Login::odd().password, password);
    let mysql = made(Form::Mysql);
    assert!(mysql.starts_with("[client]\nhost=\"db.internal\"\nport=\"5432\"\n"), "{mysql}");
    assert!(mysql.contains("password=\"it's $(a) \\\\ \\\"pass\\\": `x`\"\n"), "{mysql}");
    let jdbc = made(Form::Jdbc);
    let url =
        "jdbcUrl=jdbc\\:postgresql\\://db.internal\\:5432/or%3Aders?sslmode\\=verify-full&sslrootcert\\=%2Fca.pem\n";
    assert!(jdbc.starts_with(url), "{jdbc}");
    assert!(jdbc.ends_with("password=it's\\ $(a)\\ \\\\\\ \"pass\"\\:\\ `x`\n"), "{jdbc}");
    let pgbouncer = made(Form::Pgbouncer);
    assert!(pgbouncer.starts_with("[databases]\norders-read = host='db.internal' port='5432' dbname='or:ders'"));
    assert!(pgbouncer.ends_with("password='it''s $(a) \\ \"pass\": `x`'\n"), "{pgbouncer}");
    for form in [Form::Mysql, Form::Jdbc, Form::Pgbouncer] {
        let broken = Login { username: "a\nb".into(), ..Login::odd() };
        assert!(formed(form, "r", &lease(), &broken).is_err(), "{form:?}");
    }
}
