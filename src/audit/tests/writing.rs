use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test]
async fn lines_are_numbered_chained_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let (log, opened) = open(&[&path], None);
    assert_eq!((opened.head.seq, opened.mended_bytes, opened.breaks.len()), (0, 0, 0));
    log.write(event("a\n\"b\"\u{1F511}")).await.unwrap();
    log.set_config_hash("c1".into());
    log.write(event("second")).await.unwrap();

    let found = lines(&path);
    assert_eq!(found.len(), 2);
    assert_eq!((&found[0]["seq"], &found[1]["seq"]), (&1.into(), &2.into()));
    assert_eq!(found[1]["prev"], found[0]["hash"]);
    assert_eq!((&found[0]["config"], &found[1]["config"]), (&"c0".into(), &"c1".into()));
    assert_eq!(found[0]["note"], "a\n\"b\"\u{1F511}");
    assert_eq!(log.head(), AuditHead { seq: 2, hash: found[1]["hash"].as_str().unwrap().into() });
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    log.close().await.unwrap();
    assert!(matches!(log.write(event("late")).await, Err(AuditError::Closed)));
    assert!(!log.writable());
    let report = whole(&[&path], Some(&log.head()));
    assert_eq!((report.lines, report.breaks), (2, 0));
}

#[tokio::test]
async fn the_chain_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let head = written(&path, 3).await;
    let (log, opened) = open(&[&path], Some(head.clone()));
    assert_eq!((opened.head, opened.breaks), (head, vec![]));
    log.write(event("again")).await.unwrap();
    log.close().await.unwrap();
    let report = whole(&[&path], Some(&log.head()));
    assert_eq!((report.first.unwrap().0, report.last.unwrap().0), (1, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_each_keep_their_order_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let (log, _) = open(&[&path], None);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let log = log.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    let pair = [event(&format!("{writer} {n} first")), event(&format!("{writer} {n} second"))];
                    log.write_all(&pair).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    log.close().await.unwrap();
    assert_eq!(whole(&[&path], Some(&log.head())).lines, 800);
    let notes: Vec<String> = lines(&path).iter().map(|line| line["note"].as_str().unwrap().to_owned()).collect();
    for writer in 0..8 {
        let own: Vec<_> = notes.iter().filter(|note| note.starts_with(&format!("{writer} "))).collect();
        let wanted: Vec<String> =
            (0..50).flat_map(|n| ["first", "second"].map(|part| format!("{writer} {n} {part}"))).collect();
        assert_eq!(own, wanted.iter().collect::<Vec<_>>());
    }
    for pair in notes.chunks(2) {
        assert_eq!(pair[0].replace("first", "second"), pair[1], "nothing stands between two lines of one call");
    }
}

#[tokio::test]
async fn a_group_may_be_synced_before_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut options = options(&[&path], None);
    options.limits.audit_fsync_milliseconds_max = 0;
    let (log, _) = AuditLog::open(options).unwrap();
    log.write(event("synced")).await.unwrap();
    assert_eq!(lines(&path).len(), 1);
}

#[tokio::test]
async fn too_long_is_refused_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let (log, _) = open(&[&path], None);
    assert!(matches!(log.write(event(&"x".repeat(300_000))).await, Err(AuditError::TooLong { .. })));
    log.write(event(&"\u{1}".repeat(40_000))).await.unwrap();
    log.close().await.unwrap();
    assert_eq!(whole(&[&path], Some(&log.head())).lines, 1);
}

#[tokio::test]
async fn what_cannot_be_a_log_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |path: &Path| match AuditLog::open(options(&[path], None)) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(why) => why.to_string(),
    };
    assert!(refused(&dir.path().join("absent/audit.jsonl")).contains("No such file"));
    assert!(refused(Path::new("/dev/full")).ends_with("not a regular file"));
    assert!(refused(dir.path()).ends_with("not a regular file"));
    let foreign = dir.path().join("notes.txt");
    std::fs::write(&foreign, "buy milk\n").unwrap();
    assert!(refused(&foreign).ends_with("it is not an audit log"));
    assert_eq!(std::fs::read(&foreign).unwrap(), b"buy milk\n");

    let path = dir.path().join("audit.jsonl");
    let (log, _) = open(&[&path], None);
    log.write(event("x")).await.unwrap();
    assert!(refused(&path).ends_with("another process writes it"));
    log.close().await.unwrap();
    let mut other = options(&[&path], None);
    other.chain = "dev-other-1".into();
    assert!(matches!(AuditLog::open(other), Err(AuditError::OtherChain { .. })));
}

/// A member of an event with the name of a member of the line would stand twice, and readers disagree about which one counts.
#[test]
fn no_event_has_a_member_of_the_line() {
    let source = include_str!("../event.rs");
    for member in ["seq", "at", "chain", "broker", "config", "prev", "hash", "event"] {
        let clash = source.lines().any(|line| line.trim_start().starts_with(&format!("{member}: ")));
        assert!(!clash, "{member}");
    }
    let change = serde_json::json!({"lease":"","role":"","target":"","identity":"","account":"","state":"","ended_by":"","attempts":0,"note":""});
    assert!(
        ["seq", "at", "chain", "broker", "config", "prev", "hash", "event"].iter().all(|m| change.get(m).is_none())
    );
}

#[test]
fn every_event_is_explained_to_operators() {
    let page = include_str!("../../../docs/audit.md");
    let source = include_str!("../event.rs");
    let variants = source.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"));
    let mut count = 0;
    for variant in variants.filter(|name| name.chars().all(char::is_alphanumeric)) {
        let mut name = String::new();
        for c in variant.chars() {
            if c.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
        assert!(page.contains(&format!("| `{name}` |")), "docs/audit.md lacks {name}");
        count += 1;
    }
    assert_eq!(count, 14);
}

/// In a process of its own, whose output is read here.
#[test]
fn standard_output_is_a_sink_too() {
    const CHILD: &str = "LEASEHOLD_TEST_STDOUT";
    if std::env::var_os(CHILD).is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "audit::tests::writing::standard_output_is_a_sink_too", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(output.status.success());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("captured.jsonl");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: String = text.split_inclusive('\n').filter(|line| line.starts_with("{\"seq\":")).collect();
        std::fs::write(&path, lines).unwrap();
        assert_eq!(whole(&[&path], None).lines, 2);
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut options = options(&[], None);
        options.sinks = vec![AuditSink { to: AuditTo::Stdout, required: true }];
        let (log, _) = AuditLog::open(options).unwrap();
        println!();
        log.write_all(&[event("one"), event("two")]).await.unwrap();
        log.close().await.unwrap();
    });
}

#[tokio::test]
async fn counted_handshakes_that_the_log_does_not_take_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let gate = super::super::HandshakeGate::new(1);
    let refused = (0..4).filter_map(|_| gate.refused("192.0.2.1:5", "expired", None)).count();
    assert_eq!(refused, 1);
    let (log, _) = open(&[&path], None);
    log.close().await.unwrap();
    gate.write_counted(&log).await;

    let (log, _) = open(&[&path], None);
    gate.write_counted(&log).await;
    gate.write_counted(&log).await;
    log.close().await.unwrap();
    let lines = lines(&path);
    assert_eq!((lines.len(), &lines[0]["counts"]["expired"]), (1, &3.into()));
    // As docs/audit.md tells operators to check a hash.
    let script = "sed -n 1p \"$0\" | sed 's/,\"hash\":\"[0-9a-f]*\"}$/}/' | tr -d '\\n' | sha256sum";
    let output = std::process::Command::new("sh").args(["-c", script]).arg(&path).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with(lines[0]["hash"].as_str().unwrap()));
}
