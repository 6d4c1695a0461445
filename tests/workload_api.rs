//! Broker, client library and command line that have their identities from a SPIFFE Workload API.

use std::time::Duration;

use leasehold_client::wire::MintRequest;
use leasehold_client::{Client, Settings};
use leasehold_testkit::wait_until;
use leasehold_testkit::workload_api::{Code, WorkloadApi, svids, workload_svid};

use crate::ground;
use crate::rig::{BILLING, Ground, READ, Rig, SOON, mint};

const BROKER: &str = "spiffe://dev.local/leasehold";
const HOUR: Duration = Duration::from_secs(3600);
const SVID_END: &str = "leasehold_svid_not_after_timestamp_seconds";

/// A broker that is started before its agent has an answer.
async fn start() -> (Rig, WorkloadApi) {
    let ground = Ground::new().await;
    let agent = WorkloadApi::start(ground.dir()).await;
    let config = ground.config().workload_api(&agent.address(), &["dev.local"]);
    for file in ["broker.pem", "broker-key.pem", "bundle.pem"] {
        std::fs::remove_file(ground.dir().join(file)).expect("no file is needed");
    }
    let give = async {
        wait_until(SOON, "the broker asks", || std::future::ready(agent.calls() > 0)).await;
        agent.give(svids([workload_svid(ground.ca.dev(), BROKER, HOUR)]));
    };
    let (broker, ()) = tokio::join!(ground::start(ground::options(&config)), give);
    (Rig { ground, config, broker }, agent)
}

impl Rig {
    /// Gives the broker an SVID of this life and waits until it is shown.
    async fn rotate(&self, agent: &WorkloadApi, life: Duration) {
        let before = self.broker.metric(SVID_END).await.expect("the SVID's end");
        agent.give(svids([workload_svid(self.ground.ca.dev(), BROKER, life)]));
        wait_until(SOON, "the next SVID", || async {
            self.broker.metric(SVID_END).await.is_ok_and(|end| (end - before).abs() > 30.0)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_follows_its_agent_and_drops_no_connection() {
    let (rig, mut agent) = start().await;
    rig.assert_healthy().await;
    let mut kept = rig.line(BILLING).await;
    for minutes in [10, 20, 30, 40] {
        rig.rotate(&agent, Duration::from_secs(minutes * 60)).await;
        assert_eq!(kept.ask("GET", "/v1/roles", None).await.status, 200, "the connection was never dropped");
        assert_eq!(rig.ask(BILLING, "GET", "/v1/roles", None).await.status, 200, "nor is a new one refused");
    }
    assert_eq!(agent.calls(), 1, "all over one stream");
    let config = rig.config.write();
    let checked = rig.run(BILLING, &["check", "--config", &config.to_string_lossy()]).await;
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains("the broker is spiffe://dev.local/leasehold, valid until"), "{checked}");

    agent.go_away().await;
    wait_until(SOON, "the trouble is in the log", || {
        std::future::ready(rig.broker.logs().contains("cannot be reached"))
    })
    .await;
    rig.assert_healthy().await;
    agent.come_back().await;
    rig.rotate(&agent, HOUR).await;
    assert_eq!(kept.ask("GET", "/v1/roles", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_nobody_any_more_lets_nobody_in() {
    let (rig, agent) = start().await;
    let mut kept = rig.line(BILLING).await;
    assert_eq!(kept.ask("GET", "/v1/roles", None).await.status, 200);
    agent.refuse(Code::PermissionDenied);
    let is_ready = async || rig.broker.ops("/readyz").await.is_ok_and(|(status, _)| status == 200);
    wait_until(SOON, "it is not ready", async || !is_ready().await).await;
    kept.ask("GET", "/v1/roles", None).await.problem(401);

    agent.give(svids([workload_svid(rig.ground.ca.dev(), BROKER, HOUR)]));
    wait_until(SOON, "it is ready again", is_ready).await;
    rig.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_and_a_command_need_no_files() {
    let rig = Rig::new().await;
    let node = tempfile::tempdir().expect("a directory");
    let mut agent = WorkloadApi::start(node.path()).await;
    agent.give(svids([workload_svid(rig.ground.ca.dev(), "spiffe://dev.local/billing", HOUR)]));

    let settings =
        Settings { addr: Some(rig.broker.url()), workload_api: Some(agent.address()), ..Settings::default() };
    let client = Client::new(settings.load().await.expect("an identity")).expect("a client");
    let (lease, _) = mint(&client, READ, &MintRequest::default()).await.expect("a credential");
    assert_eq!(lease.identity, "spiffe://dev.local/billing");
    client.close().await;

    let run = async |arguments: &[&str]| {
        let mut command = rig.command(BILLING, arguments);
        for name in ["LEASEHOLD_CERT", "LEASEHOLD_KEY", "LEASEHOLD_BUNDLE"] {
            command.env_remove(name);
        }
        command.env("SPIFFE_ENDPOINT_SOCKET", agent.address());
        command.output().await.expect("the command starts")
    };
    let listed = run(&["role", "list", "--output", "json"]).await;
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    assert!(String::from_utf8_lossy(&listed.stdout).contains(READ));
    let ran = run(&["run", READ, "--", "sh", "-c", "test -n \"$PGPASSWORD\""]).await;
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");

    agent.go_away().await;
    let settings =
        Settings { addr: Some(rig.broker.url()), workload_api: Some(agent.address()), ..Settings::default() };
    let error = settings.load().await.expect_err("nobody is there").to_string();
    assert!(error.contains("agent.sock") && error.contains("cannot be reached"), "{error}");
}
