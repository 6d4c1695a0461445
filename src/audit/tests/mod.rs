//! The log as its users see it: on real files, through crashes, rotations and failing disks.

mod checkpoints;
mod crash;
mod full;
mod missed;
mod rotation;
mod verifying;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{AuditError, AuditLog, ChainReport, Demands, Event, Faults, Known, OpenOptions, Opened, verify};
use crate::config::{AuditSink, AuditTo};
use crate::limits::Limits;
use crate::store::AuditHead;
use crate::telemetry::Metrics;

const CHAIN: &str = "dev-abcd-1";

fn options(files: &[&Path], known_head: Option<AuditHead>) -> OpenOptions {
    let sink = |path: &&Path| AuditSink { to: AuditTo::File(path.to_path_buf()), required: true };
    OpenOptions {
        sinks: files.iter().map(sink).collect(),
        chain: CHAIN.into(),
        broker: "b1".into(),
        config_hash: "c0".into(),
        limits: Limits::default(),
        known_head,
        metrics: Arc::new(Metrics::new()),
        checkpoints: None,
        trusted: Vec::new(),
        marks: None,
    }
}

fn open(files: &[&Path], known_head: Option<AuditHead>) -> (AuditLog, Opened) {
    AuditLog::open(options(files, known_head)).unwrap()
}

fn event(note: &str) -> Event {
    Event::Broker { what: "started".into(), note: Some(note.into()) }
}

/// Writes `count` lines to a log at `path` and closes it. Answers the head.
async fn written(path: &Path, count: usize) -> AuditHead {
    let (log, _) = open(&[path], None);
    for n in 0..count {
        log.write(event(&n.to_string())).await.unwrap();
    }
    log.close().await.unwrap();
    log.head()
}

fn known_head(chain: &str, head: AuditHead) -> Known {
    Known { chain: chain.into(), head, by: "the store".into(), is_required: true }
}

fn demands(known: Option<&AuditHead>) -> Demands {
    let known = known.map(|head| known_head(CHAIN, head.clone()));
    Demands { known: known.into_iter().collect(), only: Some(CHAIN.into()), ..Demands::default() }
}

/// What [`verify`] says of files that hold one chain.
fn checked(files: &[&Path], demands: &Demands) -> Result<ChainReport, Faults> {
    let files: Vec<PathBuf> = files.iter().map(|path| path.to_path_buf()).collect();
    verify(&files, demands).map(|report| report.chains.into_iter().next().expect("a line"))
}

fn whole(files: &[&Path], known: Option<&AuditHead>) -> ChainReport {
    checked(files, &demands(known)).unwrap_or_else(|faults| panic!("{faults}"))
}

fn broken(files: &[&Path], known: Option<&AuditHead>) -> String {
    checked(files, &demands(known)).expect_err("it is not whole").to_string()
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until `done`, ten seconds at most.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waited = async {
        while !done() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}
