//! `get` in all its formats, and `run`.

use std::path::Path;
use std::process::{Output, Stdio};

use leasehold_testkit::wait_until;
use tokio::process::Command;

use super::{failed, json, printed, psql, said};
use crate::rig::{BILLING, OPERATOR, READ, Rig, SOON, STRANGER, TENANT, TENANTS};

/// A command without anything of PostgreSQL's in its environment.
async fn plain(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(environment.iter().copied()).stdin(Stdio::null());
    tokio::time::timeout(SOON, command.output()).await.expect("it ends").expect("it starts")
}

const WHO: &str = "SELECT session_user";

#[tokio::test(flavor = "multi_thread")]
async fn env_is_for_a_shell() {
    let rig = Rig::new().await;
    let lines = printed(&rig.run(BILLING, &["get", READ, "--format", "env"]).await);
    let script = format!(
        "{lines}\n'{}' -X -A -t -w -c '{WHO}'\n'{}' -X -A -t -w -c '{WHO}' \"$DATABASE_URL\"\necho $LEASEHOLD_LEASE_ID",
        psql(&rig).display(),
        psql(&rig).display()
    );
    let shown = printed(&plain(Path::new("sh"), &["-euc", &script], &[]).await);
    let lines: Vec<_> = shown.lines().collect();
    let lease = rig.lease(lines[2]).await;
    assert_eq!(lines[..2], [lease.account.as_str(); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pgservice_pgpass_and_url_are_for_libpq() {
    let rig = Rig::new().await;
    let dir = tempfile::tempdir().expect("a directory");
    let service = dir.path().join("pg_service.conf");
    std::fs::write(&service, printed(&rig.run(BILLING, &["get", READ, "--format", "pgservice"]).await)).expect("write");
    let service = service.to_str().expect("text");
    let as_service =
        plain(&psql(&rig), &["-XAtw", "-c", WHO, &format!("service={READ}")], &[("PGSERVICEFILE", service)]).await;
    assert!(rig.accounts().await.contains(&printed(&as_service).trim().to_owned()));

    let pass = dir.path().join("pgpass");
    let line = printed(&rig.run(BILLING, &["get", READ, "--format", "pgpass"]).await);
    std::fs::write(&pass, &line).expect("write");
    std::fs::set_permissions(&pass, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
    let fields: Vec<_> = line.trim().split(':').collect();
    let to = format!("host={} port={} dbname={} user={}", fields[0], fields[1], fields[2], fields[3]);
    let with_pass =
        plain(&psql(&rig), &["-XAtw", "-c", WHO, &to], &[("PGPASSFILE", pass.to_str().expect("text"))]).await;
    assert_eq!(printed(&with_pass).trim(), fields[3]);

    let url = printed(&rig.run(BILLING, &["get", READ, "--format", "url"]).await);
    let by_url = plain(&psql(&rig), &["-XAtw", "-c", "SELECT count(*) FROM public.orders", url.trim()], &[]).await;
    assert_eq!(printed(&by_url).trim(), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_flat_and_whole_json_is_the_apis_own() {
    let rig = Rig::new().await;
    let flat = json(&rig.run(BILLING, &["get", READ, "--format", "json", "--ttl", "5m"]).await);
    let lease = rig.lease(flat["lease_id"].as_str().expect("an id")).await;
    assert_eq!((flat["kind"].as_str(), flat["username"].as_str()), (Some("database"), Some(lease.account.as_str())));
    assert_eq!(flat["expires_at"], lease.expires_at.as_str());
    let mut members: Vec<_> = flat.as_object().expect("an object").keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["database", "expires_at", "host", "kind", "lease_id", "password", "port", "url", "username"]);

    let whole = json(&rig.run(BILLING, &["--output", "json", "get", READ]).await);
    let by_hand = rig.ask(BILLING, "POST", "/v1/credentials/orders-read", None).await.json();
    for part in ["lease", "credential"] {
        let keys =
            |value: &serde_json::Value| value[part].as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&whole), keys(&by_hand), "{part}");
    }
    let table = printed(&rig.run(BILLING, &["get", READ]).await);
    assert!(table.contains("password") && table.contains("expires"), "{table}");
    let tenant = json(&rig.run(TENANTS, &["get", TENANT, "--param", "tenant=44", "--format", "json"]).await);
    assert!(tenant["username"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_one_line_with_its_decision() {
    let rig = Rig::new().await;
    let why = failed(&rig.run(STRANGER, &["get", READ]).await, 1);
    let decision = rig.audit().into_iter().find(|line| line["allowed"] == false).expect("it is on record");
    assert!(why.contains(decision["decision_id"].as_str().expect("an id")), "{why}");
    assert_eq!(why.lines().count(), 1, "{why}");
    assert!(failed(&rig.run(BILLING, &["get", READ, "--ttl", "3h"]).await, 1).contains("ttl"));
    assert!(failed(&rig.run(TENANTS, &["get", TENANT, "--param", "tenant=7"]).await, 1).contains("tenant"));
    failed(&rig.run(BILLING, &["get", READ, "--ttl", "soon"]).await, 2);
    failed(&rig.run(BILLING, &["get", READ, "--format", "xml"]).await, 2);
    failed(&rig.run(BILLING, &["get"]).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_printed_is_revoked() {
    let rig = Rig::new().await;
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut command = rig.command(BILLING, &["get", READ]);
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().expect("it starts");
    let output = child.wait_with_output().await.expect("it ends");
    assert!(failed(&output, 1).contains("revoked"), "{}", said(&output));
    wait_until(SOON, "its account to be gone", || async { rig.accounts().await.is_empty() }).await;
    assert_eq!(rig.leases().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_gives_a_login_for_as_long_as_the_program_lives() {
    let rig = Rig::new().await;
    let psql = psql(&rig).display().to_string();
    let script = format!("'{psql}' -XAtw -c '{WHO}'; echo $LEASEHOLD_LEASE_ID; exit 7");
    let output = rig.run(BILLING, &["run", READ, "--", "sh", "-c", &script]).await;
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<_> = shown.lines().collect();
    let lease = rig.lease(lines[1]).await;
    assert_eq!((lines[0], lease.ended_by.as_deref()), (lease.account.as_str(), Some("caller")));
    wait_until(SOON, "its account to be gone", || async { rig.accounts().await.is_empty() }).await;

    // Nothing is left behind by a program that cannot be started, or one that a signal ends.
    assert_eq!(rig.run(BILLING, &["run", READ, "--", "/nowhere/at/all"]).await.status.code(), Some(127));
    assert_eq!(rig.run(BILLING, &["run", READ, "--", "sh", "-c", "kill -9 $$"]).await.status.code(), Some(137));
    // Nor by a second role that is refused.
    assert_eq!(rig.run(BILLING, &["run", READ, TENANT, "--", "true"]).await.status.code(), Some(1));
    wait_until(SOON, "no account to be left", || async { rig.accounts().await.is_empty() }).await;
    failed(&rig.run(BILLING, &["run", READ]).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_passes_signals_on_and_renews_meanwhile() {
    let rig = Rig::new().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (ready, shown) = (dir.path().join("ready"), dir.path().join("shown"));
    let script = format!(
        "trap 'echo told > {}; exit 5' TERM; echo $LEASEHOLD_LEASE_ID > {}; while :; do sleep 0.05; done",
        shown.display(),
        ready.display()
    );
    let mut command = rig.command(BILLING, &["run", READ, "--ttl", "4s", "--", "sh", "-c", &script]);
    let mut child = command.spawn().expect("it starts");
    let id = || std::fs::read_to_string(&ready).unwrap_or_default().trim().to_owned();
    wait_until(SOON, "the program to run", || async { !id().is_empty() }).await;
    let first = rig.lease(&id()).await.expires_at;
    wait_until(SOON, "two renewals", || async {
        let renewals = rig.audit().iter().filter(|l| l["event"] == "lease" && l["state"] == "active").count();
        renewals >= 3
    })
    .await;
    let later = rig.lease(&id()).await;
    assert!(later.expires_at > first && later.state == "active", "{later:?}");
    let pid = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().await.expect("kill").success());
    let status = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").expect("a status");
    assert_eq!(status.code(), Some(5));
    assert_eq!(std::fs::read_to_string(&shown).expect("the program was told"), "told\n");
    assert_eq!(rig.lease(&id()).await.ended_by.as_deref(), Some("caller"));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_tells_when_a_lease_has_ended_and_the_program_goes_on() {
    let rig = Rig::with(|c| {
        let billing = &["spiffe://dev.local/billing"];
        c.role("brief", "target = \"orders\"\nttl = \"3s\"\nmax_ttl = \"5s\"").grant(
            "b",
            billing,
            &["brief"],
            &["mint"],
        )
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let (said, free) = (dir.path().join("said"), dir.path().join("free"));
    let script = format!("while ! test -e {}; do sleep 0.05; done; exit 3", free.display());
    let mut command = rig.command(BILLING, &["run", READ, "brief", "--", "sh", "-c", &script]);
    let mut child = command.stderr(std::fs::File::create(&said).expect("a file")).spawn().expect("it starts");
    let lines = || std::fs::read_to_string(&said).expect("what it said");
    let lease = async |role: &str| rig.leases().await.into_iter().find(|lease| lease.role == role);
    wait_until(SOON, "its leases", || async { lease("brief").await.is_some() }).await;
    let (read, brief) = (lease(READ).await.expect("a lease").id, lease("brief").await.expect("a lease").id);
    wait_until(SOON, "word of its end", || async {
        lines() == format!("leasehold: the lease {brief} has come to its end; start the program again for another\n")
    })
    .await;
    rig.client(OPERATOR).revoke(&read).await.expect("a revocation");
    let of_read =
        |line: &str| line.contains(&read) && line.ends_with("(operator); start the program again for another");
    wait_until(SOON, "word of the revocation", || async { lines().lines().any(of_read) }).await;
    assert_eq!(rig.leases().await.len(), 2, "no other is fetched, for nobody would get it");
    std::fs::write(&free, "").expect("let it go on");
    let status = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").expect("a status");
    assert_eq!((status.code(), lines().lines().count()), (Some(3), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_tells_once_that_a_lease_is_not_renewed() {
    let rig = Rig::new().await;
    let dir = tempfile::tempdir().expect("a directory");
    let [said, ready, free] = ["said", "ready", "free"].map(|name| dir.path().join(name));
    let script = format!("> {}; while ! test -e {}; do sleep 0.05; done", ready.display(), free.display());
    let mut command = rig.command(BILLING, &["run", READ, "--ttl", "6s", "--", "sh", "-c", &script]);
    let mut child = command.stderr(std::fs::File::create(&said).expect("a file")).spawn().expect("it starts");
    let lines = || std::fs::read_to_string(&said).expect("what it said");
    wait_until(SOON, "the program to run", || async { ready.exists() }).await;
    printed(&rig.run(OPERATOR, &["identity", "block", "spiffe://dev.local/billing"]).await);
    wait_until(SOON, "word of its end", || async { lines().contains("has come to its end") }).await;
    let text = lines();
    assert_eq!(text.lines().filter(|line| line.contains("it is not renewed")).count(), 1, "{text}");
    std::fs::write(&free, "").expect("let it go on");
    let status = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").expect("a status");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_roles_share_one_environment() {
    let rig = Rig::with(|c| {
        c.role("7-audit", "target = \"orders\"\nttl = \"10m\"").grant(
            "7",
            &["spiffe://dev.local/billing"],
            &["7-audit"],
            &["mint"],
        )
    })
    .await;
    let script = "echo $ORDERS_READ_PGUSER $_7_AUDIT_PGUSER";
    let shown = printed(&rig.run(BILLING, &["run", READ, "7-audit", "--", "sh", "-c", script]).await);
    let leases = rig.leases().await;
    let account = |role: &str| leases.iter().find(|l| l.role == role).expect("a lease").account.clone();
    assert_eq!(shown.trim(), format!("{} {}", account(READ), account("7-audit")));
}
