//! The agent as that of a container, which the SDKs of AWS ask: who is answered there, and who is not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use leasehold_testkit::{PgFixture, distribution};
use serde_json::{Value, json};

use super::process::{AgentProcess, read};
use crate::stage::{BILLING, ROLE, Rights, Stage};

fn config(exec: &str) -> String {
    format!(
        "listen = {{ addr = \"127.0.0.1:0\", token_file = \"DIR/agent.token\" }}\n\
         [credentials.orders]\nrole = \"{ROLE}\"\nrevoke_on_exit = true\naws_token_file = \"DIR/orders.token\"\n\
         [credentials.plain]\nrole = \"{ROLE}\"\nrevoke_on_exit = true\n{exec}"
    )
}

/// Asks as the SDKs do. Answers the status, and the body.
fn asked(url: &str, more: &[&str]) -> (String, Value) {
    let done = Command::new("curl").args(["-s", "-w", "\n%{http_code}", url]).args(more).output().expect("run curl");
    let text = String::from_utf8(done.stdout).expect("UTF-8");
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.to_owned(), serde_json::from_str(body).expect("JSON"))
}

fn is_its_owners_alone(file: &Path) -> bool {
    std::fs::metadata(file).expect("it is there").permissions().mode() & 0o777 == 0o600
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_its_own_token_opens_a_credential_and_it_opens_nothing_else() {
    let stage =
        Stage::new(PgFixture::shared(distribution()).await, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let broker = stage.broker().await;
    let mut agent = AgentProcess::start(&broker.url(), &stage.ca.svid(BILLING), &config("")).await;
    agent.first("orders").await;
    let port = agent.port();
    let file = agent.path("orders.token");
    let (own, agents) = (read(&file), read(&agent.path("agent.token")));
    assert!(is_its_owners_alone(&file) && !own.ends_with('\n') && own != agents);

    let url = format!("http://{port}/v1/aws/orders");
    let shown = |token: &str| format!("Authorization: {token}");
    let (status, told) = asked(&url, &["-H", &shown(&own)]);
    let message = "a login of a database is nothing that requests to AWS are signed with";
    assert_eq!((status.as_str(), told), ("404", json!({ "code": "NotKeysOfAws", "message": message })));
    let plain = format!("http://{port}/v1/aws/plain");
    let unheard = format!("http://{port}/v1/aws/unheard");
    for (url, more, status, code) in [
        (&url, vec![], "401", "Unauthorized"),
        (&url, vec!["-H", "Authorization: "], "401", "Unauthorized"),
        (&url, vec!["-H", &shown(&agents)], "401", "Unauthorized"),
        (&url, vec!["-H", &shown(&format!("Bearer {own}"))], "401", "Unauthorized"),
        (&url, vec!["-H", &shown(&own), "-H", &shown(&own)], "401", "Unauthorized"),
        (&plain, vec!["-H", &shown(&own)], "401", "Unauthorized"),
        (&unheard, vec!["-H", &shown(&own)], "401", "Unauthorized"),
        (&url, vec!["-H", &shown(&own), "-H", "Host: evil.example"], "403", "Forbidden"),
        (&url, vec!["-H", &shown(&own), "-H", "Origin: http://evil.example"], "403", "Forbidden"),
    ] {
        let (got, told) = asked(url, &more);
        assert_eq!((got.as_str(), &told["code"]), (status, &Value::from(code)), "{url} {more:?}: {told}");
        assert!(told["message"].is_string() && !told.to_string().contains(&own), "{told}");
    }
    let others = format!("http://{port}/v1/credentials/orders");
    assert_eq!(asked(&others, &["-H", &shown(&format!("Bearer {own}"))]).0, "401");
    assert_eq!(asked(&others, &["-H", &shown(&format!("Bearer {agents}"))]).0, "200");

    assert!(agent.terminate().await.success());
    agent.launch().await;
    assert_eq!(read(&file), own, "SDKs that know it go on");
    assert!(agent.terminate().await.success());
    std::fs::write(&file, own + "\n").expect("write the token");
    // Of a broker that is away nothing is fetched which this one would leave behind.
    agent.configure("https://127.0.0.1:1", &stage.ca.svid(BILLING), &config(""));
    let (status, said) = agent.refused().await;
    assert!(!status.success() && said.contains("must not end with a newline"), "{said}");
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_finds_its_way_there_by_itself() {
    let stage =
        Stage::new(PgFixture::shared(distribution()).await, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let broker = stage.broker().await;
    let exec = "[exec]\ncommand = [\"sh\", \"-c\", \"env > DIR/env\"]\n";
    let svid = stage.ca.svid(BILLING);
    let env_of = async |exec: &str| {
        let mut agent = AgentProcess::idle();
        agent.configure(&broker.url(), &svid, &config(exec));
        assert!(agent.run_to_its_end().await.success());
        let (env, port, file) = (read(&agent.path("env")), agent.port(), agent.path("orders.token"));
        let found = env.lines().filter_map(|line| line.strip_prefix("AWS_CONTAINER_")?.split_once('='));
        let mut found: Vec<_> = found.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        found.sort();
        (found, format!("http://{port}/v1/aws/orders"), file.display().to_string())
    };
    let (found, url, file) = env_of(exec).await;
    assert_eq!(found, [("AUTHORIZATION_TOKEN_FILE".into(), file), ("CREDENTIALS_FULL_URI".into(), url)]);
    let own = format!("{exec}env = {{ AWS_CONTAINER_CREDENTIALS_FULL_URI = \"http://127.0.0.1:1/\" }}\n");
    let (found, ..) = env_of(&own).await;
    assert_eq!(found[1].1, "http://127.0.0.1:1/", "what the configuration says goes first");
    stage.quiet(&broker).await;
}
