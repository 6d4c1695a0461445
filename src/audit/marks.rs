//! How far each collector has come, kept beside the store: what a collector did not get before the broker ended is sent from the
//! file when it starts again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chain::{LINE_BYTES_MAX, read_line};
use super::sink::Group;
use crate::store::AuditHead;

/// Bytes of one group of lines that are sent again.
const GROUP_BYTES_MAX: usize = 512 * 1024;

/// Size of the file that keeps where the chain ends.
const HEAD_BYTES: usize = 512;

/// What each collector has, by its name.
pub type Collected = BTreeMap<String, Mark>;

/// What a collector has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The last line that it took.
    pub taken: AuditHead,
    /// The last line that it has for certain: what comes after it is sent again.
    pub certain: AuditHead,
}

impl Mark {
    /// Both.
    pub fn of(taken: &AuditHead, certain: &AuditHead) -> Self {
        Self { taken: taken.clone(), certain: certain.clone() }
    }
}

/// The file in which they are kept; `None`: nowhere.
pub struct Marks {
    file: Option<PathBuf>,
    kept: Kept,
    failed: bool,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Of another chain the numbers mean nothing.
    chain: String,
    collectors: Collected,
}

impl Marks {
    /// What was kept of this chain. A file that is not there, or cannot be read, says nothing: then nothing is sent again.
    pub fn read(file: Option<PathBuf>, chain: &str) -> Self {
        let text = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let kept = text.and_then(|text| serde_json::from_slice(&text).ok()).filter(|kept: &Kept| kept.chain == chain);
        let kept = kept.unwrap_or_else(|| Kept { chain: chain.to_owned(), collectors: Collected::new() });
        Self { file, kept, failed: false }
    }

    /// What a collector has, if that is known.
    pub fn of(&self, collector: &str) -> Option<&Mark> {
        self.kept.collectors.get(collector)
    }

    /// Whether they are kept at all.
    pub fn are_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Keeps them, if they are news. It may fail: more is then sent twice.
    pub fn keep(&mut self, collected: Collected) {
        let Some(file) = self.file.as_ref().filter(|_| collected != self.kept.collectors) else { return };
        self.kept.collectors = collected;
        let fresh = file.with_extension("json.new");
        let text = serde_json::to_vec(&self.kept).expect("texts and numbers");
        match std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, file)) {
            Ok(()) => self.failed = false,
            Err(why) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(file = %file.display(), %why, "how far audit collectors have come cannot be kept");
                }
            }
        }
    }
}

/// Where the chain ends, kept beside the store where no sink is a file that tells. It is written before the lines are: after a
/// crash a group may be missing, but no number has two meanings.
pub struct HeadFile {
    file: File,
    chain: String,
    failed: bool,
}

#[derive(Serialize, Deserialize)]
struct KeptHead {
    chain: String,
    head: AuditHead,
}

impl HeadFile {
    /// Opens it, and reads where this chain ended.
    ///
    /// # Errors
    /// It can neither be opened nor made.
    pub fn open(path: &Path, chain: &str) -> io::Result<(Self, Option<AuditHead>)> {
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut text = Vec::new();
        (&file).take(HEAD_BYTES as u64).read_to_end(&mut text)?;
        // One that is torn says nothing.
        let kept: Option<KeptHead> = serde_json::from_slice(text.trim_ascii_end()).ok();
        let head = kept.filter(|kept| kept.chain == chain).map(|kept| kept.head);
        Ok((Self { file, chain: chain.to_owned(), failed: false }, head))
    }

    /// The chain is about to end in `head`.
    pub fn put(&mut self, head: &AuditHead) {
        let kept = KeptHead { chain: self.chain.clone(), head: head.clone() };
        let mut text = serde_json::to_vec(&kept).expect("texts and numbers");
        // Always of one length: a shorter one would leave a piece of the longer behind.
        text.resize(HEAD_BYTES.max(text.len()), b' ');
        if let Err(why) = self.file.write_all_at(&text, 0)
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!(%why, "where the audit chain ends cannot be kept beside the store");
        }
    }
}

