//! Where the chain goes on when the broker starts: from its files, its store's word, and what a crash left.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::clock;

use super::chain::NO_PREV;
use super::event::Event;
use super::log::{AuditError, Break, OpenOptions};
use super::marks::{self, Mark};
use super::mend::{self, AtKnown, Tail};
use super::sink::{FileSink, Group, Sink};
use super::verify::{Demands, Fault, verify_tail};
use crate::store::AuditHead;

/// What a busy machine may add to `audit_checkpoint_seconds`.
const PATIENCE: Duration = Duration::from_secs(60);

/// One audit file as it was found.
pub struct FoundFile {
    path: PathBuf,
    file: Arc<File>,
    tail: Tail,
    /// Where the store's head stands in it.
    known: Option<AtKnown>,
    /// What is wrong with its last lines.
    fault: Option<Fault>,
}

impl FoundFile {
    fn head(&self) -> Option<AuditHead> {
        self.tail.last.as_ref().map(|line| line.head())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Opens a file and reads its end; cuts off what is torn.
pub fn open_file(path: &Path, options: &OpenOptions) -> Result<(FileSink, FoundFile), AuditError> {
    let (chain, known) = (&options.chain, options.known_head.as_ref());
    let open = |why: std::io::Error| AuditError::Open { file: path.to_owned(), why: why.to_string() };
    let sink = FileSink::open(path).map_err(open)?;
    let file = sink.file().expect("a file sink has a file");
    let tail = mend::read_tail(&file).map_err(open)?;
    if let Some(last) = tail.last.as_ref().filter(|last| last.chain != *chain) {
        return Err(AuditError::OtherChain {
            file: path.to_owned(),
            found: last.chain.clone(),
            expected: chain.clone(),
        });
    }
    if let Some(cut) = &tail.cut {
        file.set_len(cut.from).and_then(|()| file.sync_all()).map_err(open)?;
    }
    let known = match (known, &tail.last) {
        (Some(known), Some(last)) if last.seq > known.seq => Some(mend::look_back(&file, known).map_err(open)?),
        (Some(known), Some(last)) if last.seq == known.seq && last.hash != known.hash => {
            Some(AtKnown::Other(last.head()))
        }
        _ => None,
    };
    let fault = fault(&file, path, options).map_err(open)?;
    Ok((sink, FoundFile { path: path.to_owned(), file, tail, known, fault }))
}

/// Before this broker puts its own signature over what is there: whether that is what brokers with its keys have signed.
fn fault(file: &File, path: &Path, options: &OpenOptions) -> std::io::Result<Option<Fault>> {
    let covered_within = Duration::from_secs(options.limits.audit_checkpoint_seconds) + PATIENCE;
    let demands = Demands { keys: options.trusted.clone(), covered_within, ..Demands::default() };
    let fault = verify_tail(file, mend::LOOK_BACK_BYTES_MAX, &demands)?;
    if let Some(why @ Fault::UnknownKey { .. }) = &fault {
        // A key that was taken out of the configuration: others may have kept its public part, and can tell.
        tracing::warn!(file = %path.display(), %why, "the end of the audit log cannot be checked");
        return Ok(None);
    }
    Ok(fault)
}

/// What a collector did not get before the start.
#[derive(Default)]
pub struct Missed {
    /// The lines that are still there.
    pub groups: Vec<Arc<Group>>,
    /// The word that others are not.
    pub lost: Option<Event>,
}

/// Looks for the lines that a collector does not have for certain, as far back as a buffer would have held them. Without a file
/// nothing is known of them.
pub fn missed(collector: &str, has: &Mark, head: &AuditHead, files: &[FoundFile], bytes_max: u64) -> Missed {
    let latest = files.iter().max_by_key(|file| file.tail.last.as_ref().map(|line| line.seq));
    let Some(file) = latest.filter(|_| has.certain.seq < head.seq) else { return Missed::default() };
    let groups = marks::lines_after(&file.file, &has.certain, bytes_max).unwrap_or_else(|why| {
        tracing::warn!(sink = collector, %why, "what an audit collector missed cannot be read");
        Vec::new()
    });
    let first = groups.first().map_or(head.seq + 1, |group| group.first_seq());
    let lost = (first > has.taken.seq + 1).then(|| Event::LinesLost {
        sink: collector.to_owned(),
        lines: first - has.taken.seq - 1,
        first_seq: has.taken.seq + 1,
        last_seq: first - 1,
        since: clock::wall(),
    });
    Missed { groups, lost }
}

/// What was found out about the chain.
pub struct Start {
    /// The line that the next one follows.
    pub head: AuditHead,
    /// What must be put on record before anything else.
    pub preface: Vec<Event>,
    /// Where a file and the chain part.
    pub breaks: Vec<Break>,
}

/// Decides where the chain goes on: at the latest line that any file or the store knows, so that no number is used twice. A
/// file that lacks lines, or whose line is not the one the store knows, is put on record.
pub fn decide(files: &[FoundFile], known: Option<&AuditHead>) -> Start {
    let latest = files.iter().filter_map(FoundFile::head).max_by_key(|head| head.seq);
    let head = match (latest, known) {
        (Some(file), Some(known)) if known.seq > file.seq => known.clone(),
        (Some(file), _) => file,
        (None, Some(known)) => known.clone(),
        (None, None) => AuditHead { seq: 0, hash: NO_PREV.to_owned() },
    };
    let all_empty = files.iter().all(|file| file.tail.last.is_none());
    let breaks: Vec<Break> = files.iter().filter_map(|file| break_of(file, &head, known, all_empty)).collect();
    let broken = breaks.iter().map(|b| Event::ChainBroken {
        sink: b.sink.clone(),
        expected: b.expected.clone(),
        found: b.found.clone(),
        why: b.why.clone(),
    });
    let mended = files.iter().filter_map(|file| {
        file.tail.cut.as_ref().map(|cut| Event::Mended {
            sink: file.name(),
            cut_bytes: cut.bytes,
            cut_sha256: cut.sha256.clone(),
        })
    });
    let unsigned = files.iter().filter_map(|file| match &file.fault {
        Some(Fault::NothingSigned { checkpoints, .. }) => Some(Event::Broker {
            what: "signs_from_here".into(),
            note: Some(format!("none of the {checkpoints} checkpoints at the end of {} is signed", file.name())),
        }),
        _ => None,
    });
    Start { preface: broken.chain(mended).chain(unsigned).collect(), head, breaks }
}

fn break_of(file: &FoundFile, head: &AuditHead, known: Option<&AuditHead>, all_empty: bool) -> Option<Break> {
    let found = file.head();
    let expected = match (&found, &file.known, known) {
        (_, Some(AtKnown::Other(other)), Some(known)) => {
            return Some(Break { sink: file.name(), expected: known.clone(), found: Some(other.clone()), why: None });
        }
        // One empty file among others is a new sink; all of them empty while the store knows of lines is a lost log.
        (None, ..) if !all_empty || head.seq == 0 => return None,
        (found, ..) if found.as_ref() != Some(head) => head.clone(),
        _ => {
            // This broker may be the first that has a key, which is put on record in other words.
            let why = file.fault.as_ref().filter(|why| !matches!(why, Fault::NothingSigned { .. }))?;
            let why = Some(why.to_string());
            return Some(Break { sink: file.name(), expected: head.clone(), found, why });
        }
    };
    Some(Break { sink: file.name(), expected, found, why: None })
}
