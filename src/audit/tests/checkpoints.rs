//! Checkpoints: who writes the log anew without the key is found out.

use std::time::Duration;

use super::super::{Checkpoints, Fault, Signed, Stored};
use super::*;
use crate::seal::{KeyRing, KeySource, VerifyingKey};

fn ring(dir: &Path, current: &str, old: &[&str]) -> KeyRing {
    let source = |name: &&str| KeySource::File(dir.join(name));
    old.iter().chain([&current]).for_each(|name| source(name).make_if_missing().unwrap());
    KeyRing::read(&source(&current), &old.iter().map(source).collect::<Vec<_>>()).unwrap()
}

fn with_checkpoints(path: &Path, chain: &str, ring: Option<&KeyRing>, every: Duration) -> AuditLog {
    let mut options = options(&[path], None);
    options.chain = chain.into();
    options.checkpoints = Some(Checkpoints::new(every, ring.map(|ring| ring.signing_key().unwrap())));
    AuditLog::open(options).unwrap().0
}

/// A log of two runs: what each wrote is covered at its beginning and at its end.
async fn two_runs(path: &Path, chain: &str, ring: Option<&KeyRing>) {
    for run in ["first", "second"] {
        let log = with_checkpoints(path, chain, ring, Duration::from_secs(3600));
        for n in 0..3 {
            log.write(event(&format!("{run} {n}"))).await.unwrap();
        }
        log.close().await.unwrap();
    }
}

fn by_keys(keys: Vec<VerifyingKey>) -> Demands {
    Demands { keys, ..Demands::default() }
}

fn fault(path: &Path, demands: &Demands) -> Fault {
    checked(&[path], demands).expect_err("it is not whole").0.remove(0).what
}

/// The same events in a chain that is whole in itself, written by somebody who has no key: `change` may change each.
fn forge(path: &Path, change: impl Fn(&mut serde_json::Value)) {
    let mut out = Vec::new();
    let mut head = AuditHead { seq: 0, hash: super::super::chain::NO_PREV.into() };
    for mut line in lines(path) {
        change(&mut line);
        let members = line.as_object_mut().unwrap();
        let at: leasehold_sdk::Timestamp = serde_json::from_value(members["at"].clone()).unwrap();
        let (chain, broker) = (members["chain"].as_str().unwrap().to_owned(), members["broker"].clone());
        for own in ["seq", "at", "chain", "broker", "config", "prev", "hash"] {
            members.remove(own);
        }
        if let Some(covers) = members.get_mut("covers") {
            *covers = serde_json::json!({"seq": head.seq, "hash": head.hash});
        }
        head.seq += 1;
        let broker = broker.as_str().unwrap();
        let own = super::super::chain::Head {
            seq: head.seq,
            at,
            chain: &chain,
            broker,
            config: "c0",
            prev: &head.hash.clone(),
        };
        head.hash = super::super::chain::append_line(&mut out, &own, line.to_string().as_bytes());
    }
    std::fs::write(path, out).unwrap();
}

#[tokio::test]
async fn each_run_covers_its_lines_and_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let ring = ring(dir.path(), "a", &[]);
    two_runs(&path, CHAIN, Some(&ring)).await;
    let found = lines(&path);
    let checkpoints: Vec<u64> =
        found.iter().filter(|line| line["event"] == "checkpoint").map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(checkpoints, [2, 5, 7, 10]);
    assert_eq!(found[4]["covers"], serde_json::json!({"seq": 4, "hash": found[3]["hash"]}));
    let report = checked(&[&path], &by_keys(ring.verifying_keys().unwrap())).unwrap();
    assert!(matches!(report.signed, Signed::To(10, _)), "{report:?}");
    assert_eq!((report.checkpoints, report.not_covered), (4, 0));
    assert_eq!(whole(&[&path], None).signed, Signed::Unchecked);
}

#[tokio::test]
async fn an_idle_log_gets_its_checkpoint_and_then_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = with_checkpoints(&path, CHAIN, None, Duration::from_millis(300));
    log.write(event("one")).await.unwrap();
    log.write(event("two")).await.unwrap();
    until("the checkpoint after two", || log.head().seq == 4).await;
    log.close().await.unwrap();
    let events: Vec<_> = lines(&path).iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["broker", "checkpoint", "broker", "checkpoint"]);
    assert!(lines(&path)[3]["signature"].is_null());
    assert_eq!(whole(&[&path], Some(&log.head())).signed, Signed::No);
}

