//! A service that is supplied by the agent beside it, without knowing of a broker.

use std::time::Duration;

use leasehold_client::wire::{AckRequest, Credential, DatabaseCredential, Lease, Supplied};
use leasehold_testkit::workload_api::{WorkloadApi, svids, workload_svid};
use leasehold_testkit::{PgFixture, Session, distribution, wait_until};
use secrecy::ExposeSecret;

use super::process::{AgentProcess, read};
use crate::stage::{BILLING, OPERATOR, ROLE, Rights, SOON, Stage, end};

/// Replaced every four seconds or so.
const LIFE: &str = "ttl = \"6s\"\noverlap = \"2s\"";

const FILES: &str = r#"
[credentials.orders]
role = "orders-write"
revoke_on_exit = true
consumers = ["pool", "hook"]
[[credentials.orders.files]]
path = "DIR/secrets/db.json"
format = "json"
mode = "0640"
[[credentials.orders.files]]
path = "DIR/secrets/url"
format = "url"
[[credentials.orders.on_change]]
run = ["sh", "-c", "echo $LEASEHOLD_CREDENTIAL $LEASEHOLD_GENERATION >> DIR/heard"]
acks = "hook"
"#;

pub async fn stage(life: &str) -> Stage {
    Stage::new(PgFixture::shared(distribution()).await, Rights::CreateRole).await.with_target(life)
}

pub fn login(supplied: &Supplied) -> &DatabaseCredential {
    let Credential::Database(login) = &supplied.credential else { panic!("no login of a database") };
    login
}

pub fn lease(supplied: &Supplied) -> &Lease {
    supplied.lease.as_ref().expect("a lease")
}

