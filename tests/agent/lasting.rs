//! What outlives an agent; its port; and a service that is its child.

use std::fs;

use leasehold_testkit::{Proxy, wait_until};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::{AgentProcess, read};
use super::running::{lease, login, session, stage};
use crate::stage::{BILLING, OPERATOR, SOON};

const STATE: &str = r#"
state = "state"
state_key = { file = "DIR/state.key" }
[credentials.orders]
role = "orders-write"
[[credentials.orders.files]]
path = "DIR/secrets/conf"
template = "DIR/orders.tpl"
"#;

fn new_key(agent: &AgentProcess) {
    let key = data_encoding::BASE64.encode(&leasehold_sdk::random::bytes::<32>());
    fs::write(agent.path("state.key"), key).expect("write the key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_starts_again_goes_on_with_what_it_has_also_without_a_broker() {
    let stage = stage("ttl = \"10m\"").await;
    let mut broker = stage.broker().await;
    let line = Proxy::start(broker.addresses().api.port()).await;
    let mut agent = AgentProcess::idle();
    fs::write(agent.path("orders.tpl"), "{{ orders.username }}:{{ orders.password }}\n").expect("write the template");
    new_key(&agent);
    let addr = format!("https://{}", line.address());
    agent.configure(&addr, &stage.ca.svid(BILLING), STATE);
    agent.launch().await;
    let first = agent.first("orders").await;
    let pair = format!("{}:{}\n", login(&first).username, login(&first).password.expose_secret());
    wait_until(SOON, "its file", || async { fs::read_to_string(agent.path("secrets/conf")).is_ok_and(|t| t == pair) })
        .await;
    agent.kill().await;
    let state = read(&agent.path("state/state.json"));
    assert!(!state.contains(login(&first).password.expose_secret()) && !state.contains(&login(&first).username));

    broker.terminate().await.expect("stop the broker");
    agent.launch().await;
    let again = agent.first("orders").await;
    assert_eq!((again.generation, &lease(&again).id), (1, &lease(&first).id), "nothing was fetched");
    session(&stage, &again).await;
    broker.restart().await.expect("start it again");
    line.point_to(broker.addresses().api.port());
    agent.kill().await;

    // By another key it does not open, and is fetched anew.
    new_key(&agent);
    agent.launch().await;
    let other = agent.first("orders").await;
    assert_ne!(lease(&other).id, lease(&first).id);
    assert!(agent.log().contains("what was kept of it cannot be used"));
    assert!(agent.terminate().await.success());

    // What was ended meanwhile is found out, and replaced.
    stage.client(&broker, OPERATOR).revoke(&lease(&other).id).await.expect("a revocation");
    agent.launch().await;
    let kept = agent.first("orders").await;
    let next = if lease(&kept).id == lease(&other).id { agent.after("orders", kept.generation).await } else { kept };
    session(&stage, &next).await;
    assert!(agent.terminate().await.success());
    for lease in [&lease(&first).id, &lease(&next).id] {
        stage.client(&broker, OPERATOR).revoke(lease).await.expect("a revocation");
    }
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_fails_is_told_and_delivered_once_it_is_right() {
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let config = "[credentials.orders]\nrole = \"orders-write\"\nrevoke_on_exit = true\n[[credentials.orders.files]]\n\
                  path = \"DIR/secrets/conf\"\ntemplate = \"DIR/orders.tpl\"\n";
    let mut agent = AgentProcess::idle();
    fs::write(agent.path("orders.tpl"), "a\n{{ orders.pasword }}\n").expect("write the template");
    agent.configure(&broker.url(), &stage.ca.svid(BILLING), config);
    agent.launch().await;
    let first = agent.first("orders").await;
    wait_until(SOON, "its complaint", || async {
        agent.status("orders").await.last_error.is_some_and(|why| why.contains("orders.tpl:2: UndefinedError"))
    })
    .await;
    assert!(!agent.path("secrets/conf").exists());
    fs::write(agent.path("orders.tpl"), "user = {{ orders.username }}").expect("mend the template");
    let wanted = format!("user = {}", login(&first).username);
    wait_until(SOON, "its file", || async {
        fs::read_to_string(agent.path("secrets/conf")).is_ok_and(|t| t == wanted)
    })
    .await;
    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}

async fn asked(to: &str, path: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(to).await.expect("the agent's port");
    let text = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{head}\r\n");
    stream.write_all(text.as_bytes()).await.expect("ask");
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.expect("an answer").expect("text");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_without_the_token_gets_nothing_from_the_port() {
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let config = "listen = { addr = \"127.0.0.1:0\", token_file = \"DIR/token\" }\n\
                  [credentials.orders]\nrole = \"orders-write\"\nrevoke_on_exit = true\n";
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), config).await;
    let first = agent.first("orders").await;
    let to = &agent.port();
    let token = read(&agent.path("token"));
    let secret = login(&first).password.expose_secret();
    let known = format!("host: {to}\r\nauthorization: Bearer {token}\r\n");
    let good = asked(to, "/v1/credentials/orders", &known).await;
    assert!(good.starts_with("HTTP/1.1 200") && good.contains(secret), "{good}");
    let metrics = asked(to, "/metrics", &known).await;
    assert!(metrics.contains("leasehold_agent_generation{credential=\"orders\"} 1"), "{metrics}");
    for (status, head) in [
        (401, format!("host: {to}\r\n")),
        (401, format!("host: {to}\r\nauthorization: Bearer {}\r\n", "x".repeat(token.len()))),
        (403, format!("host: evil.example\r\nauthorization: Bearer {token}\r\n")),
        (403, format!("host: {to}\r\nauthorization: Bearer {token}\r\norigin: http://{to}\r\n")),
    ] {
        for path in ["/v1/credentials/orders", "/metrics"] {
            let answer = asked(to, path, &head).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}\n{answer}");
            assert!(!answer.contains(secret) && !answer.contains("leasehold_agent"), "{head}\n{answer}");
        }
    }
    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}

