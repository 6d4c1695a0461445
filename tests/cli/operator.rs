//! What an operator runs: `check`, `explain`, `reconcile`, `target forget`, `audit`.

use leasehold_testkit::{Admin, ConfigFile, sixteen_or_newer, wait_until};
use serde_json::Value;

use super::{failed, json, printed, said};
use crate::rig::{AUDITOR, BILLING, Ground, OPERATOR, READ, Rig, SOON, STRANGER, TENANT, TENANTS, for_ttl, mint};

async fn check(config: &ConfigFile, more: &[&str]) -> std::process::Output {
    let file = config.write();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.args(["check", "--config"]).arg(file).args(more).stdin(std::process::Stdio::null());
    tokio::time::timeout(SOON, command.output()).await.expect("it ends").expect("it starts")
}

/// The findings of this level, as `what` and what mends it.
fn findings(output: &std::process::Output, level: &str) -> Vec<String> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)));
    let all = report["findings"].as_array().expect("findings").clone();
    let of_level = all.iter().filter(|found| found["level"] == level);
    of_level.map(|found| format!("{} | {} | {}", found["role"], found["what"], found["fix"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_is_wrong_and_says_what_mends_it() {
    // Up to version 15, CREATEROLE alone hands out any group.
    let ground = Ground::on(sixteen_or_newer()).await;
    let good = check(&ground.config(), &["--output", "json"]).await;
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    assert!(findings(&good, "error").is_empty());
    assert!(printed(&check(&ground.config(), &["--target", "orders"]).await).contains("0 errors"));
    failed(&check(&ground.config(), &["--target", "nowhere"]).await, 1);

    let weak = ground.pg.login("weak", "NOSUPERUSER").await;
    let half = ground.pg.admin(&[]).await;
    let wrong = Admin { password: "wrong".to_owned(), ..ground.admin.clone() };
    let group = ground.group.as_str();
    // The password lies in a file, so each configuration is written when it is looked at.
    let second = |admin: &Admin, group: &str| {
        let role = format!("target = \"second\"\nttl = \"1h\"\nmember_of = [\"{group}\"]");
        ground.config().postgres("second", &admin.url, &admin.password, "").role("second-read", &role)
    };
    for (what, admin, group, expected) in [
        ("a wrong password", &wrong, group, &["password"][..]),
        ("no rights at all", &weak, group, &["CREATEROLE", "pg_signal_backend"]),
        ("no ADMIN on the group", &half, group, &["second-read", "GRANT", "ADMIN TRUE"]),
        ("no such group", &ground.admin, "nobody_at_all", &["nobody_at_all"]),
        ("too strong", &ground.admin, "pg_execute_server_program", &["pg_execute_server_program"]),
    ] {
        let output = check(&second(admin, group), &["--output", "json"]).await;
        assert_eq!(output.status.code(), Some(1), "{what}: {}", said(&output));
        let errors = findings(&output, "error").join("\n");
        for part in expected {
            assert!(errors.contains(part), "{what}: {part} is not in {errors}");
        }
    }
    // What is told as a remedy is one.
    let needy = second(&half, group);
    let output = check(&needy, &["--output", "json", "--target", "second"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut superuser = ground.pg.superuser().await;
    for found in report["findings"].as_array().expect("findings").iter().filter(|f| f["level"] == "error") {
        superuser.execute(found["fix"].as_str().expect("a remedy")).await.expect("it can be run as it is");
    }
    let mended = check(&needy, &["--output", "json", "--target", "second"]).await;
    assert_eq!(mended.status.code(), Some(0), "{}", said(&mended));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_of_the_file_and_the_identity_too() {
    let ground = Ground::new().await;
    let wrong = ground.config().role("brief", "target = \"orders\"\nttl = \"1m\"\noverlap = \"1m\"\ncolour = \"red\"");
    let why = failed(&check(&wrong, &[]).await, 1);
    let line = |part: &str| wrong.text().lines().position(|l| l.contains(part)).expect("it is there") + 1;
    for (key, part) in [("overlap", "overlap = \"1m\""), ("colour", "colour")] {
        let place = format!("leasehold.toml:{}: roles.brief.{key}: ", line(part));
        assert!(why.lines().any(|l| l.contains(&place)), "{place} is not in {why}");
    }
    std::fs::remove_file(ground.dir().join("broker-key.pem")).expect("remove");
    let config = ground.config();
    std::fs::write(ground.dir().join("broker-key.pem"), "no key").expect("write");
    let output = check(&config, &["--output", "json"]).await;
    assert!(findings(&output, "error").join("").contains("broker-key.pem"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_functions_that_check_prints_make_a_login_without_rights_enough() {
    let ground = Ground::new().await;
    let login = ground.pg.login("lh_plain", "NOSUPERUSER").await;
    let config = ground
        .config()
        .postgres("plain", &login.url, &login.password, "admin = \"functions\"\nscram_iterations = 64")
        .role("plain-read", &format!("target = \"plain\"\nttl = \"10m\"\nmember_of = [\"{}\"]", ground.group));
    let config = config.grant("plain", &["spiffe://dev.local/billing"], &["plain-read"], &["mint"]);
    let before = check(&config, &["--output", "json", "--target", "plain"]).await;
    assert_eq!(before.status.code(), Some(1), "{}", said(&before));
    let sql = printed(&check(&config, &["--install-sql", "--target", "plain"]).await);
    let file = ground.dir().join("install.sql");
    std::fs::write(&file, &sql).expect("write");
    let psql = ground.pg.server().installation().bin_dir().join("psql");
    let installed = tokio::process::Command::new(psql)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &ground.pg.superuser_url(), "-f"])
        .arg(&file)
        .output()
        .await
        .expect("psql");
    assert!(installed.status.success(), "{}", said(&installed));
    let after = check(&config, &["--output", "json", "--target", "plain"]).await;
    assert_eq!(after.status.code(), Some(0), "{}", said(&after));
    let rig = ground.start(config).await;
    let client = rig.client(BILLING);
    let (lease, _) = mint(&client, "plain-read", &for_ttl("1m")).await.expect("a mint");
    client.revoke(&lease.id).await.expect("a revocation");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_answers_and_a_denial_is_an_answer() {
    let rig = Rig::new().await;
    let allowed = json(&rig.run(BILLING, &["explain", READ, "--output", "json"]).await);
    assert_eq!((allowed["allowed"].as_bool(), allowed["grant"].as_str()), (Some(true), Some("billing reads")));
    let told = printed(&rig.run(TENANTS, &["explain", TENANT, "--param", "tenant=7"]).await);
    assert!(told.contains("no") && told.contains("4[0-9]"), "{told}");
    let about = ["explain", READ, "--identity", "spiffe://dev.local/stranger", "--action", "read"];
    assert!(printed(&rig.run(AUDITOR, &about).await).contains("no grant lets this identity read"));
    failed(&rig.run(STRANGER, &["explain", READ, "--identity", "spiffe://dev.local/billing"]).await, 1);
    failed(&rig.run(BILLING, &["explain", READ, "--action", "own"]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcile_reports_and_does_what_it_is_told() {
    let rig = Rig::new().await;
    let client = rig.client(BILLING);
    let (lease, _) = mint(&client, READ, &for_ttl("10m")).await.expect("a mint");
    client.close().await;
    let dry = json(&rig.run(OPERATOR, &["reconcile", "--dry-run", "--output", "json"]).await);
    assert_eq!(dry["targets"][0]["strays"], serde_json::json!([]));
    let drop = format!("DROP ROLE {}", lease.account);
    rig.ground.pg.superuser().await.execute(&drop).await.expect("the account is taken away");
    let done = json(&rig.run(OPERATOR, &["reconcile", "--target", "orders", "--output", "json"]).await);
    assert_eq!(done["targets"][0]["vanished"], serde_json::json!([lease.id]));
    wait_until(SOON, "the lease to have ended", || async {
        rig.lease(&lease.id).await.ended_by.as_deref() == Some("vanished")
    })
    .await;
    let said = printed(&rig.run(OPERATOR, &["reconcile"]).await);
    assert!(said.contains("agree"), "{said}");
    failed(&rig.run(BILLING, &["reconcile"]).await, 1);
    failed(&rig.run(OPERATOR, &["reconcile", "--target", "nowhere"]).await, 1);
    failed(&rig.run(OPERATOR, &["reconcile", "--adopt", "--revoke"]).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_forgotten_only_once_it_is_retired() {
    let rig = Rig::new().await;
    failed(&rig.run(OPERATOR, &["target", "forget", "orders", "--yes"]).await, 1);
    failed(&rig.run(OPERATOR, &["target", "forget", "orders"]).await, 2);
    failed(&rig.run(BILLING, &["target", "forget", "orders", "--yes"]).await, 1);
    // It cannot be reached any more, and holds a lease that therefore cannot end.
    let client = rig.client(BILLING);
    let (lease, _) = mint(&client, READ, &for_ttl("10m")).await.expect("a mint");
    client.close().await;
    let mut superuser = rig.ground.pg.superuser().await;
    let admin = &rig.ground.admin.name;
    superuser.execute(&format!("ALTER ROLE {admin} NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{admin}'")).await.expect("shut out");
    let retired = rig.config.text().replace("scram_iterations = 64", "scram_iterations = 64\nretired = true");
    std::fs::write(rig.config.dir().join("leasehold.toml"), retired).expect("write");
    rig.broker.reload().expect("reload");
    wait_until(SOON, "the reload", || async {
        rig.audit().iter().any(|l| l["event"] == "broker" && l["what"] == "reloaded")
    })
    .await;
    let forgotten = json(&rig.run(OPERATOR, &["target", "forget", "orders", "--yes", "--output", "json"]).await);
    assert_eq!(forgotten["closed"], 1);
    let after = rig.lease(&lease.id).await;
    assert!(after.is_over() && after.ended_by.as_deref() == Some("operator"), "{after:?}");
    assert!(rig.audit().iter().any(|l| l["operation"] == "target_forget" && l["detail"]["closed"] == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_verified_and_followed() {
    let mut rig = Rig::new().await;
    rig.assert_healthy().await;
    let (log, config) = (rig.audit_path(), rig.config.dir().join("leasehold.toml"));
    let (log, config) = (log.to_str().expect("text").to_owned(), config.to_str().expect("text").to_owned());
    let whole = json(&rig.run(OPERATOR, &["audit", "verify", &log, "--output", "json"]).await);
    assert_eq!((&whole["whole"], &whole["chains"][0]["known_head"]), (&true.into(), &"not_given".into()));
    let tail = printed(&rig.run(OPERATOR, &["audit", "tail", &log, "-n", "3"]).await);
    assert_eq!(tail.lines().count(), 3);
    let raw = printed(&rig.run(OPERATOR, &["audit", "tail", &log, "-n", "1", "--output", "json"]).await);
    assert!(serde_json::from_str::<Value>(&raw).is_ok_and(|line| line["hash"].is_string()));

    rig.broker.terminate().await.expect("it stops");
    let known = json(&rig.run(OPERATOR, &["audit", "verify", "--config", &config, "--output", "json"]).await);
    assert_eq!(known["chains"][0]["known_head"], "found");
    let text = std::fs::read_to_string(&log).expect("the log");
    let lines: Vec<_> = text.lines().collect();
    let write = |lines: &[&str]| std::fs::write(&log, lines.join("\n") + "\n").expect("write");
    // A changed line, one that is gone, two in another order.
    let changed = lines[2].replace("spiffe://dev.local/billing", "spiffe://dev.local/nobody");
    assert_ne!(changed, lines[2], "{}", lines[2]);
    write(&[&lines[..2], &[changed.as_str()], &lines[3..]].concat());
    assert!(failed(&rig.run(OPERATOR, &["audit", "verify", &log]).await, 1).contains("audit.jsonl:3"));
    write(&[&lines[..2], &lines[3..]].concat());
    failed(&rig.run(OPERATOR, &["audit", "verify", &log]).await, 1);
    write(&[&lines[..1], &[lines[2], lines[1]], &lines[3..]].concat());
    failed(&rig.run(OPERATOR, &["audit", "verify", &log]).await, 1);
    // A tail that is cut off shows only to those who ask the store.
    write(&lines[..lines.len() - 2]);
    printed(&rig.run(OPERATOR, &["audit", "verify", &log]).await);
    failed(&rig.run(OPERATOR, &["audit", "verify", &log, "--config", &config]).await, 1);
}