pub async fn session(stage: &Stage, supplied: &Supplied) -> Session {
    let login = login(supplied);
    stage.pg.session(&login.username, login.password.expose_secret()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_socket_and_hooks_tell_of_one_generation_after_the_other() {
    let stage = stage(LIFE).await;
    let broker = stage.broker().await;
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), FILES).await;
    let first = agent.first("orders").await;
    assert_eq!((first.generation, lease(&first).role.as_str()), (1, ROLE));
    session(&stage, &first).await;

    let second = agent.after("orders", 1).await;
    session(&stage, &second).await;
    session(&stage, &first).await;
    wait_until(SOON, "its delivery", || async { agent.status("orders").await.delivered >= 2 }).await;
    let json: serde_json::Value = serde_json::from_str(&read(&agent.path("secrets/db.json"))).expect("JSON");
    assert_eq!(read(&agent.path("secrets/url")).trim(), json["url"].as_str().expect("a URL"));
    assert!(read(&agent.path("heard")).starts_with("orders 1\norders 2\n"));

    // The hook has acknowledged, the pool has not: the old one lives to its end.
    let over = stage.over(&broker, &lease(&first).id).await;
    assert_eq!(end(&over), ("revoked", Some("expiry")));
    let third = agent.after("orders", 2).await;
    let ack = |consumer: &str| AckRequest { consumer: consumer.to_owned(), generation: third.generation };
    let refused = agent.client().ack("orders", &ack("stranger")).await.expect_err("nobody knows it");
    assert_eq!(refused.status(), Some(403));
    agent.client().ack("orders", &ack("pool")).await.expect("an acknowledgement");
    wait_until(SOON, "the hook to have heard of the third", || async {
        agent.status("orders").await.acknowledged["hook"] >= third.generation
    })
    .await;
    let over = stage.over(&broker, &lease(&second).id).await;
    assert_eq!(end(&over), ("revoked", Some("caller")), "all have changed");
    let page = agent.metrics().await;
    for line in [
        "leasehold_agent_alarm{credential=\"orders\"} 0".to_owned(),
        "leasehold_agent_failures_total{credential=\"orders\",step=\"deliver\"} 0".to_owned(),
        format!("leasehold_agent_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(page.contains(&line), "{line}\n{page}");
    }
    let number = |name: &str| number(&page, &format!("leasehold_agent_{name}{{credential=\"orders\"}}"));
    let generation = number("generation");
    assert!(generation >= 3.0 && number("rotations_total") == generation - 1.0, "{page}");
    assert!(generation - number("delivered_generation") <= 1.0 && number("left_seconds") <= 6.0, "{page}");
    assert!(number("delivered_timestamp_seconds") > 1e9 && page.ends_with("# EOF\n"), "{page}");

    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
    let said = agent.log();
    for supplied in [&first, &second, &third] {
        assert!(!said.contains(login(supplied).password.expose_secret()), "a password is in the log");
    }
}

/// The value of one series.
fn number(page: &str, series: &str) -> f64 {
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{series} is not in\n{page}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_an_operator_ends_is_replaced_within_seconds() {
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), FILES).await;
    let first = agent.first("orders").await;
    stage.client(&broker, OPERATOR).revoke(&lease(&first).id).await.expect("a revocation");
    let second = agent.after("orders", 1).await;
    session(&stage, &second).await;
    wait_until(SOON, "the files of the second", || async {
        read(&agent.path("secrets/url")).contains(&login(&second).username)
    })
    .await;
    drop(agent);
    stage.client(&broker, OPERATOR).revoke(&lease(&second).id).await.expect("a revocation");
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_hangs_or_fails_is_told_and_tried_again() {
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let hang = "[credentials.orders]\nrole = \"orders-write\"\nrevoke_on_exit = true\n\
                [[credentials.orders.on_change]]\ntimeout = \"1s\"\n\
                run = [\"sh\", \"-c\", \"test -e DIR/free || sleep 1000\"]\n";
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), hang).await;
    agent.first("orders").await;
    let hangs = async || {
        let status = agent.status("orders").await;
        status.delivered == 0 && status.last_error.is_some_and(|why| why.contains("did not end within 1s"))
    };
    wait_until(SOON, "the hook's failure to be told", hangs).await;
    std::fs::write(agent.path("free"), "").expect("let it go on");
    let well = async || {
        let status = agent.status("orders").await;
        status.delivered == 1 && status.last_error.is_none()
    };
    wait_until(SOON, "the hook to be tried again", well).await;
    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_at_the_start_is_waited_for() {
    let stage = stage("ttl = \"10m\"").await;
    let nowhere = "https://127.0.0.1:9";
    let svid = stage.ca.svid(BILLING);
    let mut agent = AgentProcess::start(nowhere, &svid, FILES).await;
    wait_until(SOON, "its complaint", || async { agent.status("orders").await.last_error.is_some() }).await;
    assert!(agent.status("orders").await.alarm);
    let page = agent.metrics().await;
    assert!(page.contains("leasehold_agent_alarm{credential=\"orders\"} 1"), "{page}");
    assert!(number(&page, "leasehold_agent_failures_total{credential=\"orders\",step=\"fetch\"}") >= 1.0, "{page}");
    assert!(number(&page, "leasehold_agent_svid_not_after_timestamp_seconds") > 1e9, "{page}");
    let error = agent.client().credential("orders").await.expect_err("there is none");
    assert!(error.status() == Some(503) && error.to_string().contains("cannot reach the broker"), "{error}");
    let unknown = agent.client().credential("other").await.expect_err("it keeps none of this name");
    assert_eq!(unknown.status(), Some(404));
    assert!(agent.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_killed_leaves_a_whole_pair_and_is_followed_by_another() {
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), FILES).await;
    let first = agent.first("orders").await;
    wait_until(SOON, "its delivery", || async { agent.status("orders").await.delivered == 1 }).await;
    agent.kill().await;
    // As a crash between two steps leaves it.
    std::fs::create_dir(agent.path("secrets/..leasehold-0123456789abcdef")).expect("a half-made folder");
    assert!(read(&agent.path("secrets/url")).contains(&login(&first).username), "its files are still there");
    agent.launch().await;
    let second = agent.first("orders").await;
    wait_until(SOON, "its delivery", || async { read(&agent.path("secrets/url")).contains(&login(&second).username) })
        .await;
    assert!(!agent.path("secrets/..leasehold-0123456789abcdef").exists());
    // It counts from the beginning: whoever has heard of the ninth by the one before is not kept waiting.
    let (ninth, long) = (9, Duration::from_secs(60));
    let client = agent.client();
    let asked = client.credential_after("orders", ninth, long);
    let heard = tokio::time::timeout(SOON / 2, asked).await.expect("an answer at once").expect("the present one");
    assert_eq!(lease(&heard).id, lease(&second).id);
    assert!(agent.terminate().await.success());
    stage.client(&broker, OPERATOR).revoke(&lease(&first).id).await.expect("nobody holds it any more");
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_identity_comes_from_a_workload_api_and_changes_without_a_new_credential() {
    let stage = stage("ttl = \"6s\"\nmax_ttl = \"1h\"").await;
    let broker = stage.broker().await;
    let mut agent = AgentProcess::idle();
    let spire = WorkloadApi::start(agent.dir.path()).await;
    let give = |life| spire.give(svids([workload_svid(stage.ca.dev(), "spiffe://dev.local/billing", life)]));
    give(Duration::from_secs(600));
    // The API's own is called agent.sock.
    agent.socket = "leasehold.sock";
    agent.configure_as(&broker.url(), &format!("svid = {{ workload_api = {:?} }}", spire.address()), FILES);
    agent.launch().await;
    let first = agent.first("orders").await;
    give(Duration::from_secs(1200));
    wait_until(SOON, "a renewal by the next SVID", || async {
        let now = agent.status("orders").await.lease.expect("it is held");
        now.id == lease(&first).id && now.expires_at > lease(&first).expires_at
    })
    .await;
    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}

#[tokio::test]
async fn two_agents_on_one_file_are_one_too_many() {
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let svid = stage.ca.svid(BILLING);
    let mut agent = AgentProcess::start(&broker.url(), &svid, FILES).await;
    agent.first("orders").await;
    let other = AgentProcess::idle();
    let dir = agent.dir.path().display().to_string();
    other.configure(&broker.url(), &svid, &FILES.replace("DIR", &dir));
    let (status, said) = other.refused().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("is another agent's"), "{said}");
    assert!(agent.terminate().await.success());
    tokio::time::timeout(Duration::from_secs(60), stage.quiet(&broker)).await.expect("the other has left nothing");
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_file_line_and_key() {
    let stage = stage("ttl = \"10m\"").await;
    let svid = stage.ca.svid(BILLING);
    let agent = AgentProcess::idle();
    for (more, line, said) in [
        ("", 1, "credentials: is missing"),
        ("[credentials.a]\nrule = \"r\"", 6, "credentials.a.rule: unknown key; did you mean role?"),
        (
            "[credentials.a]\nrole = \"r\"\n[[credentials.a.files]]\npath = \"x\"\nformat = \"yaml\"",
            9,
            "must be one of json, env",
        ),
        (
            "[credentials.a]\nrole = \"r\"\n[[credentials.a.files]]\npath = \"x\"\nformat = \"url\"\nmode = \"0666\"",
            10,
            "credentials.a.files[0].mode: must be an octal mode",
        ),
        ("[credentials.a]\nrole = \"r\"\n[[credentials.a.on_change]]\ntimeout = \"5s\"", 7, "must have one of run = "),
        (
            "[credentials.a]\nrole = \"r\"\n[[credentials.a.on_change]]\nrun = [\"true\"]\nacks = \"x\"",
            7,
            "there is no such consumer",
        ),
    ] {
        agent.configure("https://127.0.0.1:9", &svid, more);
        let (status, text) = agent.refused().await;
        assert_eq!(status.code(), Some(1), "{text}");
        assert!(text.contains(said) && text.contains(&format!("agent.toml:{line}:")), "{more}\n{text}");
    }
}
