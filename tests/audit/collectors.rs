//! Collectors of audit lines: what a required one holds up, what one that is not required loses, and what both get.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use leasehold_client::Client;
use leasehold_client::wire::DecisionRequest;
use leasehold_testkit::{Broker, Collector, Mood, PgFixture, wait_until};
use serde_json::Value;

use super::{good, lines, text};
use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage, end, mint, refusal};

/// A stage with a file, and a collector that is required or not.
struct Scene {
    stage: Stage,
    collector: Collector,
    /// What metrics and the log call it.
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Syslog,
    Https,
}

const KINDS: [Kind; 2] = [Kind::Syslog, Kind::Https];

impl Scene {
    async fn new(kind: Kind, required: bool, more: &str) -> Self {
        let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
        let mut stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
        // It takes clients of the broker's own authority only: its SVID will do.
        let client_ca = Some(stage.ca.bundle_pem());
        let (collector, key, scheme, path) = match kind {
            Kind::Syslog => (Collector::syslog(client_ca).await, "syslog", "tls", ""),
            Kind::Https => (Collector::https(client_ca).await, "https", "https", "/audit"),
        };
        std::fs::write(stage.config.dir().join("collector-ca.pem"), collector.ca_pem()).expect("write the CA");
        for (ours, broker) in [("our.pem", "broker.pem"), ("our-key.pem", "broker-key.pem")] {
            replace(&stage.config.dir().join(broker), &stage.config.dir().join(ours));
        }
        let name = format!("{scheme}://{}{path}", collector.address());
        stage.config = stage.config.audit(&format!(
            "[[audit]]\nfile = \"audit.jsonl\"\n\n[[audit]]\n{key} = \"{name}\"\nrequired = {required}\n\
             tls = {{ ca = \"collector-ca.pem\", cert = \"our.pem\", key = \"our-key.pem\" }}\n{more}"
        ));
        stage.config = stage.config.table("[seal]", "key = { file = \"seal.key\" }");
        let stage = stage
            .limit("audit_send_milliseconds_max", 1000)
            .limit("audit_checkpoint_seconds", 1)
            .limit("questions_per_minute_per_identity", 1_000_000);
        Self { stage, collector, name }
    }

    /// Waits until the collector has every line of the file.
    async fn has_all(&self) {
        wait_until(SOON, "the collector to have every line", || async {
            let hashes: BTreeSet<String> = self.collector.received().lines.iter().map(|line| hash(line)).collect();
            let file = std::fs::read_to_string(self.log()).expect("the log");
            file.lines().all(|line| hashes.contains(&hash(line)))
        })
        .await;
    }

    fn log(&self) -> PathBuf {
        self.stage.config.audit_path()
    }

    /// Demands that what was collected is whole by itself, and that the file does not end before it.
    async fn verify(&self) -> Value {
        let collected = self.stage.config.dir().join("collected.jsonl");
        std::fs::write(&collected, self.collector.received().lines.join("\n") + "\n").expect("write");
        let config = self.stage.config.dir().join("leasehold.toml");
        let pem = self.stage.config.dir().join("audit-key.pem");
        std::fs::write(&pem, good(&["key", "--config", text(&config)]).await).expect("write the key");
        let by_key = ["verify", "--key", text(&pem), "--output", "json"];
        good(&[&by_key[..], &[text(&self.log()), "--against", text(&collected)]].concat()).await;
        let verified = good(&[&by_key[..], &["--collected", text(&collected)]].concat()).await;
        serde_json::from_str(&verified).expect("JSON")
    }

    async fn up(&self, broker: &Broker) -> f64 {
        broker.metric(&format!("leasehold_audit_sink_up{{sink=\"{}\"}}", self.name)).await.unwrap_or(-1.0)
    }

    async fn lost(&self, broker: &Broker) -> f64 {
        let series = format!("leasehold_audit_lost_lines_total{{sink=\"{}\"}}", self.name);
        broker.metric(&series).await.unwrap_or(0.0)
    }
}

fn hash(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    line["hash"].as_str().expect("a hash").to_owned()
}