/// The child writes what it was given, and waits to be told to end.
const CHILD: &str = r#"
[credentials.orders]
role = "orders-write"
revoke_on_exit = true
[exec]
command = ["sh", "-c", "trap 'echo hup >> DIR/told' HUP; trap 'exit 7' TERM; echo $DATABASE_URL >> DIR/started; while :; do sleep 0.05; done"]
env = { DATABASE_URL = "{{ orders.url }}" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_is_told_of_changes_and_its_exit_code_is_the_agents() {
    let stage = stage("ttl = \"6s\"\noverlap = \"2s\"").await;
    let broker = stage.broker().await;
    let config = format!("{CHILD}on_change = \"SIGHUP\"\n");
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), &config).await;
    let first = agent.first("orders").await;
    wait_until(SOON, "its start", || async { agent.path("started").exists() }).await;
    wait_until(SOON, "its signal", || async { agent.path("told").exists() }).await;
    let started = read(&agent.path("started"));
    assert_eq!(started.trim(), login(&first).url.expose_secret());
    assert_eq!(agent.terminate().await.code(), Some(7), "the signal was passed on, and the child's code is ours");
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_the_state_reaches_no_program() {
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let config = r#"
state = "state"
state_key = { env = "AGENT_STATE_KEY" }
[credentials.orders]
role = "orders-write"
revoke_on_exit = true
[[credentials.orders.on_change]]
run = ["sh", "-c", "env > DIR/hook"]
[exec]
command = ["sh", "-c", "env > DIR/child"]
"#;
    let mut agent = AgentProcess::idle();
    let key = data_encoding::BASE64.encode(&leasehold_sdk::random::bytes::<32>());
    agent.env = vec![("AGENT_STATE_KEY", key.clone()), ("AGENT_OTHER", "plain".to_owned())];
    agent.configure(&broker.url(), &stage.ca.svid(BILLING), config);
    assert!(agent.run_to_its_end().await.success(), "{}", agent.log());
    for name in ["hook", "child"] {
        let text = read(&agent.path(name));
        assert!(text.contains("AGENT_OTHER=plain"), "{name}: {text}");
        assert!(!text.contains("AGENT_STATE_KEY") && !text.contains(&key), "{name}: {text}");
    }
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_can_be_started_again_for_each_change() {
    let stage = stage("ttl = \"6s\"\noverlap = \"2s\"").await;
    let broker = stage.broker().await;
    let config = format!("{CHILD}on_change = \"restart\"\n");
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), &config).await;
    agent.first("orders").await;
    let starts = || fs::read_to_string(agent.path("started")).unwrap_or_default();
    wait_until(SOON, "its second start", || async { starts().lines().count() >= 2 }).await;
    let text = starts();
    let mut urls = text.lines();
    assert_ne!(urls.next(), urls.next());
    assert_eq!(agent.terminate().await.code(), Some(7));
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_does_not_end_is_killed() {
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let config = format!("{CHILD}stop_timeout = \"1s\"\n").replace("'exit 7'", "''");
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), &config).await;
    wait_until(SOON, "its start", || async { agent.path("started").exists() }).await;
    assert_eq!(agent.terminate().await.code(), Some(137));
    stage.quiet(&broker).await;
}
