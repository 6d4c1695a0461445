//! What a collector missed, as far as the file still has it.

use super::super::marks::Mark;
use super::super::start::{missed, open_file};
use super::*;
use crate::config::Collector;
use leasehold_identity::HostTls;

fn line(seq: u64, found: &[serde_json::Value]) -> AuditHead {
    let hash = found.iter().find(|line| line["seq"] == seq).map_or("", |line| line["hash"].as_str().unwrap());
    AuditHead { seq, hash: hash.to_owned() }
}

#[tokio::test]
async fn what_is_still_in_the_file_is_sent_again_and_only_what_was_never_sent_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("audit.jsonl"), dir.path().join("audit.jsonl.1"));
    let (log, _) = open(&[&path], None);
    for n in 0..13 {
        if n == 10 {
            std::fs::rename(&path, &old).unwrap();
        }
        log.write(event(&n.to_string())).await.unwrap();
    }
    log.close().await.unwrap();
    let found = [lines(&old), lines(&path)].concat();
    let head = log.head();
    let (_sink, file) = open_file(&path, &options(&[&path], None)).unwrap();
    let look = |taken, certain| {
        let has = Mark::of(&line(taken, &found), &line(certain, &found));
        let missed = missed("tls://logs:6514", &has, &head, std::slice::from_ref(&file), 1 << 20);
        let first = missed.groups.first().map(|group| group.first_seq());
        let lost = missed.lost.map(|lost| serde_json::to_value(lost).unwrap());
        (first, lost.map(|lost| (lost["first_seq"].as_u64().unwrap(), lost["last_seq"].as_u64().unwrap())))
    };
    assert_eq!(look(13, 13), (None, None));
    assert_eq!(look(13, 11), (Some(12), None));
    assert_eq!(look(12, 12), (Some(13), None));
    // Rotated away, but it was sent: perhaps it came, perhaps not, which is no word of a loss.
    assert_eq!(look(11, 4), (Some(11), None));
    assert_eq!(look(10, 4), (Some(11), None));
    assert_eq!(look(8, 4), (Some(11), Some((9, 10))));
    // Another broker's numbers are not ours to look for, and without a file nothing is known.
    assert_eq!(look(99, 99), (None, None));
    let has = Mark::of(&line(1, &found), &line(1, &found));
    assert!(missed("x", &has, &head, &[], 1 << 20).lost.is_none());
}

#[tokio::test]
async fn without_a_file_no_number_is_used_twice_after_a_crash() {
    let (dir, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let nowhere = Collector { host: "127.0.0.1".into(), port: 1, tls: HostTls::default() };
    let open_in = |dir: &Path| {
        let mut options = options(&[], None);
        options.sinks = vec![AuditSink { to: AuditTo::Syslog(nowhere.clone()), required: false }];
        options.marks = Some(dir.join("audit-sinks.json"));
        AuditLog::open(options).unwrap()
    };
    let (log, _) = open_in(dir.path());
    for n in 0..3 {
        log.write(event(&n.to_string())).await.unwrap();
    }
    // As a crash would leave it, whatever the store has heard.
    std::fs::copy(dir.path().join("audit-head.json"), after.path().join("audit-head.json")).unwrap();
    let (again, opened) = open_in(after.path());
    assert_eq!((opened.head, opened.breaks), (log.head(), vec![]));
    again.close().await.unwrap();
    log.close().await.unwrap();
}