#[tokio::test]
async fn a_wholesale_rewrite_is_found_by_whoever_has_the_public_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let ring = ring(dir.path(), "a", &[]);
    let keys = by_keys(ring.verifying_keys().unwrap());
    let rename = |line: &mut serde_json::Value| {
        if line["note"] == "first 1" {
            line["note"] = "nothing happened".into();
        }
    };
    two_runs(&path, CHAIN, Some(&ring)).await;
    forge(&path, rename);
    whole(&[&path], None);
    assert!(matches!(fault(&path, &keys), Fault::Forged));

    // By another key, without signatures, and without checkpoints at all.
    two_runs(&dir.path().join("b.jsonl"), CHAIN, Some(&super::checkpoints::ring(dir.path(), "b", &[]))).await;
    assert!(matches!(fault(&dir.path().join("b.jsonl"), &keys), Fault::UnknownKey { .. }));
    forge(&path, |line| {
        if line["seq"] == 7 {
            (line["key"], line["signature"]) = (().into(), ().into());
        }
    });
    assert!(matches!(fault(&path, &keys), Fault::Forged), "the first that it meets");
    forge(&path, |line| (line["key"], line["signature"]) = (().into(), ().into()));
    let strict = Demands { covered_within: Duration::from_secs(60), now: Some(leasehold_sdk::clock::wall()), ..keys };
    let later = Demands { now: Some(leasehold_sdk::clock::wall().plus(Duration::from_secs(61))), ..strict.clone() };
    assert!(matches!(fault(&path, &strict), Fault::NothingSigned { checkpoints: 4, .. }));
    let all = checked(&[&path], &later).unwrap_err().to_string();
    assert!(all.contains("no checkpoint covers the 10 lines"), "{all}");
}

#[tokio::test]
async fn a_broker_does_not_sign_over_what_others_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let ring = ring(dir.path(), "a", &["b"]);
    let again = |trusted: &KeyRing| {
        let mut options = options(&[&path], None);
        options.trusted = trusted.verifying_keys().unwrap();
        options.checkpoints = Some(Checkpoints::new(Duration::from_secs(3600), Some(trusted.signing_key().unwrap())));
        AuditLog::open(options).unwrap()
    };
    two_runs(&path, CHAIN, Some(&ring)).await;
    let (log, opened) = again(&ring);
    assert_eq!(opened.breaks, []);
    log.close().await.unwrap();

    forge(&path, |line| {
        if line["note"] == "first 1" {
            line["note"] = "nothing happened".into();
        }
    });
    let (log, opened) = again(&ring);
    assert!(opened.breaks[0].why.as_ref().unwrap().contains("signature is not good"), "{opened:?}");
    log.write(event("on")).await.unwrap();
    log.close().await.unwrap();
    let broken = &lines(&path)[10];
    assert_eq!((&broken["event"], &broken["seq"]), (&"chain_broken".into(), &11.into()));
    assert!(broken["why"].as_str().unwrap().contains("rewritten"));
    assert!(matches!(fault(&path, &by_keys(ring.verifying_keys().unwrap())), Fault::Forged));
    // It is on record, and not said again.
    let (log, opened) = again(&ring);
    assert_eq!(opened.breaks, []);
    log.close().await.unwrap();
    // Nor is it passed over that a log has no signatures at all.
    let bare = dir.path().join("bare.jsonl");
    two_runs(&bare, CHAIN, None).await;
    let mut options = options(&[&bare], None);
    options.trusted = ring.verifying_keys().unwrap();
    let (log, opened) = AuditLog::open(options).unwrap();
    log.write(event("on")).await.unwrap();
    log.close().await.unwrap();
    assert_eq!((opened.breaks.len(), &lines(&bare)[10]["what"]), (0, &"signs_from_here".into()));
    // A key that is gone from the configuration is no alarm.
    let (log, opened) = again(&super::checkpoints::ring(dir.path(), "c", &[]));
    assert_eq!(opened.breaks, []);
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_that_lost_its_signature_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let ring = ring(dir.path(), "a", &[]);
    two_runs(&path, CHAIN, Some(&ring)).await;
    // The same chain up to its last line, which is written anew.
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: String = text.split_inclusive('\n').take(9).collect();
    let last = lines(&path)[9].clone();
    let (broker, prev) = (last["broker"].as_str().unwrap(), last["prev"].as_str().unwrap());
    let at = serde_json::from_value(last["at"].clone()).unwrap();
    let own = super::super::chain::Head { seq: 10, at, chain: CHAIN, broker, config: "c0", prev };
    let mut out = kept.clone().into_bytes();
    let bare = serde_json::json!({"event": "checkpoint", "covers": last["covers"], "key": null, "signature": null});
    super::super::chain::append_line(&mut out, &own, bare.to_string().as_bytes());
    std::fs::write(&path, &out).unwrap();
    assert!(matches!(fault(&path, &by_keys(ring.verifying_keys().unwrap())), Fault::Unsigned));

    // A checkpoint that speaks of another line.
    let mut out = kept.into_bytes();
    let other =
        serde_json::json!({"event": "checkpoint", "covers": lines(&path)[1]["covers"], "key": null, "signature": null});
    super::super::chain::append_line(&mut out, &own, other.to_string().as_bytes());
    std::fs::write(&path, &out).unwrap();
    assert!(matches!(fault(&path, &Demands::default()), Fault::WrongCheckpoint));
}

