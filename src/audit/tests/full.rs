use std::io;
use std::sync::Mutex;

use super::super::marks::Marks;
use super::super::outputs::Member;
use super::super::sink::{Group, NotTaken, Sink};
use super::super::writer::Beginning;
use super::*;

/// A sink in memory that fails when told to.
#[derive(Clone, Default)]
struct Flaky {
    state: Arc<Mutex<FlakyState>>,
}

#[derive(Default)]
struct FlakyState {
    bytes: Vec<u8>,
    fails: bool,
    /// Whether it may have taken what it failed with.
    answers_nothing: bool,
}

impl Flaky {
    fn fails(&self, fails: bool) {
        self.state.lock().unwrap().fails = fails;
    }

    fn seqs(&self) -> Vec<u64> {
        let bytes = self.state.lock().unwrap().bytes.clone();
        let lines = String::from_utf8(bytes).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap())
            .collect()
    }
}

impl Sink for Flaky {
    fn name(&self) -> &str {
        "flaky"
    }

    fn prepare(&mut self, _head: &AuditHead) -> io::Result<()> {
        Ok(())
    }

    fn append(&mut self, group: &Group) -> Result<(), NotTaken> {
        let mut state = self.state.lock().unwrap();
        if state.fails {
            let why = io::Error::from(io::ErrorKind::StorageFull);
            return Err(NotTaken { why, may_have_it: state.answers_nothing });
        }
        state.bytes.extend_from_slice(&group.bytes);
        Ok(())
    }
}

fn start(sinks: &[(&Flaky, bool)], limits: Limits) -> (AuditLog, Arc<Metrics>) {
    let mut options = options(&[], None);
    options.limits = limits;
    let metrics = Arc::clone(&options.metrics);
    let head = AuditHead { seq: 0, hash: super::super::chain::NO_PREV.into() };
    let member = |(sink, required): &(&Flaky, bool)| Member {
        sink: Box::new((*sink).clone()),
        required: *required,
        last: head.clone(),
        owed: Vec::new(),
    };
    let members = sinks.iter().map(member).collect();
    let marks = Marks::read(None, CHAIN);
    let beginning = Beginning { head: head.clone(), preface: Vec::new(), checkpoints: None, marks, head_file: None };
    (AuditLog::start(options, members, beginning).unwrap(), metrics)
}

#[tokio::test]
async fn a_failed_write_refuses_and_the_log_recovers_by_itself() {
    let sink = Flaky::default();
    let (log, metrics) = start(&[(&sink, true)], Limits::default());
    log.write(event("one")).await.unwrap();
    sink.fails(true);
    let error = log.write(event("lost")).await.unwrap_err();
    assert!(error.to_string().starts_with("the audit log cannot be written: flaky: "), "{error}");
    assert!(!log.writable());
    assert_eq!(log.head().seq, 1);
    assert!(metrics.encode().contains("leasehold_audit_failures_total{sink=\"flaky\"} "));

    sink.fails(false);
    until("it is tried again though nobody asks", || log.writable()).await;
    log.write(event("three")).await.unwrap();
    assert_eq!(sink.seqs(), [1, 2, 3]);
    assert!(metrics.encode().contains("leasehold_audit_lines_total 3"));
}

