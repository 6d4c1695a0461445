//! The agent when things go wrong around it.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use leasehold_client::wire::{RevokeManyRequest, Selector};
use leasehold_client::{Credentials, Ending, Wanted};
use leasehold_sdk::Timestamp;
use leasehold_testkit::workload_api::{WorkloadApi, svids, workload_svid};
use leasehold_testkit::{Flow, Proxy, wait_until};
use tokio::time::Instant;

use super::process::{AgentProcess, read};
use super::running::{lease, session, stage};
use crate::stage::{BILLING, OPERATOR, ROLE, SOON, Stage, end};

/// Replaced every four seconds or so.
const LIFE: &str = "ttl = \"6s\"\noverlap = \"2s\"";

const FILE: &str = "[credentials.orders]\nrole = \"orders-write\"\nrevoke_on_exit = true\n\
                    [[credentials.orders.files]]\npath = \"DIR/secrets/url\"\nformat = \"url\"\n";

/// Lets the agent write no file beyond this size: a full disk, for it alone.
fn disk(agent: &AgentProcess, size: &str) {
    let pid = agent.pid().to_string();
    let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={size}:unlimited")]).status();
    assert!(done.expect("run prlimit (util-linux)").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_full_disk_the_old_files_stay_whole_and_the_new_ones_come_later() {
    let stage = stage(LIFE).await;
    let broker = stage.broker().await;
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), FILE).await;
    let url = agent.path("secrets/url");
    wait_until(SOON, "its first file", || async { url.exists() }).await;
    disk(&agent, "10");
    let full = async || {
        let status = agent.status("orders").await;
        status.generation > status.delivered
            && status.last_error.is_some_and(|why| why.contains("cannot take the new files"))
    };
    wait_until(SOON, "its complaint", full).await;
    let there = read(&url);
    assert!(there.starts_with("postgres") && there.ends_with('\n'), "what is there is whole");
    let socket = agent.first("orders").await;
    session(&stage, &socket).await;
    disk(&agent, "unlimited");
    let well = async || {
        let status = agent.status("orders").await;
        status.generation == status.delivered && status.last_error.is_none()
    };
    wait_until(SOON, "its delivery", well).await;
    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_is_not_named_gets_nothing_from_the_socket() {
    let stage = stage(LIFE).await;
    let svid = stage.ca.svid(BILLING);
    let mut agent = AgentProcess::idle();
    agent.configure("https://127.0.0.1:9", &svid, FILE);
    let own = format!("uids = [{}]", rustix::process::geteuid().as_raw());
    std::fs::write(agent.config(), read(&agent.config()).replace(&own, "uids = [4294967000]"))
        .expect("write agent.toml");
    agent.launch_unheard().await;
    let error = agent.client().status().await.expect_err("we are not named");
    assert!(error.to_string().contains("cannot reach"), "{error}");
    assert!(agent.log().contains("was turned away"), "{}", agent.log());
    assert!(agent.terminate().await.success());
}

/// Only root can play another user: the tests run as root.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_one_users_is_heard_from_that_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let config = FILE.replace("revoke_on_exit", "consumers = [\"a\", { name = \"b\", uid = 65534 }]\nrevoke_on_exit");
    let config = format!("listen = {{ addr = \"127.0.0.1:0\", token_file = \"DIR/token\" }}\n{config}");
    let mut agent = AgentProcess::idle();
    agent.configure(&broker.url(), &stage.ca.svid(BILLING), &config);
    let own = format!("uids = [{}]", rustix::process::geteuid().as_raw());
    let both = own.replace(']', ", 65534]");
    std::fs::write(agent.config(), read(&agent.config()).replace(&own, &both)).expect("write agent.toml");
    std::fs::set_permissions(agent.dir.path(), PermissionsExt::from_mode(0o711)).expect("let others reach the socket");
    agent.launch().await;
    agent.first("orders").await;
    // By its own user, by root, by root for a consumer that is nobody's, and with the token.
    let socket = agent.path(agent.socket).display().to_string();
    let as_user = |uid: &str, consumer: &str| acked(uid, &["--unix-socket", &socket, "http://localhost"], consumer);
    assert_eq!(as_user("0", "b"), "403");
    assert_eq!(as_user("65534", "b"), "204");
    assert_eq!(as_user("0", "a"), "204");
    let port = agent.port();
    let token = format!("Authorization: Bearer {}", read(&agent.path("token")));
    assert_eq!(acked("65534", &["-H", &token, &format!("http://{port}")], "b"), "403");
    assert_eq!(acked("65534", &["-H", &token, &format!("http://{port}")], "a"), "204");
    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}