#[tokio::test]
async fn earlier_keys_still_verify_and_so_does_what_came_before_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let (old, new) = (ring(dir.path(), "a", &[]), ring(dir.path(), "b", &["a"]));
    for key in [None, Some(&old), Some(&new)] {
        two_runs(&path, CHAIN, key).await;
    }
    let report = checked(&[&path], &by_keys(new.verifying_keys().unwrap())).unwrap();
    assert!(matches!(report.signed, Signed::To(30, _)));
    assert!(matches!(fault(&path, &by_keys(old.verifying_keys().unwrap())), Fault::UnknownKey { .. }));
}

#[tokio::test]
async fn a_killed_brokers_last_lines_are_told_until_it_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    two_runs(&path, CHAIN, None).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let cut: String = text.split_inclusive('\n').take(9).collect();
    std::fs::write(&path, cut).unwrap();
    let hour = Duration::from_secs(3600);
    let now = leasehold_sdk::clock::wall();
    let demands = |now| Demands { now: Some(now), covered_within: Duration::from_secs(60), ..Demands::default() };
    assert_eq!(checked(&[&path], &demands(now)).unwrap().not_covered, 2);
    assert!(matches!(fault(&path, &demands(now.plus(hour))), Fault::NotCovered { lines: 2, .. }));
    let log = with_checkpoints(&path, CHAIN, None, hour);
    log.write(event("started")).await.unwrap();
    checked(&[&path], &demands(now.plus(hour))).unwrap();
}

#[tokio::test]
async fn chains_may_stand_between_each_other_and_a_missing_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, both) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("both"));
    let ring = ring(dir.path(), "key", &[]);
    two_runs(&a, "c-tag-a", Some(&ring)).await;
    two_runs(&b, "c-tag-b", Some(&ring)).await;
    let (of_a, of_b) = (std::fs::read_to_string(&a).unwrap(), std::fs::read_to_string(&b).unwrap());
    let mixed: String = of_a.split_inclusive('\n').zip(of_b.split_inclusive('\n')).flat_map(|(a, b)| [b, a]).collect();
    std::fs::write(&both, &mixed).unwrap();
    let known = |chain: &str, path: &Path, seq: usize| {
        let hash = lines(path)[seq - 1]["hash"].as_str().unwrap().into();
        known_head(chain, AuditHead { seq: seq as u64, hash })
    };
    let mut demands = by_keys(ring.verifying_keys().unwrap());
    demands.known = vec![known("c-tag-a", &a, 10), known("c-tag-b", &b, 7)];
    let report = verify(std::slice::from_ref(&both), &demands).unwrap();
    assert_eq!(report.chains.iter().map(|c| c.chain.as_str()).collect::<Vec<_>>(), ["c-tag-a", "c-tag-b"]);
    verify(&[a.clone(), b.clone()], &demands).unwrap();

    demands.known.extend(["c-tag-c", "c-tag-d"].map(|chain| known(chain, &a, 3)));
    let faults = verify(std::slice::from_ref(&both), &demands).unwrap_err().to_string();
    assert!(
        faults.contains("the chain c-tag-c is missing") && faults.contains("the chain c-tag-d is missing"),
        "{faults}"
    );
    // One broker's tail is cut off, the other's lines go on.
    let cut = mixed.lines().filter(|line| !(line.contains("c-tag-a") && line.contains("\"seq\":10")));
    std::fs::write(&both, cut.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    demands.known.truncate(2);
    let faults = verify(&[both], &demands).unwrap_err().to_string();
    assert!(faults.contains("knows of line 10 of the chain c-tag-a, the files end at 9"), "{faults}");
}

#[tokio::test]
async fn a_collector_may_have_lines_twice_and_gaps_that_are_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("collected");
    two_runs(&path, CHAIN, None).await;
    let lost = |first, last| Event::LinesLost {
        sink: "tls://logs:6514".into(),
        lines: 1 + last - first,
        first_seq: first,
        last_seq: last,
        since: leasehold_sdk::clock::wall(),
    };
    let (log, _) = open(&[&path], None);
    log.write(lost(4, 6)).await.unwrap();
    log.close().await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let line: Vec<&str> = text.split_inclusive('\n').collect();
    let check = |parts: &[&[&str]], stored| {
        std::fs::write(&path, parts.concat().concat()).unwrap();
        checked(&[&path], &Demands { stored, ..Demands::default() })
    };
    let twice = check(&[&line[..8], &line[5..]], Stored::Collected).unwrap();
    assert_eq!((twice.lines, twice.repeated), (11, 3));
    assert!(check(&[&line[..8], &line[5..]], Stored::AsWritten).is_err());
    let gap = check(&[&line[..3], &line[6..]], Stored::Collected).unwrap();
    assert_eq!((gap.lines, gap.lost), (8, 1));
    let more = check(&[&line[..3], &line[7..]], Stored::Collected).unwrap_err().to_string();
    assert!(more.contains("lines 4 to 7 of the chain dev-abcd-1 are missing"), "{more}");
    check(&[&line[..3], &line[7..]], Stored::Copy).unwrap();
    assert!(check(&[&line[..3], &line[6..]], Stored::AsWritten).is_err());
}