/// The lines of `file` after `known`, from its last `bytes_max` bytes.
pub fn lines_after(file: &File, known: &AuditHead, bytes_max: u64) -> io::Result<Vec<Arc<Group>>> {
    let start = file.metadata()?.len().saturating_sub(bytes_max);
    let mut reader = BufReader::with_capacity(128 * 1024, file);
    reader.seek(SeekFrom::Start(start))?;
    let (mut groups, mut group, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lines, mut head) = (0, None);
    loop {
        bytes.clear();
        if (&mut reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        // The piece that the look begins with is no line.
        let Ok(line) = read_line(bytes.trim_ascii_end()) else { continue };
        if line.seq <= known.seq {
            continue;
        }
        group.extend_from_slice(&bytes);
        (lines, head) = (lines + 1, Some(line.head()));
        if group.len() >= GROUP_BYTES_MAX {
            groups.extend(finish(&mut group, &mut lines, &mut head));
        }
    }
    groups.extend(finish(&mut group, &mut lines, &mut head));
    Ok(groups)
}

fn finish(bytes: &mut Vec<u8>, lines: &mut u64, head: &mut Option<AuditHead>) -> Option<Arc<Group>> {
    let head = head.take()?;
    Some(Arc::new(Group { bytes: std::mem::take(bytes), lines: std::mem::take(lines), head }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use leasehold_sdk::Timestamp;

    use super::super::chain::{Head, NO_PREV, append_line};
    use super::*;

    fn head(seq: u64) -> AuditHead {
        AuditHead { seq, hash: format!("{seq:064x}") }
    }

    #[test]
    fn marks_are_of_one_chain_and_outlive_damage() {
        let dir = tempfile::tempdir().unwrap();
        let file = Some(dir.path().join("audit-sinks.json"));
        let mut marks = Marks::read(file.clone(), "c-1");
        assert!(marks.of("x").is_none());
        let mark = Mark::of(&head(9), &head(7));
        marks.keep([("x".to_owned(), mark.clone())].into());
        assert_eq!(Marks::read(file.clone(), "c-1").of("x"), Some(&mark));
        assert_eq!(Marks::read(file.clone(), "c-2").of("x"), None);
        std::fs::write(file.as_ref().unwrap(), b"{half").unwrap();
        assert_eq!(Marks::read(file, "c-1").of("x"), None);
        assert!(!Marks::read(None, "c-1").are_kept());
    }

    #[test]
    fn the_end_of_a_chain_is_kept_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit-head.json");
        let (mut file, none) = HeadFile::open(&path, "c-1").unwrap();
        assert_eq!(none, None);
        for seq in [7, u64::MAX, 8] {
            file.put(&head(seq));
        }
        assert_eq!(HeadFile::open(&path, "c-1").unwrap().1, Some(head(8)));
        assert_eq!(HeadFile::open(&path, "c-2").unwrap().1, None);
        std::fs::write(&path, b"{torn").unwrap();
        assert_eq!(HeadFile::open(&path, "c-1").unwrap().1, None);
    }

    #[test]
    fn what_comes_after_a_mark_is_found_in_whole_lines_and_bounded_groups() {
        let mut file = tempfile::tempfile().unwrap();
        let mut text = Vec::new();
        for seq in 1..=3000 {
            let own = Head { seq, at: Timestamp::from_unix_ms(0), chain: "c", broker: "b", config: "", prev: NO_PREV };
            append_line(&mut text, &own, br#"{"event":"x","note":"........................................"}"#);
        }
        file.write_all(&text).unwrap();
        let groups = lines_after(&file, &head(100), u64::MAX).unwrap();
        assert_eq!(groups.iter().map(|group| group.lines).sum::<u64>(), 2900);
        assert_eq!((groups[0].first_seq(), groups.last().unwrap().head.seq), (101, 3000));
        assert!(groups.len() > 1 && groups.iter().all(|group| group.bytes.len() < GROUP_BYTES_MAX + 1000));
        let after = |bytes: &[u8]| text.ends_with(bytes);
        assert!(after(&groups.iter().map(|group| group.bytes.as_slice()).collect::<Vec<_>>().concat()));
        // What is further back than is looked is not there, and no piece of a line is.
        let few = lines_after(&file, &head(100), 1000).unwrap();
        assert!(few[0].bytes.starts_with(b"{\"seq\":29") && few[0].lines < 5);
        assert!(lines_after(&file, &head(3000), u64::MAX).unwrap().is_empty());
    }
}