#[tokio::test]
async fn with_two_required_sinks_the_one_that_failed_catches_up_in_order() {
    let (good, bad) = (Flaky::default(), Flaky::default());
    let (log, _) = start(&[(&good, true), (&bad, true)], Limits::default());
    log.write(event("one")).await.unwrap();
    bad.fails(true);
    for _ in 0..3 {
        log.write(event("refused")).await.unwrap_err();
    }
    assert_eq!(good.seqs(), [1, 2], "while it is owed a group, nothing more is written anywhere");
    bad.fails(false);
    log.write(event("on")).await.unwrap();
    assert_eq!(good.seqs(), bad.seqs());
    assert!(good.seqs().windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[tokio::test]
async fn what_may_have_arrived_is_sent_again_as_it_was() {
    let sink = Flaky::default();
    let (log, _) = start(&[(&sink, true)], Limits::default());
    log.write(event("one")).await.unwrap();
    sink.state.lock().unwrap().answers_nothing = true;
    sink.fails(true);
    log.write(event("perhaps")).await.unwrap_err();
    assert_eq!(log.head().seq, 2, "its number is used up: somebody may have it");
    sink.fails(false);
    log.write(event("on")).await.unwrap();
    let bytes = sink.state.lock().unwrap().bytes.clone();
    assert_eq!(sink.seqs(), [1, 2, 3, 4], "what was perhaps taken, the word that it was refused, and what comes now");
    assert!(String::from_utf8(bytes).unwrap().lines().nth(1).unwrap().contains("perhaps"));
}

#[tokio::test]
async fn a_sink_that_is_not_required_fails_alone_and_gets_what_it_missed() {
    let (required, optional) = (Flaky::default(), Flaky::default());
    let (log, metrics) = start(&[(&required, true), (&optional, false)], Limits::default());
    optional.fails(true);
    log.write(event("one")).await.unwrap();
    assert!(log.writable());
    until("its failure is counted", || metrics.encode().contains("leasehold_audit_failures_total{sink=\"flaky\"} 1"))
        .await;
    log.write(event("two")).await.unwrap();
    optional.fails(false);
    until("it has both", || optional.seqs() == [1, 2]).await;
    log.close().await.unwrap();
    assert_eq!(required.seqs(), [1, 2]);
}

#[tokio::test]
async fn what_a_sink_that_is_not_required_loses_is_counted_and_on_record() {
    let (required, optional) = (Flaky::default(), Flaky::default());
    let limits = Limits { audit_buffer_bytes_max: 1_048_576, ..Limits::default() };
    let (log, metrics) = start(&[(&required, true), (&optional, false)], limits);
    optional.fails(true);
    let large = "x".repeat(200_000);
    for _ in 0..10 {
        log.write(event(&large)).await.unwrap();
    }
    assert!(metrics.encode().contains("leasehold_audit_lost_lines_total{sink=\"flaky\"} 5"), "{}", metrics.encode());
    optional.fails(false);
    until("the loss is on record", || required.seqs().len() == 11).await;
    until("it is so there too", || optional.seqs() == [1, 2, 3, 4, 5, 11]).await;
    let bytes = required.state.lock().unwrap().bytes.clone();
    let last = String::from_utf8(bytes).unwrap().lines().last().unwrap().to_owned();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(
        [&last["event"], &last["lines"], &last["first_seq"], &last["last_seq"]],
        [&serde_json::json!("lines_lost"), &5.into(), &6.into(), &10.into()]
    );

    // What it has not taken when the log is closed is lost too, and said.
    optional.fails(true);
    log.write(event("late")).await.unwrap();
    log.close().await.unwrap();
    let bytes = required.state.lock().unwrap().bytes.clone();
    let last = String::from_utf8(bytes).unwrap().lines().last().unwrap().to_owned();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&last["event"], &last["first_seq"], &last["lines"]), (&"lines_lost".into(), &12.into(), &1.into()));
}

#[tokio::test]
#[allow(clippy::await_holding_lock)] // that is the point: the log's own thread is to wait for it
async fn more_than_may_wait_is_refused_at_once() {
    let sink = Flaky::default();
    let limits = Limits { audit_waiting_lines_max: 2, ..Limits::default() };
    let (log, _) = start(&[(&sink, true)], limits);
    log.write(event("zero")).await.unwrap();
    // Somebody holds the sink while the log wants to write: as a disk that hangs.
    let state = Arc::clone(&sink.state);
    let stuck = state.lock().unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move { log.write(event("waits")).await })
        })
        .collect();
    until("two lines wait", || log.waiting() == 2).await;
    let error = log.write(event("too many")).await.unwrap_err();
    assert!(matches!(error, AuditError::Full { limit: 2 }), "{error}");
    drop(stuck);
    for waits in waiting {
        waits.await.unwrap().unwrap();
    }
}

#[tokio::test]
#[allow(clippy::await_holding_lock)] // as above
async fn a_sink_that_hangs_is_waited_for_only_so_long() {
    let sink = Flaky::default();
    let limits = Limits { audit_write_milliseconds_max: 100, ..Limits::default() };
    let (log, _) = start(&[(&sink, true)], limits);
    log.write(event("one")).await.unwrap();
    let state = Arc::clone(&sink.state);
    let stuck = state.lock().unwrap();
    let error = log.write(event("late")).await.unwrap_err();
    assert!(matches!(error, AuditError::Slow { milliseconds: 100 }), "{error}");
    assert!(!log.writable());
    drop(stuck);
    until("it goes on", || log.writable()).await;
    log.close().await.unwrap();
    assert_eq!(sink.seqs(), [1, 2], "what was refused may be on record all the same");
}

/// The file's size limit stands for a full disk: the kernel takes a part of a write and then none, as it does there.
#[test]
fn a_disk_that_fills_in_the_middle_of_a_write_leaves_whole_lines() {
    const CHILD: &str = "LEASEHOLD_TEST_FULL_DISK";
    if std::env::var_os(CHILD).is_none() {
        let script = "trap '' XFSZ; exec \"$0\" --exact audit::tests::full::a_disk_that_fills_in_the_middle_of_a_write_leaves_whole_lines --nocapture";
        let status = std::process::Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .env(CHILD, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (log, _) = open(&[&path], None);
        log.write(event("before")).await.unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        let limit = |bytes| {
            let limit = rustix::process::Rlimit { current: bytes, maximum: None };
            rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        };
        limit(Some(size + 100));
        assert!(matches!(log.write(event("no room")).await, Err(AuditError::NotWritten(_))));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
        assert_eq!(whole(&[&path], Some(&log.head())).lines, 1);
        limit(None);
        until("there is room again", || log.writable()).await;
        log.close().await.unwrap();
        assert_eq!(whole(&[&path], Some(&log.head())).lines, 2);
    });
}
