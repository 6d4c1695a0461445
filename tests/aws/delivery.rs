//! The SDKs of AWS as customers: by the agent's endpoint, by `credential_process`, by the environment and by a profile.

use leasehold_testkit::{Svid, wait_until};
use serde_json::{Value, json};

use super::world::{INVOICES, World, done, read};
use crate::agent::process::AgentProcess;
use crate::ground::PROGRAM;
use crate::stage::{BILLING, OPERATOR, SOON};

const AGENT: &str = r#"
listen = { addr = "127.0.0.1:0", token_file = "DIR/agent.token" }
[credentials.invoices]
role = "invoices-bucket"
aws_token_file = "DIR/invoices.token"
[[credentials.invoices.files]]
path = "DIR/aws/credentials"
format = "aws-profile"
[credentials.brief]
role = "brief-mailer"
aws_token_file = "DIR/brief.token"
"#;

/// What an SDK is told to ask the agent for this credential.
fn container(agent: &AgentProcess, name: &str) -> [(&'static str, String); 3] {
    let token = agent.path(&format!("{name}.token")).display().to_string();
    [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{}/v1/aws/{name}", agent.port())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token),
        // Nothing else may let it in.
        ("AWS_ACCESS_KEY_ID", String::new()),
    ]
}

fn texts<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    env.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// How a command of ours finds the broker, for a program that starts it.
fn client_env(addr: &str, svid: &Svid) -> Vec<(&'static str, String)> {
    let path = |path: &std::path::Path| path.display().to_string();
    vec![
        ("LEASEHOLD_ADDR", addr.to_owned()),
        ("LEASEHOLD_CERT", path(&svid.cert)),
        ("LEASEHOLD_KEY", path(&svid.key)),
        ("LEASEHOLD_BUNDLE", path(&svid.bundle)),
    ]
}

/// Asks AWS again and again from several threads, each by the one session that the SDK keeps. Prints what was seen.
const LOAD: &str = r#"
import boto3, collections, json, os, threading, time
from botocore.config import Config
session = boto3.Session()
until = time.monotonic() + float(os.environ["SECONDS"])
seen, failed, keys, lock = collections.Counter(), [], set(), threading.Lock()
def work():
    client = session.client("sts", config=Config(retries={"total_max_attempts": 1}))
    while time.monotonic() < until:
        try:
            arn = client.get_caller_identity()["Arn"]
            with lock:
                seen["done"] += 1
                keys.add(arn)
        except Exception as error:
            with lock:
                failed.append(repr(error))
        time.sleep(0.02)
threads = [threading.Thread(target=work) for _ in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps({"done": seen["done"], "failed": failed[:3], "as": sorted(keys)}))
"#;

async fn load(world: &World, env: &[(&str, &str)], seconds: &str) -> Value {
    let env = [env, &[("SECONDS", seconds)]].concat();
    serde_json::from_str(&done(&world.moto.python(LOAD, &env).await)).expect("what was seen")
}

/// A session of a quarter of an hour is stale to botocore at birth: it asks the agent at each call. The lease is ended meanwhile, and
/// the agent has another.
#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_works_on_through_the_agent_while_its_session_is_replaced() {
    let world = World::new().await;
    let broker = world.broker().await;
    let agent = AgentProcess::start(&broker.url(), &world.stage.ca.svid(BILLING), AGENT).await;
    let first = agent.first("invoices").await.lease.expect("a lease");
    let env = container(&agent, "invoices");
    let ends = async {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        world.stage.client(&broker, OPERATOR).revoke(&first.id).await.expect("an answer");
    };
    let (seen, ()) = tokio::join!(async { load(&world, &texts(&env), "6").await }, ends);
    assert_eq!(seen["failed"], json!([]), "{seen}");
    let sessions = seen["as"].as_array().expect("who it was");
    assert!(
        sessions.len() >= 2 && sessions[0].as_str().is_some_and(|arn| arn.contains("assumed-role/invoices/")),
        "{seen}"
    );

    let listed = world.moto.aws(&["sts", "get-caller-identity"], &texts(&env)).await;
    assert!(done(&listed).contains("assumed-role/invoices/"));
}

/// Users live seconds here, and the account refuses the key of each that has ended: not one call fails.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_keys_that_really_die_take_each_others_place() {
    let mut world = World::new().await;
    world.may_all("leasehold").await;
    let broker = world.broker().await;
    let agent = AgentProcess::start(&broker.url(), &world.stage.ca.svid(BILLING), AGENT).await;
    let first = agent.first("brief").await.lease.expect("a lease");
    world.moto.authorize().await;
    let env = container(&agent, "brief");
    let seen = load(&world, &texts(&env), "22").await;
    assert_eq!(seen["failed"], json!([]), "{seen}");
    let users = seen["as"].as_array().expect("who it was").len();
    assert!(users >= 3, "{users} users in 22 s: {seen}");
    let gone = world.lease(&broker, &first.id).await;
    assert_eq!(gone.state, "revoked", "{gone:?}");
    assert!(!world.users().await.contains(&first.account));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_a_profile_and_the_environment_let_the_command_line_in() {
    let world = World::new().await;
    let broker = world.broker().await;
    let svid = world.stage.ca.svid(BILLING);
    let who = ["sts", "get-caller-identity"];

    let config = world.stage.dir().join("aws-config");
    let process = format!(
        "[profile invoices]\nregion = eu-central-1\ncredential_process = {PROGRAM} get {INVOICES} --format aws-process\n"
    );
    std::fs::write(&config, process).expect("write the profile");
    let mut env = client_env(&broker.url(), &svid);
    env.extend([
        ("AWS_CONFIG_FILE", config.display().to_string()),
        ("AWS_PROFILE", "invoices".to_owned()),
        ("AWS_ACCESS_KEY_ID", String::new()),
    ]);
    assert!(done(&world.moto.aws(&who, &texts(&env)).await).contains("assumed-role/invoices/"));

    let agent = AgentProcess::start(&broker.url(), &svid, AGENT).await;
    let lease = agent.first("invoices").await.lease.expect("a lease");
    let file = agent.path("aws/credentials");
    wait_until(SOON, "the profile to be written", || async { file.exists() }).await;
    assert!(read(&file).contains("[invoices]"));
    let env = [
        ("AWS_SHARED_CREDENTIALS_FILE", file.display().to_string()),
        ("AWS_PROFILE", "invoices".to_owned()),
        ("AWS_ACCESS_KEY_ID", String::new()),
    ];
    assert!(done(&world.moto.aws(&who, &texts(&env)).await).contains(&lease.id));

    let mut run = broker.command(&svid);
    let run = run.args([
        "run",
        INVOICES,
        "--",
        "sh",
        "-c",
        "echo $AWS_ACCESS_KEY_ID $AWS_REGION; test -n \"$AWS_SESSION_TOKEN\"",
    ]);
    let said = done(&run.output().await.expect("run it"));
    assert!(said.contains("eu-central-1") && said.len() > 20, "{said}");
    let flat = broker.command(&svid).args(["get", INVOICES, "--format", "json"]).output().await.expect("run it");
    let flat: Value = serde_json::from_str(&done(&flat)).expect("JSON");
    for member in ["access_key_id", "secret_access_key", "session_token", "region", "lease_id", "expires_at"] {
        assert!(flat[member].is_string(), "{member}");
    }
}
