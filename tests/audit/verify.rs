//! Checkpoints and `audit verify`: a rewrite, a cut tail and a missing chain are found.

use std::path::{Path, PathBuf};

use leasehold_testkit::{Broker, ConfigFile, PgFixture, wait_until};
use serde_json::Value;

use super::{bad, good, lines, text};
use crate::ground;
use crate::stage::{BILLING, Rights, SOON, Stage, mint};

/// A stage whose brokers have a key of their cluster, and keep leases where several can.
async fn stage(shared: bool) -> Stage {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let mut stage = Stage::new(pg.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"");
    if shared {
        stage = stage.with_store_on(&pg).await;
    }
    // Of a store that several share, the key must be there before.
    let key = data_key(7);
    std::fs::write(stage.config.dir().join("seal.key"), key).expect("write the key");
    stage.config = stage.config.table("[seal]", "key = { file = \"seal.key\" }").limit("audit_checkpoint_seconds", 1);
    stage
}

/// 32 bytes in base64, each of them `byte`: any key will do here.
fn data_key(byte: u8) -> String {
    let triple = match byte {
        7 => "BwcH",
        _ => "CAgI",
    };
    format!("{}{}\n", triple.repeat(10), if byte == 7 { "Bwc=" } else { "CAg=" })
}

async fn write_lines(stage: &Stage, broker: &Broker) {
    let client = stage.client(broker, BILLING);
    for _ in 0..3 {
        mint(&client, "10m").await.expect("a mint");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_written_anew_or_cut_is_found_by_key_and_store() {
    let stage = stage(false).await;
    let mut broker = stage.broker().await;
    write_lines(&stage, &broker).await;
    let (log, config) = (stage.config.audit_path(), stage.config.dir().join("leasehold.toml"));
    let (log_arg, config_arg) = (text(&log), text(&config));
    wait_until(SOON, "a checkpoint to cover the last line", || async {
        lines(&log).last().is_some_and(|line| line["event"] == "checkpoint")
    })
    .await;

    // An outsider verifies by the public key alone, while the broker runs.
    let pem = stage.config.dir().join("audit-key.pem");
    std::fs::write(&pem, good(&["key", "--config", config_arg]).await).expect("write the key");
    let by_key = ["verify", "--key", text(&pem), log_arg, "--output", "json"];
    let whole: Value = serde_json::from_str(&good(&by_key).await).expect("JSON");
    assert_eq!((&whole["whole"], &whole["chains"][0]["signed"]), (&true.into(), &"yes".into()), "{whole}");
    by_other_tools(stage.config.dir(), &pem, &log);

    // A broker that stops covers its last line.
    broker.terminate().await.expect("it stops");
    let last = lines(&log).pop().expect("a line");
    assert_eq!(last["event"], "checkpoint");
    let whole: Value =
        serde_json::from_str(&good(&["verify", "--config", config_arg, "--output", "json"]).await).expect("JSON");
    assert_eq!(whole["chains"][0]["signed_to"]["seq"], last["seq"]);
    assert_eq!(whole["chains"][0]["known_head"], "found");

    // Another seal key is in force: the earlier one still verifies.
    std::fs::write(stage.config.dir().join("next.key"), data_key(8)).expect("write the key");
    let toml = std::fs::read_to_string(&config).expect("the configuration");
    let with_old = "key = { file = \"next.key\" }\nold_keys = [{ file = \"seal.key\" }]";
    std::fs::write(&config, toml.replace("key = { file = \"seal.key\" }", with_old)).expect("write");
    broker.restart().await.expect("it starts");
    broker.terminate().await.expect("it stops");
    good(&["verify", "--config", config_arg]).await;
    assert!(bad(&by_key).await.contains("is not among those given"), "the new key was not published yet");
    std::fs::write(&config, &toml).expect("write");
    std::fs::write(&pem, good(&["key", "--config", config_arg]).await).expect("write the key");

    // The end is cut off, right after a checkpoint.
    let text = std::fs::read_to_string(&log).expect("the log");
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    let signed = all.iter().position(|line| line.contains("\"checkpoint\"")).expect("a checkpoint") + 1;
    std::fs::write(&log, all[..signed].concat()).expect("cut");
    good(&by_key).await;
    let said = bad(&["verify", "--config", config_arg, "--key", text_of(&pem)]).await;
    assert!(said.contains("the end is cut off"), "{said}");
    // A copy elsewhere knows it too.
    let copy = stage.config.dir().join("copy.jsonl");
    std::fs::write(&copy, all[..signed + 2].concat()).expect("a copy");
    let said = bad(&["verify", log_arg, "--against", text_of(&copy)]).await;
    assert!(said.contains("the end is cut off: the copy"), "{said}");
}

fn text_of(path: &Path) -> &str {
    text(path)
}

/// As docs/audit.md tells an outsider.
fn by_other_tools(dir: &Path, pem: &Path, log: &Path) {
    let script = r#"set -e; cd "$0"
grep '"event":"checkpoint"' "$1" | tail -n 1 > checkpoint.json
jq -j '"leasehold audit checkpoint 1\n\(.chain)\n\(.covers.seq)\n\(.covers.hash)\n\(.at)\n"' checkpoint.json > text
jq -r .signature checkpoint.json | base64 -d > signature
openssl pkeyutl -verify -pubin -inkey "$2" -rawin -in text -sigfile signature"#;
    let output = std::process::Command::new("sh").args(["-c", script]).args([dir, log, pem]).output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("Verified Successfully"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_of_a_missing_broker_is_missed() {
    let stage = stage(true).await;
    let other = tempfile::tempdir().expect("a directory");
    let second: ConfigFile = stage.config.in_another_directory(other.path());
    let mut brokers = vec![stage.broker().await, ground::start(ground::options(&second)).await];
    for broker in &mut brokers {
        write_lines(&stage, broker).await;
        broker.terminate().await.expect("it stops");
    }
    let (one, two) = (stage.config.audit_path(), second.audit_path());
    let config = stage.config.dir().join("leasehold.toml");
    let config = text(&config);
    let whole: Value =
        serde_json::from_str(&good(&["verify", "--config", config, text(&one), text(&two), "--output", "json"]).await)
            .expect("JSON");
    let chains: Vec<&str> =
        whole["chains"].as_array().expect("chains").iter().filter_map(|c| c["chain"].as_str()).collect();
    assert_eq!(chains.len(), 2);
    let of_two = lines(&two)[0]["chain"].as_str().expect("a chain").to_owned();

    // As one collector stores both.
    let mixed: PathBuf = stage.config.dir().join("mixed.jsonl");
    let (of_one_text, of_two_text) =
        (std::fs::read_to_string(&one).expect("a log"), std::fs::read_to_string(&two).expect("a log"));
    let (mut a, mut b) = (of_one_text.split_inclusive('\n'), of_two_text.split_inclusive('\n'));
    let mut lines_of_both = Vec::new();
    loop {
        let pair = [a.next(), b.next()];
        if pair == [None, None] {
            break;
        }
        lines_of_both.extend(pair.into_iter().flatten());
    }
    std::fs::write(&mixed, lines_of_both.concat()).expect("write");
    good(&["verify", "--config", config, text(&mixed)]).await;

    let said = bad(&["verify", "--config", config, text(&one)]).await;
    assert!(said.contains(&format!("the chain {of_two} is missing")), "{said}");
    good(&["verify", "--config", config, text(&one), "--this-broker"]).await;
    good(&["verify", "--config", config, text(&one), "--without", &of_two]).await;
    good(&["verify", "--config", config]).await;
}