async fn is_ready(broker: &Broker) -> bool {
    matches!(broker.ops("/readyz").await, Ok((200, _)))
}

async fn wait_until_ready(broker: &Broker) {
    wait_until(SOON, "it to be ready again", || is_ready(broker)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_every_line_and_what_it_has_verifies() {
    for kind in KINDS {
        let scene = Scene::new(kind, true, "").await;
        let mut broker = scene.stage.broker().await;
        let client = scene.stage.client(&broker, BILLING);
        for _ in 0..3 {
            mint(&client, "10m").await.expect("a mint");
        }
        scene.has_all().await;
        // It starts again: what was on its way comes again, and nothing is lost.
        scene.collector.mood(Mood::Away);
        scene.collector.mood(Mood::Good);
        wait_until(SOON, "a mint", || async { mint(&client, "10m").await.is_ok() }).await;
        scene.has_all().await;
        broker.restart().await.expect("it starts again");
        mint(&scene.stage.client(&broker, BILLING), "10m").await.expect("a mint");
        broker.terminate().await.expect("it stops");
        scene.has_all().await;
        let verified = scene.verify().await;
        assert_eq!(verified["chains"][0]["signed"], "yes", "{verified}");
        assert_eq!(verified["chains"][0]["not_covered"], 0, "{verified}");

        let received = scene.collector.received();
        match kind {
            Kind::Syslog => {
                let head = received.heads[0].split(' ').collect::<Vec<_>>();
                let first: Value = serde_json::from_str(&received.lines[0]).expect("JSON");
                assert_eq!([head[0], head[3], head[5], head[6]], ["<110>1", "leasehold", "broker", "-"]);
                assert_eq!(first["at"], head[1]);
            }
            Kind::Https => assert!(received.heads.iter().all(|head| head == "/audit  application/x-ndjson")),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_required_collector_nothing_is_handed_out_but_ending_goes_on() {
    let cases = [
        (Kind::Syslog, Mood::Away),
        (Kind::Https, Mood::Away),
        (Kind::Https, Mood::Deaf),
        (Kind::Https, Mood::Status(503)),
    ];
    futures_util::future::join_all(cases.map(|(kind, mood)| async move {
        let scene = Scene::new(kind, true, "").await;
        let broker = scene.stage.broker().await;
        let client = scene.stage.client(&broker, BILLING);
        let held = mint(&client, "10m").await.expect("a mint");
        let session = scene.stage.session(&held).await;
        scene.collector.mood(mood);
        wait_until(SOON, "a mint to be refused", || async { mint(&client, "10m").await.is_err() }).await;
        let problem = refusal(mint(&client, "10m").await);
        assert!(problem.status == 503 && problem.detail.contains("audit"), "{problem:?}");
        wait_until(SOON, "it to say that it is not ready", || async { !is_ready(&broker).await }).await;
        assert_eq!(scene.up(&broker).await, 0.0);

        let ended = client.revoke(&held.lease.id).await.expect("ending never waits for audit");
        assert_eq!(end(&ended), ("revoked", Some("caller")));
        session.wait_until_dead(SOON).await;
        let revoked = |lines: &[String]| {
            lines.iter().filter(|line| line.contains(&held.lease.id) && line.contains("\"state\":\"revoked\"")).count()
        };
        assert_eq!(revoked(&scene.collector.received().lines), 0);

        scene.collector.mood(Mood::Good);
        wait_until_ready(&broker).await;
        mint(&client, "10m").await.expect("it mints again");
        wait_until(SOON, "the ending to arrive", || async { revoked(&scene.collector.received().lines) > 0 }).await;
        scene.has_all().await;
        scene.verify().await;
        assert!(lines(&scene.log()).iter().any(|line| line["event"] == "audit_resumed"));
        scene.stage.quiet(&broker).await;
    }))
    .await;
}

/// However it misbehaves, a required collector in the end has each line as the file has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_required_collector_may_have_got_it_gets_again_as_it_was() {
    let moods = [
        (Kind::Syslog, Mood::CutAfter(2)),
        (Kind::Syslog, Mood::Mute),
        (Kind::Https, Mood::CutAfter(1)),
        (Kind::Https, Mood::Silent),
        (Kind::Https, Mood::Deaf),
        (Kind::Https, Mood::Status(500)),
    ];
    futures_util::future::join_all(moods.map(|(kind, mood)| async move {
        let scene = Scene::new(kind, true, "").await;
        let broker = scene.stage.broker().await;
        let client = scene.stage.client(&broker, BILLING);
        mint(&client, "10m").await.expect("a mint");
        scene.collector.mood(mood);
        wait_until(SOON, &format!("{mood:?} to be noticed"), || async { mint(&client, "10m").await.is_err() }).await;
        scene.collector.mood(Mood::Good);
        wait_until_ready(&broker).await;
        mint(&client, "10m").await.unwrap_or_else(|e| panic!("{mood:?}: {e}"));
        scene.has_all().await;
        scene.verify().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_required_delays_nobody_and_gets_what_it_missed() {
    let moods = [
        (Kind::Syslog, Mood::Away),
        (Kind::Syslog, Mood::Mute),
        (Kind::Syslog, Mood::Deaf),
        (Kind::Syslog, Mood::CutAfter(1)),
        (Kind::Https, Mood::Away),
        (Kind::Https, Mood::Deaf),
        (Kind::Https, Mood::Silent),
        (Kind::Https, Mood::CutAfter(0)),
        (Kind::Https, Mood::Status(413)),
    ];
    futures_util::future::join_all(moods.map(|(kind, mood)| async move {
        let scene = Scene::new(kind, false, "").await;
        scene.collector.mood(mood);
        let broker = scene.stage.broker().await;
        let client = scene.stage.client(&broker, BILLING);
        for _ in 0..5 {
            let held = mint(&client, "10m").await.unwrap_or_else(|e| panic!("{mood:?}: {e}"));
            scene.stage.client(&broker, OPERATOR).revoke(&held.lease.id).await.expect("a revocation");
        }
        assert!(is_ready(&broker).await, "{mood:?}");
        scene.collector.mood(Mood::Good);
        scene.has_all().await;
        wait_until(SOON, "it to be up", || async { scene.up(&broker).await == 1.0 }).await;
        assert_eq!(scene.lost(&broker).await, 0.0, "{mood:?}");
        scene.verify().await;
    }))
    .await;
}

/// Puts so many bytes on record.
async fn fill(scene: &Scene, client: &Client, bytes: u64) {
    let size = || std::fs::metadata(scene.log()).map_or(0, |found| found.len());
    let until = size() + bytes;
    let role = "nobody-has-such-a-role-".repeat(20);
    let ask = DecisionRequest { identity: None, action: "mint".into(), role, params: None, subject: None };
    while size() < until {
        client.decide(&ask).await.expect("a decision about oneself");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_collector_that_is_not_required_loses_is_counted_and_on_record() {
    for kind in KINDS {
        let mut scene = Scene::new(kind, false, "").await;
        scene.stage.config = scene.stage.config.limit("audit_buffer_bytes_max", 1_048_576);
        let mut broker = scene.stage.broker().await;
        scene.collector.mood(Mood::Away);
        let client = scene.stage.client(&broker, BILLING);
        fill(&scene, &client, 1_300_000).await;
        let lost = scene.lost(&broker).await;
        assert!(lost > 0.0);
        assert!(is_ready(&broker).await);
        scene.collector.mood(Mood::Good);
        let on_record = || lines(&scene.log()).into_iter().find(|line| line["event"] == "lines_lost");
        wait_until(SOON, "the loss to be on record", || async { on_record().is_some() }).await;
        let (line, lost) = (on_record().expect("a line"), scene.lost(&broker).await);
        assert_eq!((line["sink"].as_str(), line["lines"].as_f64()), (Some(scene.name.as_str()), Some(lost)), "{line}");
        broker.terminate().await.expect("it stops");
        // The gap is there, and explained by the log itself.
        let seq = line["seq"].as_u64().expect("a number");
        wait_until(SOON, "the collector to hear of it", || async {
            scene.collector.received().lines.iter().any(|line| line.starts_with(&format!("{{\"seq\":{seq},")))
        })
        .await;
        let verified = scene.verify().await;
        assert_eq!(verified["chains"][0]["gaps_on_record"], 1, "{verified}");
    }
}

/// Faults one after the other, the broker killed and stopped among them: in the end each line is there, with the bytes that the
/// file has, and no number has two meanings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_storm_of_faults_each_line_arrives_as_it_was() {
    let cases = KINDS.into_iter().flat_map(|kind| [(kind, true), (kind, false)]);
    futures_util::future::join_all(cases.map(|(kind, required)| async move {
        let mut scene = Scene::new(kind, required, "").await;
        scene.stage.config = scene.stage.config.limit("audit_write_milliseconds_max", 1500);
        let mut broker = scene.stage.broker().await;
        let common = [Mood::Away, Mood::CutAfter(3), Mood::Mute, Mood::CutAfter(0)];
        let moods = match kind {
            Kind::Syslog => common.to_vec(),
            Kind::Https => [&common[..], &[Mood::Silent, Mood::Status(500), Mood::Deaf, Mood::CutAfter(1)]].concat(),
        };
        for (n, mood) in moods.into_iter().enumerate() {
            let client = scene.stage.client(&broker, BILLING);
            for mood in [Mood::Good, mood] {
                scene.collector.mood(mood);
                // Whether they are handed out is not what this is about.
                let asked = (0..4).map(|_| mint(&client, "10m"));
                futures_util::future::join_all(asked).await;
            }
            match n % 3 {
                0 => drop(broker.kill().await.expect("kill it")),
                1 => drop(broker.terminate().await.expect("it stops")),
                _ => continue,
            }
            broker.restart_unready().await.expect("it starts again");
        }
        scene.collector.mood(Mood::Good);
        let client = scene.stage.client(&broker, BILLING);
        wait_until(SOON, "a mint", || async { mint(&client, "10m").await.is_ok() }).await;
        scene.has_all().await;
        let verified = scene.verify().await;
        assert_eq!(verified["chains"][0]["gaps_on_record"], 0, "{kind:?} {required}: {verified}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_collector_did_not_get_before_the_end_it_gets_after_the_next_start() {
    for (kind, required, killed) in [
        (Kind::Syslog, false, true),
        (Kind::Https, false, true),
        (Kind::Https, false, false),
        (Kind::Https, true, false),
        (Kind::Syslog, true, true),
    ] {
        let scene = Scene::new(kind, required, "").await;
        let mut broker = scene.stage.broker().await;
        let client = scene.stage.client(&broker, BILLING);
        mint(&client, "10m").await.expect("a mint");
        scene.has_all().await;
        scene.collector.mood(Mood::Away);
        for _ in 0..3 {
            // A required one holds this up: its line is in the file all the same.
            assert_eq!(mint(&client, "10m").await.is_ok(), !required);
        }
        match killed {
            true => broker.kill().await.expect("kill it"),
            false => broker.terminate().await.expect("it stops"),
        };
        scene.collector.mood(Mood::Good);
        broker.restart().await.expect("it starts again");
        scene.has_all().await;
        let verified = scene.verify().await;
        let chain = &verified["chains"][0];
        assert_eq!((&chain["gaps_on_record"], &chain["first"]["seq"]), (&0.into(), &1.into()), "{kind:?}: {verified}");
        assert!(!lines(&scene.log()).iter().any(|line| line["event"] == "lines_lost"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_read_again_at_each_connect_and_stands_nowhere() {
    let scene = Scene::new(Kind::Https, true, "authorization = { file = \"token\" }\n").await;
    let token = scene.stage.config.dir().join("token");
    std::fs::write(&token, "Bearer canary-one\n").expect("write the token");
    scene.collector.demand("Bearer canary-one");
    let broker = scene.stage.broker().await;
    let client = scene.stage.client(&broker, BILLING);
    mint(&client, "10m").await.expect("a mint");
    scene.collector.demand("Bearer canary-two");
    wait_until(SOON, "a mint to be refused", || async { mint(&client, "10m").await.is_err() }).await;
    assert!(broker.logs().contains("it answers 401"), "{}", broker.logs());
    std::fs::write(&token, "Bearer canary-two\n").expect("write the token");
    wait_until_ready(&broker).await;
    mint(&client, "10m").await.expect("a mint");
    scene.has_all().await;
    let said = [
        broker.logs(),
        std::fs::read_to_string(scene.log()).expect("the log"),
        broker.ops("/metrics").await.expect("metrics").1,
    ];
    assert!(!said.concat().contains("canary"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_who_it_should_be_gets_nothing() {
    for kind in KINDS {
        let scene = Scene::new(kind, false, "").await;
        // It is of another authority.
        let other = Collector::syslog(None).await;
        let ca = scene.stage.config.dir().join("collector-ca.pem");
        let theirs = std::fs::read_to_string(&ca).expect("the CA");
        std::fs::write(&ca, other.ca_pem()).expect("write the CA");
        let broker = scene.stage.broker().await;
        wait_until(SOON, "it to be refused", || async { scene.up(&broker).await == 0.0 }).await;
        mint(&scene.stage.client(&broker, BILLING), "10m").await.expect("a mint");
        assert!(scene.collector.received().lines.is_empty());
        assert!(broker.logs().contains("TLS: "), "{}", broker.logs());
        // Read again at each connect.
        std::fs::write(&ca, theirs).expect("write the CA");
        scene.has_all().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_under_a_name_that_it_has_no_certificate_for_gets_nothing() {
    let mut scene = Scene::new(Kind::Syslog, false, "").await;
    let misnamed = Collector::misnamed_syslog().await;
    std::fs::write(scene.stage.config.dir().join("collector-ca.pem"), misnamed.ca_pem()).expect("write the CA");
    let name = format!("tls://{}", misnamed.address());
    let tables = format!(
        "[[audit]]\nfile = \"audit.jsonl\"\n\n[[audit]]\nsyslog = \"{name}\"\nrequired = false\ntls = {{ ca = \"collector-ca.pem\" }}\n"
    );
    scene.stage.config = scene.stage.config.audit(&tables);
    let broker = scene.stage.broker().await;
    let told = || broker.logs().contains("not valid for name");
    wait_until(SOON, "it to be refused for its name", || async { told() }).await;
    assert!(misnamed.received().lines.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_syslog_server_that_refuses_our_certificate_takes_nothing() {
    let scene = Scene::new(Kind::Syslog, true, "").await;
    let broker = scene.stage.broker().await;
    let client = scene.stage.client(&broker, BILLING);
    mint(&client, "10m").await.expect("a mint");
    // From now on the certificate that is shown is of an authority that it does not know.
    let other = leasehold_testkit::TestCa::new("dev.local");
    let stranger = other.svid("/leasehold");
    replace(&stranger.cert, &scene.stage.config.dir().join("our.pem"));
    replace(&stranger.key, &scene.stage.config.dir().join("our-key.pem"));
    scene.collector.mood(Mood::Away);
    scene.collector.mood(Mood::Good);
    wait_until(SOON, "it to be told", || async { scene.up(&broker).await == 0.0 }).await;
    wait_until(SOON, "it not to be ready", || async { !is_ready(&broker).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_whether_collectors_can_be_reached() {
    for (kind, required, level) in [(Kind::Syslog, true, "error"), (Kind::Https, false, "warning")] {
        let scene = Scene::new(kind, required, "").await;
        let config = scene.stage.config.write();
        let check = async || {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_leasehold"));
            command.args(["check", "--config", text(&config)]).stdin(std::process::Stdio::null());
            let output = tokio::time::timeout(SOON, command.output()).await.expect("it ends").expect("it starts");
            String::from_utf8(output.stdout).expect("text")
        };
        let said = check().await;
        assert!(said.contains(&format!("{} can be reached", scene.name)), "{said}");
        scene.collector.mood(Mood::Mute);
        let said = check().await;
        let line = said.lines().find(|line| line.contains("cannot be reached")).unwrap_or_else(|| panic!("{said}"));
        assert!(line.starts_with(level) && line.contains("no answer within 1000 ms"), "{line}");
    }
}

fn replace(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("copy a file");
}
