use std::fs::OpenOptions as FileOptions;
use std::io::Write;

use super::*;

fn append(path: &Path, bytes: &[u8]) {
    FileOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[tokio::test]
async fn half_a_line_is_cut_off_and_that_is_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let head = written(&path, 2).await;
    append(&path, b"{\"seq\":3,\"at\":\"2026");
    assert!(broken(&[&path], Some(&head)).contains("torn"));

    let (log, opened) = open(&[&path], Some(head));
    assert_eq!((opened.mended_bytes, opened.breaks.len()), (19, 0));
    // Nobody need ask for a line: what was found is put on record by itself.
    until("the mended line is written", || log.head().seq == 3).await;
    log.close().await.unwrap();
    let line = &lines(&path)[2];
    assert_eq!((&line["event"], &line["cut_bytes"]), (&"mended".into(), &19.into()));
    assert_eq!(line["cut_sha256"], super::super::chain::sha256_hex(b"{\"seq\":3,\"at\":\"2026"));
    assert_eq!(whole(&[&path], Some(&log.head())).lines, 3);
}

#[tokio::test]
async fn a_first_line_that_is_torn_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    std::fs::write(&path, b"{\"se").unwrap();
    let (log, opened) = open(&[&path], None);
    assert_eq!(opened.mended_bytes, 4);
    log.write(event("x")).await.unwrap();
    log.close().await.unwrap();
    assert_eq!(whole(&[&path], Some(&log.head())).lines, 2);
}

#[tokio::test]
async fn a_cut_tail_is_found_at_start_and_no_number_is_used_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let head = written(&path, 5).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let cut: String = text.split_inclusive('\n').take(3).collect();
    std::fs::write(&path, &cut).unwrap();
    assert!(
        broken(&[&path], Some(&head)).contains("the store knows of line 5 of the chain dev-abcd-1, the files end at 3")
    );

    let (log, opened) = open(&[&path], Some(head.clone()));
    assert_eq!(opened.breaks.len(), 1);
    assert_eq!((&opened.breaks[0].expected, opened.breaks[0].found.as_ref().unwrap().seq), (&head, 3));
    log.write(event("on")).await.unwrap();
    log.close().await.unwrap();
    let seqs: Vec<u64> = lines(&path).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3, 6, 7]);
    let report = whole(&[&path], Some(&log.head()));
    assert_eq!((report.breaks, report.breaks_listed[0].0), (1, 6));
}

#[tokio::test]
async fn a_rewritten_log_is_found_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("audit.jsonl"), dir.path().join("other.jsonl"));
    let head = written(&path, 4).await;
    written(&other, 6).await;
    std::fs::rename(&other, &path).unwrap();
    let (log, opened) = open(&[&path], Some(head.clone()));
    assert_eq!((opened.breaks[0].expected.clone(), opened.breaks[0].found.as_ref().unwrap().seq), (head, 4));
    log.write(event("on")).await.unwrap();
    assert_eq!(lines(&path)[6]["event"], "chain_broken");
    assert_eq!(log.head().seq, 8);
}

#[tokio::test]
async fn a_log_that_is_gone_is_found_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let head = written(&path, 4).await;
    std::fs::remove_file(&path).unwrap();
    let (log, opened) = open(&[&path], Some(head.clone()));
    assert_eq!(opened.breaks[0].found, None);
    log.write(event("on")).await.unwrap();
    let report = whole(&[&path], Some(&log.head()));
    assert_eq!((report.first.unwrap().0, report.breaks), (5, 1));
    assert_eq!(lines(&path)[0]["prev"], head.hash);
}

#[tokio::test]
async fn the_store_may_lag_behind_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let early = written(&path, 2).await;
    let late = written(&path, 3).await;
    let (_log, opened) = open(&[&path], Some(early));
    assert_eq!((opened.head, opened.breaks.len()), (late, 0));
}

#[tokio::test]
async fn a_second_file_may_be_added_and_one_that_lacks_lines_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let head = written(&one, 2).await;
    let (log, opened) = open(&[&one, &two], Some(head));
    assert_eq!(opened.breaks, []);
    log.write(event("both")).await.unwrap();
    log.close().await.unwrap();
    assert_eq!(whole(&[&two], Some(&log.head())).first.unwrap().0, 3);

    let head = written(&one, 2).await;
    let (log, opened) = open(&[&one, &two], Some(head));
    assert_eq!(opened.breaks.iter().map(|b| b.sink.as_str()).collect::<Vec<_>>(), [two.to_str().unwrap()]);
    log.write(event("both")).await.unwrap();
    log.close().await.unwrap();
    for file in [&one, &two] {
        assert_eq!(whole(&[file], Some(&log.head())).breaks, 1);
    }
}
