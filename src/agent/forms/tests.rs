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
        notice: None,
    }
}

fn made(form: Form) -> String {
    formed(form, "orders-read", Some(&lease()), &Opened::odd()).unwrap().to_string()
}

fn login_formed(form: Form, name: &str, login: Login) -> anyhow::Result<Zeroizing<String>> {
    formed(form, name, Some(&lease()), &Opened::Login(login))
}

#[test]
fn json_is_flat() {
    let read: serde_json::Value = serde_json::from_str(&made(Form::Json)).unwrap();
    let mut names: Vec<_> = read.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["database", "expires_at", "host", "kind", "lease_id", "password", "port", "url", "username"]);
    assert_eq!(read["password"], Login::odd().password.as_str());
    assert_eq!(read["port"], 5432);
    let whole: serde_json::Value = serde_json::from_str(&whole_json(Some(&lease()), &Opened::odd()).unwrap()).unwrap();
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
    assert!(login_formed(Form::Env, "r", nul).is_err());
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
        assert!(login_formed(Form::Pgservice, "r", login).is_err(), "{odd:?}");
    }
    assert!(login_formed(Form::Pgservice, "a]\nhost=x", Login::odd()).is_err());
}

#[test]
fn a_password_line_escapes_what_separates() {
    assert_eq!(made(Form::Pgpass), "db.internal:5432:or\\:ders:lh_a_b_c:it's $(a) \\\\ \"pass\"\\: `x`\n");
    let two_lines = Login { database: "a\nb".into(), ..Login::odd() };
    assert!(login_formed(Form::Pgpass, "r", two_lines).is_err());
}

#[test]
fn formats_of_postgres_are_for_postgres() {
    let other = || Login { url: Zeroizing::new("mysql://u:p@h/d".into()), ..Login::odd() };
    assert!(login_formed(Form::Pgpass, "r", other()).is_err());
    assert_eq!(login_formed(Form::Url, "r", other()).unwrap().as_str(), "mysql://u:p@h/d\n");
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
        assert!(login_formed(form, "r", broken).is_err(), "{form:?}");
    }
}

#[test]
fn a_token_is_json_with_and_without_a_lease() {
    let read = |text: Zeroizing<String>| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let token = Opened::token();
    let mut wanted = serde_json::json!({
        "kind": "token", "access_token": "e30.e30.c2ln", "token_type": "Bearer", "scope": "payments:read payments:write",
        "expires_at": "2026-01-02T03:14:05.678Z",
    });
    let whole = read(whole_json(None, &token).unwrap());
    assert_eq!(whole, serde_json::json!({ "lease": null, "credential": wanted }));
    let text = supplied_json(3, None, &token).unwrap();
    let supplied = read_supplied(&SecretString::from(text.as_str())).unwrap();
    assert!(supplied.lease.is_none() && supplied.generation == 3 && supplied.credential.kind() == "token");
    wanted["lease_id"] = serde_json::Value::Null;
    assert_eq!(read(formed(Form::Json, "payments-read", None, &token).unwrap()), wanted);
    wanted["lease_id"] = "06f0".into();
    let flat = formed(Form::Json, "payments-read", Some(&lease()), &token).unwrap();
    assert_eq!(flat.matches("expires_at").count(), 1, "{}", *flat);
    assert_eq!(read(flat), wanted);
}

#[test]
fn a_token_alone_is_read_to_its_end() {
    let made = |form, credential: &Opened| formed(form, "payments-read", None, credential);
    assert_eq!(made(Form::Token, &Opened::token()).unwrap().as_str(), "e30.e30.c2ln");
    let env = made(Form::Env, &Opened::token()).unwrap();
    assert!(env.starts_with("export ACCESS_TOKEN='e30.e30.c2ln'\nexport ACCESS_TOKEN_TYPE='Bearer'\n"), "{}", *env);
}

#[test]
fn a_form_of_another_kind_is_refused_with_those_that_fit() {
    let kinds = [
        (Opened::token(), "a token has no form {}: it can be json, env, token"),
        (
            Opened::odd(),
            "a login of a database has no form {}: it can be json, env, url, pgservice, pgpass, mysql, jdbc, pgbouncer",
        ),
        (Opened::Aws(Aws::session()), "a key of AWS has no form {}: it can be json, env, aws-process, aws-profile"),
    ];
    for (credential, refusal) in kinds {
        for form in Form::ALL.iter().copied() {
            let made = formed(form, "r", Some(&lease()), &credential);
            let fits = form.holds() == Holds::All || form.holds() == credential.kind();
            assert_eq!(made.is_ok(), fits, "{form:?}");
            if let Err(error) = made {
                assert_eq!(error.to_string(), refusal.replace("{}", form.name()));
            }
        }
    }
}

#[test]
fn keys_of_aws_are_kept_and_shown_as_the_api_has_them() {
    let read = |text: Zeroizing<String>| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let mut wanted = serde_json::json!({
        "kind": "aws", "access_key_id": "ASIAEXAMPLE", "secret_access_key": "wJalr/XUtnFEMI+K7MDENG=",
        "session_token": "IQoJb3JpZ2lu//8=", "region": "eu-central-1",
    });
    for session in [true, false] {
        let mut keys = Aws::session();
        if !session {
            keys.session_token = None;
            wanted["session_token"] = serde_json::Value::Null;
        }
        let text = supplied_json(3, Some(&lease()), &Opened::Aws(keys)).unwrap();
        let supplied = read_supplied(&SecretString::from(text.as_str())).unwrap();
        assert_eq!((supplied.generation, supplied.credential.kind()), (3, "aws"));
        let opened = open(&supplied.credential).unwrap();
        assert_eq!(read(whole_json(None, &opened).unwrap())["credential"], wanted);
        let mut flat = wanted.clone();
        flat["lease_id"] = "06f0".into();
        flat["expires_at"] = lease().expires_at.into();
        assert_eq!(read(formed(Form::Json, "s3", Some(&lease()), &opened).unwrap()), flat);
    }
}