/// The status that this user gets for an acknowledgement of the first generation.
fn acked(uid: &str, to: &[&str], consumer: &str) -> String {
    let (base, options) = to.split_last().expect("a URL");
    let said = format!("{{\"consumer\": \"{consumer}\", \"generation\": 1}}");
    let done = Command::new("setpriv")
        .args(["--reuid", uid, "--regid", uid, "--clear-groups", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}"])
        .args(["-H", "Content-Type: application/json", "-d", &said])
        .args(options)
        .arg(format!("{base}/v1/credentials/orders/ack"))
        .output();
    String::from_utf8(done.expect("setpriv and curl").stdout).expect("a status")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_refuses_leaves_the_old_one_in_service_and_is_asked_again() {
    let stage = stage(LIFE).await;
    let broker = stage.broker().await;
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), FILE).await;
    let first = agent.first("orders").await;
    let lines = format!("target = \"orders\"\nmember_of = [\"{}\"]\n{LIFE}", stage.group);
    let bare = Stage::bare(&stage);
    // The same target and role, but no grant.
    stage.target(bare, &stage.admin.url, "").role(ROLE, &lines).write();
    broker.reload().expect("SIGHUP");
    let refused = async || {
        let status = agent.status("orders").await;
        status.generation >= 1 && status.last_error.is_some_and(|why| why.contains("(403"))
    };
    wait_until(SOON, "its complaint", refused).await;
    assert!(agent.first("orders").await.generation >= first.generation, "it is still handed out");
    stage.config.write();
    broker.reload().expect("SIGHUP");
    let next = agent.after("orders", agent.status("orders").await.generation).await;
    session(&stage, &next).await;
    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_svid_that_has_expired_the_old_one_serves_until_there_is_another() {
    let stage = stage("ttl = \"4s\"\nmax_ttl = \"1h\"").await;
    let broker = stage.broker().await;
    let mut agent = AgentProcess::idle();
    let spire = WorkloadApi::start(agent.dir.path()).await;
    let give = |life| spire.give(svids([workload_svid(stage.ca.dev(), "spiffe://dev.local/billing", life)]));
    give(Duration::from_secs(5));
    agent.socket = "leasehold.sock";
    agent.configure_as(&broker.url(), &format!("svid = {{ workload_api = {:?} }}", spire.address()), FILE);
    agent.launch().await;
    agent.first("orders").await;
    wait_until(SOON, "its complaint", || async { agent.status("orders").await.last_error.is_some() }).await;
    agent.client().credential("orders").await.expect("it is still handed out");
    give(Duration::from_secs(600));
    let well = async || {
        let status = agent.status("orders").await;
        status.last_error.is_none() && !status.alarm
    };
    wait_until(SOON, "it to be well again", well).await;
    session(&stage, &agent.first("orders").await).await;
    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_never_acknowledges_keeps_the_old_one_until_its_end() {
    let stage = stage(LIFE).await;
    let broker = stage.broker().await;
    let config = FILE.replace("revoke_on_exit", "consumers = [\"sleeper\"]\nrevoke_on_exit");
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), &config).await;
    let first = agent.first("orders").await;
    agent.after("orders", 1).await;
    let ended = stage.over(&broker, &lease(&first).id).await;
    assert_eq!(ended.ended_by.as_deref(), Some("expiry"));
    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}

