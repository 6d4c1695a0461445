use super::*;

#[tokio::test]
async fn the_chain_goes_on_in_a_new_file_after_a_rename() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("audit.jsonl"), dir.path().join("audit.jsonl.1"));
    let (log, _) = open(&[&path], None);
    log.write(event("one")).await.unwrap();
    std::fs::rename(&path, &old).unwrap();
    log.write(event("two")).await.unwrap();
    log.write(event("three")).await.unwrap();
    log.close().await.unwrap();
    assert_eq!((lines(&old).len(), lines(&path).len()), (1, 2));
    let report = whole(&[&old, &path], Some(&log.head()));
    assert_eq!((report.lines, report.breaks), (3, 0));
    // The new one alone is whole too, and says where it begins; in the wrong order they are not.
    assert_eq!(whole(&[&path], Some(&log.head())).first.unwrap().0, 2);
    assert!(broken(&[&path, &old], None).contains("stands where 4 should"));
    let (_log, opened) = open(&[&path], Some(log.head()));
    assert_eq!(opened.breaks, []);
}

#[tokio::test]
async fn an_idle_log_lets_go_of_a_renamed_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("audit.jsonl"), dir.path().join("audit.jsonl.1"));
    let (log, _) = open(&[&path], None);
    log.write(event("one")).await.unwrap();
    std::fs::rename(&path, &old).unwrap();
    until("a new file is there", || path.exists()).await;
    assert!(log.writable());
}

#[tokio::test]
async fn a_foreign_file_in_its_place_stops_the_log_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("audit.jsonl"), dir.path().join("audit.jsonl.1"));
    let (log, _) = open(&[&path], None);
    log.write(event("one")).await.unwrap();
    std::fs::rename(&path, &old).unwrap();
    std::fs::write(&path, "not ours\n").unwrap();
    assert!(matches!(log.write(event("lost")).await, Err(AuditError::NotWritten(_))));
    assert!(!log.writable());
    assert_eq!(std::fs::read(&path).unwrap(), b"not ours\n");

    std::fs::remove_file(&path).unwrap();
    until("it recovers by itself", || log.writable()).await;
    log.close().await.unwrap();
    let resumed = &lines(&path)[0];
    assert_eq!((&resumed["event"], &resumed["refused_lines"]), (&"audit_resumed".into(), &1.into()));
    assert_eq!(whole(&[&old, &path], Some(&log.head())).lines, 2);
}

#[tokio::test]
async fn a_file_that_was_copied_and_emptied_goes_on_too() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("audit.jsonl"), dir.path().join("audit.jsonl.1"));
    let (log, _) = open(&[&path], None);
    log.write(event("one")).await.unwrap();
    std::fs::copy(&path, &old).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    log.write(event("two")).await.unwrap();
    log.close().await.unwrap();
    assert_eq!(whole(&[&old, &path], Some(&log.head())).lines, 2);
}
