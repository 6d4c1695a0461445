//! What is wrong with an `agent.toml` is told with line and key.

use super::*;

const HEAD: &str = "addr = \"https://leasehold.internal:8443\"\nsvid = { cert = \"svid.pem\", key = \"svid-key.pem\" }\n\
                    bundle = \"bundle.pem\"\n[credentials.orders]\nrole = \"orders-read\"\nconsumers = [\"pool\"]\n";

fn read(more: &str) -> Result<AgentConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, format!("{HEAD}{more}")).unwrap();
    load(&path).map_err(|errors| errors.to_string())
}

fn hook(lines: &str) -> Result<Deed, String> {
    let read = read(&format!("[[credentials.orders.on_change]]\n{lines}\n"))?;
    Ok(read.credentials["orders"].on_change[0].deed.clone())
}

#[test]
fn each_hook_is_one_deed_and_says_what_it_lacks() {
    for (lines, why) in [
        ("timeout = \"10s\"", "must have one of"),
        ("run = [\"true\"]\nurl = \"http://127.0.0.1/\"", "must have one of"),
        ("run = []", "run: names no program"),
        ("run = [\"true\"]\ntimeout = \"0s\"", "timeout: must be more than 0 and at most 10m"),
        ("run = [\"true\"]\nacks = \"nobody\"", "there is no such consumer"),
        ("signal = \"SIGHUP\"", "pid_file"),
        ("signal = \"SIGKILL\"\npid_file = \"pid\"", "must be one of SIGHUP"),
        ("url = \"ftp://127.0.0.1/\"", "must be an http or https URL"),
        ("run = [\"true\"]\npassword = { file = \"p\" }", "password: unknown key"),
        ("pgbouncer = \"postgres://warden@10.0.0.1/pgbouncer\"", "must be on this machine"),
        ("pgbouncer = \"postgres://warden@127.0.0.1:6432/orders\"", "must end with /pgbouncer"),
        ("pgbouncer = \"postgres://warden:secret@127.0.0.1/pgbouncer\"", "must not hold a password"),
        ("pgbouncer = \"postgres://warden@127.0.0.1/pgbouncer\"\npassword = \"secret\"", "password: must be a table"),
    ] {
        let said = hook(lines).unwrap_err();
        assert!(said.contains(why), "{lines}: {said}");
        assert!(said.contains("agent.toml:") && !said.contains("secret"), "{lines}: {said}");
    }
}

#[test]
fn a_scope_is_for_tokens_and_so_is_every_file_beside_it() {
    let read = |more: &str| read(&format!("{more}\n")).map(|config| config.credentials["orders"].wanted.scope.clone());
    let file = |format: &str| format!("\n[[credentials.orders.files]]\npath = \"{format}\"\nformat = \"{format}\"");
    let scope = "scope = \"payments:read payments:write\"";
    let both = read(&(scope.to_owned() + &file("token") + &file("json"))).unwrap();
    assert_eq!(both.as_deref(), Some("payments:read payments:write"));
    assert_eq!(read(&(file("pgpass") + &file("env"))).unwrap(), None);
    for (lines, why) in [
        ("scope = \"\"".to_owned(), "scope: must be scopes with one space between"),
        ("scope = \"a\\tb\"".to_owned(), "scope: must be scopes with one space between"),
        (
            scope.to_owned() + &file("pgpass"),
            "files: the format pgpass is for logins of databases, and scope for tokens",
        ),
        (
            file("url") + &file("token"),
            "files: the format url is for logins of databases, and the format token for tokens",
        ),
    ] {
        let said = read(&lines).unwrap_err();
        assert!(said.contains(why) && said.contains("agent.toml:"), "{lines}: {said}");
    }
}

#[test]
fn a_consumer_may_be_one_users_whom_the_socket_hears() {
    let read = |socket: &str, consumers: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        let text = HEAD.replace("[\"pool\"]", consumers).replace("[credentials", &format!("{socket}\n[credentials"));
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|errors| errors.to_string())
    };
    let socket = "socket = { path = \"s\", uids = [0, 1000] }";
    let config = read(socket, "[\"a\", { name = \"b\", uid = 1000 }]").unwrap();
    let consumers = &config.credentials["orders"].consumers;
    assert_eq!(*consumers, Consumers::from([("a".into(), None), ("b".into(), Some(1000))]));
    for (socket, consumers, why) in [
        (socket, "[{ name = \"b\" }]", "consumers[0].uid: is missing"),
        (socket, "[\"a\", 7]", "consumers[1]: must be a string or a table"),
        (socket, "[{ name = \"b\", uid = -1 }]", "consumers[0].uid: must be a whole number"),
        (socket, "[{ name = \"b\", uid = 1001 }]", "consumers[0].uid: is not in socket.uids"),
        ("", "[{ name = \"b\", uid = 1000 }]", "is not in socket.uids"),
        (socket, "[\"b\", { name = \"b\", uid = 1000 }]", "b is there twice"),
        (socket, "[{ name = \"b\", uid = 1000, gid = 1 }]", "consumers[0].gid: unknown key"),
    ] {
        let said = read(socket, consumers).unwrap_err();
        assert!(said.contains(why) && said.contains("agent.toml:"), "{consumers}: {said}");
    }
}

#[test]
fn what_holds_a_secret_in_our_environment_is_no_programs() {
    let hook = "pgbouncer = \"postgres://warden@127.0.0.1/pgbouncer\"\npassword = { env = \"CONSOLE\" }";
    let config = read(&format!("[[credentials.orders.on_change]]\n{hook}\n")).unwrap();
    assert_eq!(*config.withheld, ["CONSOLE"]);
    assert!(read("").unwrap().withheld.is_empty());
}

#[test]
fn a_pgbouncer_is_waited_for_if_its_change_is_acknowledged() {
    let console = "pgbouncer = \"postgres://warden@%2Frun%2Fpgbouncer:6432/pgbouncer\"";
    let drains = |lines: String| match hook(&lines).unwrap() {
        Deed::PgBouncer { console, drain, password: None, .. } => (console.host, drain),
        other => panic!("{other:?}"),
    };
    assert_eq!(drains(console.to_owned()), ("/run/pgbouncer".to_owned(), false));
    assert_eq!(drains(format!("{console}\nacks = \"pool\"")), ("/run/pgbouncer".to_owned(), true));
}