/// It acknowledges by its hook, which waits for `free` from the second generation on.
const SLOW_HOOK: &str = r#"
[credentials.orders]
role = "orders-write"
revoke_on_exit = true
consumers = ["hook"]
[[credentials.orders.on_change]]
run = ["sh", "-c", "test $LEASEHOLD_GENERATION = 1 || while ! test -e DIR/free; do sleep 0.05; done"]
acks = "hook"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_delays_no_delivery_and_the_old_one_is_ended_later() {
    let stage = stage("ttl = \"30s\"\noverlap = \"10s\"").await;
    let broker = stage.broker().await;
    let line = Proxy::start(broker.addresses().api.port()).await;
    let addr = format!("https://{}", line.address());
    let mut agent = AgentProcess::start(&addr, &stage.ca.svid(BILLING), SLOW_HOOK).await;
    let first = agent.first("orders").await;
    wait_until(SOON, "its delivery", || async { agent.status("orders").await.delivered == 1 }).await;
    // Replaced while the first still lives for long.
    let second = agent.after("orders", 1).await;
    line.to_server(Flow::Stall);
    let begun = Instant::now();
    std::fs::write(agent.path("free"), "").expect("let the hook go on");
    wait_until(SOON, "its delivery", || async { agent.status("orders").await.delivered == 2 }).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
    assert_eq!(agent.status("orders").await.acknowledged["hook"], 2);
    assert_eq!(stage.lease(&broker, &lease(&first).id).await.state, "active");
    line.mend();
    let over = stage.over(&broker, &lease(&first).id).await;
    assert_eq!(end(&over), ("revoked", Some("caller")));
    session(&stage, &second).await;
    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_was_put_off_is_not_forgotten_when_the_agent_stops() {
    let stage = stage("ttl = \"30s\"\noverlap = \"10s\"").await;
    let broker = stage.broker().await;
    let line = Proxy::start(broker.addresses().api.port()).await;
    let addr = format!("https://{}", line.address());
    let mut agent = AgentProcess::start(&addr, &stage.ca.svid(BILLING), SLOW_HOOK).await;
    let first = agent.first("orders").await;
    let second = agent.after("orders", 1).await;
    line.sever();
    std::fs::write(agent.path("free"), "").expect("let the hook go on");
    wait_until(SOON, "a try to end it", || async { agent.log().contains("could not be revoked") }).await;
    line.mend();
    assert!(agent.terminate().await.success());
    for lease in [&lease(&first).id, &lease(&second).id] {
        let over = stage.over(&broker, lease).await;
        assert_eq!(end(&over), ("revoked", Some("caller")));
    }
    stage.quiet(&broker).await;
}

/// An operator ends what a hundred hold, all at once: each is supplied again, and not all in the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_that_are_ended_at_once_do_not_come_back_at_once() {
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let kept: Vec<_> =
        (0..100).map(|_| Credentials::keep(stage.client(&broker, BILLING), Wanted::role(ROLE))).collect();
    for one in join_all(kept.iter().map(Credentials::ready)).await {
        one.expect("a credential");
    }
    let operator = stage.client(&broker, OPERATOR);
    let order = RevokeManyRequest { expect: Some(100), ..RevokeManyRequest::of(Selector::All) };
    operator.revoke_many(&order).await.expect("an order");
    let again = join_all(kept.iter().map(|one| one.changed(1)));
    let again = tokio::time::timeout(SOON, again).await.expect("all are supplied again");
    let issued = again.iter().map(|held| &held.lease.as_ref().expect("a lease").issued_at);
    let issued: BTreeSet<Timestamp> = issued.map(|time| time.parse().expect("a time")).collect();
    let (first, last) = (*issued.first().expect("some"), *issued.last().expect("some"));
    assert!(last.since(first) > Duration::from_millis(1000), "from {first} to {last}");
    join_all(kept.into_iter().map(|one| one.close(Ending::Revoke))).await;
    stage.quiet(&broker).await;
}
