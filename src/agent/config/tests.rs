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
        (
            file("aws-profile") + &file("pgpass"),
            "files: the format aws-profile is for keys of AWS, and the format pgpass for logins of databases",
        ),
    ] {
        let said = read(&lines).unwrap_err();
        assert!(said.contains(why) && said.contains("agent.toml:"), "{lines}: {said}");
    }
}

#[test]
fn the_sdks_of_aws_ask_on_the_port_by_a_token_that_opens_one_credential_only() {
    let read = |listen: &str, more: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, HEAD.replace("[credentials", &format!("{listen}\n[credentials")) + more).unwrap();
        load(&path)
            .map(|config| config.credentials["orders"].aws_token_file.clone())
            .map_err(|errors| errors.to_string())
    };
    let listen = "listen = { addr = \"127.0.0.1:8450\", token_file = \"agent.token\" }";
    let file = read(listen, "aws_token_file = \"aws.token\"\n").unwrap().unwrap();
    assert!(file.is_absolute() && file.ends_with("aws.token"));
    assert_eq!(read(listen, "").unwrap(), None);
    let other = "[credentials.other]\nrole = \"r\"\naws_token_file = \"aws.token\"\n";
    for (listen, more, why) in [
        ("", "aws_token_file = \"aws.token\"".to_owned(), "credentials.orders.aws_token_file: needs listen"),
        (listen, "aws_token_file = \"agent.token\"".to_owned(), "is the token of listen: it would open both"),
        (listen, format!("aws_token_file = \"aws.token\"\n{other}"), "is the token of orders: it would open both"),
        (listen, "aws_token_file = \"\"".to_owned(), "aws_token_file: "),
        (
            listen,
            "aws_token_file = \"aws.token\"\nscope = \"a\"".to_owned(),
            "scope is for tokens, and aws_token_file for keys of AWS, which can be json, env, aws-process, aws-profile",
        ),
        (
            listen,
            "aws_token_file = \"aws.token\"\n[[credentials.orders.files]]\npath = \"f\"\nformat = \"url\"".to_owned(),
            "files: the format url is for logins of databases, and aws_token_file for keys of AWS",
        ),
    ] {
        let said = read(listen, &more).unwrap_err();
        assert!(said.contains(why) && said.contains("agent.toml:"), "{more}: {said}");
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

#[test]
fn a_place_for_verdicts_says_whose_tokens_and_who_may_ask() {
    const WHOSE: &str = "issuer = \"https://l.example\"\naudience = \"https://p.example\"";
    let one = |lines: &str| {
        let config = read(&format!("[[forward_auth]]\n{lines}\n"));
        config.map(|mut config| config.forward_auth.pop().unwrap())
    };
    let config = one(&format!("listen = \"127.0.0.1:9466\"\n{WHOSE}")).unwrap();
    assert_eq!(config.listen, ListenOn::Port("127.0.0.1:9466".parse().unwrap()));
    assert!(config.keys == KeysFrom::Broker && config.trusted_proxies.is_empty());
    let proxies =
        "trusted_proxies = [\"spiffe://d/ns/edge/sa/nginx\"]\ncertificate_header = \"X-Forwarded-Client-Cert\"";
    let more = "keys = { folder = \"keys\" }\nstatus = \"require\"\nrenewed_certificate = \"1h\"\nleeway = \"5s\"\nrequire_certificate = false";
    let config = one(&format!("listen = \"0.0.0.0:9466\"\n{WHOSE}\n{proxies}\n{more}")).unwrap();
    assert_eq!(config.certificate_header, "x-forwarded-client-cert");
    assert!(matches!(&config.keys, KeysFrom::Folder(folder) if folder.ends_with("keys") && folder.is_absolute()));
    let socket = one(&format!("listen = \"unix:auth.sock\"\n{WHOSE}")).unwrap().listen;
    assert!(matches!(socket, ListenOn::Socket(path) if path.ends_with("auth.sock") && path.is_absolute()));
    for (lines, why) in [
        ("listen = \"127.0.0.1:9466\"".to_owned(), "forward_auth[0].issuer: is missing"),
        (format!("listen = \"nowhere\"\n{WHOSE}"), "listen: must be an address and a port"),
        (format!("listen = \"unix:\"\n{WHOSE}"), "listen: names no socket"),
        (format!("listen = \"0.0.0.0:9466\"\n{WHOSE}"), "listen: must be a loopback address, or trusted_proxies"),
        (format!("listen = \"127.0.0.1:1\"\n{WHOSE}\ntrusted_proxies = []"), "trusted_proxies: names nobody"),
        (format!("listen = \"127.0.0.1:1\"\n{WHOSE}\ntrusted_proxies = [\"nginx\"]"), "is no SPIFFE ID"),
        (format!("listen = \"127.0.0.1:1\"\n{WHOSE}\ncertificate_header = \"X-C\""), "needs trusted_proxies"),
        (format!("listen = \"127.0.0.1:1\"\n{WHOSE}\n{proxies}, \"x\""), "agent.toml:"),
        (format!("listen = \"127.0.0.1:1\"\n{WHOSE}\nstatus = \"maybe\""), "status: must be ignore"),
        (format!("listen = \"127.0.0.1:1\"\n{WHOSE}\nleeway = \"1h\""), "leeway: must be at most 300 s"),
        (
            format!("listen = \"127.0.0.1:1\"\n{WHOSE}\nkeys = {{ web = true, ca = \"ca.pem\" }}"),
            "keys: must have one of",
        ),
        (format!("listen = \"127.0.0.1:1\"\n{WHOSE}\nkeys = {{}}"), "keys: must have one of"),
        (format!("listen = \"127.0.0.1:1\"\n{WHOSE}\nscope = \"a\""), "scope: unknown key"),
        (
            "listen = \"127.0.0.1:1\"\nissuer = \"http://l.example\"\naudience = \"p\"".to_owned(),
            "issuer: must be an https URL",
        ),
        ("listen = \"127.0.0.1:1\"\nissuer = \"https://l.example\"\naudience = \"\"".to_owned(), "audience: must be"),
    ] {
        let said = one(&lines).unwrap_err();
        assert!(said.contains(why) && said.contains("agent.toml:"), "{lines}: {said}");
    }
}

#[test]
fn an_agent_may_be_there_for_its_verdicts_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    let (head, _) = HEAD.split_once("[credentials").unwrap();
    std::fs::write(&path, head).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("credentials: is missing"));
    let verdicts = "[[forward_auth]]\nlisten = \"127.0.0.1:1\"\nissuer = \"https://l.example\"\naudience = \"p\"\n";
    std::fs::write(&path, format!("{head}{verdicts}")).unwrap();
    let config = load(&path).unwrap();
    assert!(config.credentials.is_empty() && config.forward_auth.len() == 1);
}
