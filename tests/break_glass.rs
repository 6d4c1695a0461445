//! The break-glass socket: root on the broker's host looks and ends when no certificate is good any more, and nobody else
//! does anything over it. Only root can play root: these tests must run as root.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use leasehold_testkit::{Broker, Installation, PgFixture, wait_until};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::stage::{BILLING, Line, OPERATOR, ROLE, Rights, SOON, Stage, mint, request};

leasehold_testkit::each_version! {
    without_any_good_certificate_root_looks_and_ends,
}

const WHY: &str = "the issuer is down, incident 7";

async fn stage(postgres: Installation) -> (Stage, Broker) {
    let pg = PgFixture::shared(postgres).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let broker = stage.broker().await;
    (stage, broker)
}

fn socket(stage: &Stage) -> PathBuf {
    stage.config.dir().join("break-glass.sock")
}

/// The program without any certificate or address, as this user.
async fn run(stage: &Stage, user: Option<&str>, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_leasehold");
    let mut command = match user {
        Some(uid) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", uid, "--regid", uid, "--clear-groups", program]);
            command
        }
        None => Command::new(program),
    };
    command.args(arguments).arg(format!("--break-glass={}", socket(stage).display())).args(["--output", "json"]);
    for name in ["ADDR", "CERT", "KEY", "BUNDLE", "BROKER_ID", "CONFIG", "BREAK_GLASS"] {
        command.env_remove(format!("LEASEHOLD_{name}"));
    }
    tokio::time::timeout(SOON, command.output()).await.expect("the command ends").expect("the command starts")
}

async fn root(stage: &Stage, arguments: &[&str]) -> Value {
    let done = run(stage, None, &[arguments, &["--reason", WHY]].concat()).await;
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("JSON")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn audit(stage: &Stage) -> Vec<Value> {
    let log = std::fs::read_to_string(stage.config.audit_path()).expect("the audit log");
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// One request by hand, with these header lines.
async fn ask(stage: &Stage, method: &str, uri: &str, headers: &str, body: Option<&str>) -> crate::ground::Answer {
    let mut line = Line::over(UnixStream::connect(socket(stage)).await.expect("root may connect"));
    let text = request(method, uri, body).replacen("\r\n", &format!("\r\n{headers}"), 1);
    line.exchange(text).await
}

async fn without_any_good_certificate_root_looks_and_ends(postgres: Installation) {
    let (stage, mut broker) = stage(postgres).await;
    let client = stage.client(&broker, BILLING);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(mint(&client, "10m").await.expect("a mint"));
    }
    let session = stage.session(&held[0]).await;
    client.close().await;
    broker.terminate().await.expect("it ends");

    // The broker's own certificate is over, and the bundle is gone: it starts, says so, and lets nobody in.
    let dir = stage.config.dir();
    let brief = stage.ca.svid_for("/leasehold", Duration::from_secs(1));
    std::fs::copy(&brief.cert, dir.join("broker.pem")).expect("put the certificate in its place");
    std::fs::copy(&brief.key, dir.join("broker-key.pem")).expect("put the key in its place");
    std::fs::remove_file(dir.join("bundle.pem")).expect("lose the bundle");
    broker.restart_unready().await.expect("start it all the same");
    wait_until(SOON, "it to say what is wrong", || async {
        broker
            .ops("/readyz")
            .await
            .is_ok_and(|(status, text)| status == 503 && text.contains("\"svid\"") && text.contains("\"bundle\""))
    })
    .await;
    assert!(stage.client(&broker, OPERATOR).lease(&held[0].lease.id).await.is_err(), "the API refuses");

    let list = root(&stage, &["lease", "list", "--state", "active"]).await;
    assert_eq!(list["leases"].as_array().expect("a list").len(), 4, "{list}");
    let shown = root(&stage, &["lease", "show", &held[1].lease.id]).await;
    assert_eq!(shown["lease"]["account"], held[1].lease.account.as_str());
    root(&stage, &["lease", "revoke", &held[0].lease.id, "--wait"]).await;
    session.wait_until_dead(SOON).await;
    stage.assert_refused(&held[0]).await;
    let order = root(&stage, &["lease", "revoke", "--role", ROLE, "--yes", "--wait"]).await;
    assert_eq!(order["matched"], 3, "{order}");
    for held in &held {
        stage.assert_refused(held).await;
    }
    let billing = format!("spiffe://dev.local{BILLING}");
    root(&stage, &["identity", "block", &billing, "--because", "its key leaked"]).await;
    let report = root(&stage, &["reconcile"]).await;
    assert_eq!(report["targets"][0]["error"], Value::Null, "{report}");

    // Loud: in the log, in the numbers, and on record with who and why.
    assert!(broker.logs().contains("the glass is broken") && broker.logs().contains(WHY));
    let done = broker.metric("leasehold_break_glass_requests_total{result=\"done\"}").await;
    assert!(done.as_ref().is_ok_and(|n| *n >= 6.0), "{done:?}");
    let by_socket = |line: &&Value| line["break_glass"]["reason"] == WHY && line["break_glass"]["uid"] == 0;
    wait_until(SOON, "each deed to be on record", || async {
        let log = audit(&stage);
        let count = |action: &str| log.iter().filter(by_socket).filter(|line| line["action"] == action).count();
        count("read") >= 2 && count("revoke") >= 2 && count("admin") >= 1
    })
    .await;
    let log = audit(&stage);
    let all_named = log.iter().filter(by_socket).all(|line| {
        line["allowed"] == true
            && line["identity"] == "spiffe://dev.local/leasehold/break-glass"
            && line.get("cert_sha256").is_none()
            && line["grant"] == Value::Null
    });
    assert!(all_named, "{log:#?}");

    // With files again it is as before, without a restart.
    stage.ca.equip_broker(dir);
    wait_until(SOON, "it to be ready", || async { broker.ops("/readyz").await.is_ok_and(|(status, _)| status == 200) })
        .await;
    let blocked = mint(&stage.client(&broker, BILLING), "10m").await.map(drop);
    assert_eq!(blocked.as_ref().err().and_then(|e| e.problem()).map(|p| p.status), Some(403), "{blocked:?}");
    root(&stage, &["identity", "unblock", &billing]).await;
    mint(&stage.client(&broker, BILLING), "10m").await.expect("it mints again");
    stage.assert_audit_holds(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_never_had_its_certificate_waits_for_it() {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let mut broker = stage.broker().await;
    let held = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    broker.terminate().await.expect("it ends");
    // As after a restart of the machine, with the files in memory only and the issuer down.
    for file in ["broker.pem", "broker-key.pem", "bundle.pem"] {
        std::fs::remove_file(stage.config.dir().join(file)).expect("lose the file");
    }
    broker.restart_unready().await.expect("start it all the same");
    root(&stage, &["lease", "revoke", &held.lease.id, "--wait"]).await;
    stage.assert_refused(&held).await;
    stage.ca.equip_broker(stage.config.dir());
    wait_until(SOON, "it to be ready", || async { broker.ops("/readyz").await.is_ok_and(|(status, _)| status == 200) })
        .await;
    // What is there and wrong is refused at a start, as ever.
    broker.terminate().await.expect("it ends");
    std::fs::write(stage.config.dir().join("broker.pem"), "no certificate").expect("spoil it");
    assert!(broker.restart_unready().await.is_err());
    assert!(broker.logs().contains("no CERTIFICATE block") || broker.logs().contains("no usable PEM"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_hands_nothing_out_and_wants_a_reason() {
    let (stage, broker) = stage(leasehold_testkit::distribution()).await;
    let held = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    let why = format!("leasehold-reason: {WHY}\r\n");
    for headers in ["", "leasehold-reason:\r\n", &format!("leasehold-reason: {}\r\n", "x".repeat(201))] {
        let problem = ask(&stage, "GET", "/v1/leases", headers, None).await.problem(400);
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains("leasehold-reason")), "{problem}");
    }
    let id = &held.lease.id;
    for (method, uri, body) in [
        ("POST", format!("/v1/credentials/{ROLE}"), None),
        ("POST", format!("/v1/leases/{id}/renew"), None),
        ("POST", "/v1/targets/orders/forget".to_owned(), None),
        ("POST", "/v1/decisions".to_owned(), Some(r#"{"action":"mint","role":"x"}"#)),
        ("GET", "/v1/roles".to_owned(), None),
    ] {
        let problem = ask(&stage, method, &uri, &why, body).await.problem(403);
        let decision = problem["decision_id"].as_str().expect("a decision");
        let on_record = audit(&stage).into_iter().find(|line| line["decision_id"] == decision).expect("on record");
        assert!(on_record["allowed"] == false && on_record["break_glass"]["reason"] == WHY, "{on_record}");
    }
    ask(&stage, "GET", "/v1/nothing", &why, None).await.problem(404);
    assert_eq!(stage.accounts().await, [held.lease.account.clone()].into());
    assert_eq!(stage.lease(&broker, id).await.expires_at, held.lease.expires_at);
    let refused = broker.metric("leasehold_break_glass_requests_total{result=\"refused\"}").await;
    assert!(refused.as_ref().is_ok_and(|n| *n >= 9.0), "{refused:?}");

    // The command asks for a reason before it asks the broker.
    let done = run(&stage, None, &["lease", "list"]).await;
    assert!(done.status.code() == Some(2) && said(&done).contains("--reason"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_root_comes_in() {
    let (stage, broker) = stage(leasehold_testkit::distribution()).await;
    let mode = std::fs::metadata(socket(&stage)).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let arguments = ["lease", "list", "--reason", WHY];
    let nobody = "65534";
    let done = run(&stage, Some(nobody), &arguments).await;
    assert!(done.status.code() == Some(1) && said(&done).contains("Permission denied"), "{done:?}");
    // Should somebody open the way by mistake, the kernel's word about the other side still counts.
    for (path, mode) in [(stage.config.dir().to_owned(), 0o755), (socket(&stage), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("open the way");
    }
    let done = run(&stage, Some(nobody), &arguments).await;
    assert!(done.status.code() == Some(1) && said(&done).contains("you are uid 65534"), "{done:?}");
    wait_until(SOON, "it to be on record", || async {
        audit(&stage).iter().any(|line| line["event"] == "handshake_refused" && line["reason"] == "not_root")
    })
    .await;
    assert!(broker.metric("leasehold_break_glass_requests_total{result=\"done\"}").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_brokers_socket_is_taken_over_and_it_can_be_turned_off() {
    let (mut stage, mut broker) = stage(leasehold_testkit::distribution()).await;
    broker.kill().await.expect("kill it");
    assert!(socket(&stage).exists(), "a killed broker leaves it");
    broker.restart().await.expect("start it again");
    root(&stage, &["lease", "list"]).await;
    broker.terminate().await.expect("it ends");
    assert!(!socket(&stage).exists(), "one that ends takes it along");
    stage.config = stage.config.table("[break_glass]", "enabled = false");
    stage.config.write();
    broker.restart().await.expect("start it again");
    assert!(!socket(&stage).exists());
}
