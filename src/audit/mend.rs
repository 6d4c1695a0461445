//! The end of an existing file: where the chain goes on, and what a crash left torn. Reads a bounded part of it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::chain::{LINE_BYTES_MAX, Line, read_line, sha256_hex};
use crate::store::AuditHead;

/// How far back a line is looked for, in bytes from the end.
pub const LOOK_BACK_BYTES_MAX: u64 = 16 * 1024 * 1024;
const LINE_START: &[u8] = b"{\"seq\":";

/// The end of a file.
pub struct Tail {
    /// The last whole line; `None`: there is none.
    pub last: Option<Line>,
    /// What stands after it.
    pub cut: Option<Cut>,
}

/// Bytes at the end of a file that are no whole line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where they begin.
    pub from: u64,
    /// How many.
    pub bytes: u64,
    /// Their hash.
    pub sha256: String,
}

/// Reads the end of `file` and changes nothing.
///
/// A crash can leave an unfinished line, and on some file systems one line whose bytes did not all arrive; only so much is
/// taken for torn. More, or a file that never was a log, is an error: somebody should look at it, and it is not ours to cut.
pub fn read_tail(file: &File) -> io::Result<Tail> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(2 * LINE_BYTES_MAX as u64);
    let mut bytes = Vec::new();
    let mut reader: &File = file;
    reader.seek(SeekFrom::Start(from))?;
    reader.take(len - from).read_to_end(&mut bytes)?;

    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let mut keep = whole;
    for _ in 0..2 {
        let Some(line) = last_line(&bytes[..keep]) else { break };
        if let Ok(last) = read_line(line) {
            return Ok(Tail { last: Some(last), cut: cut(&bytes, keep, from) });
        }
        if keep < whole {
            return Err(io::Error::other("its last two lines are not lines of an audit log"));
        }
        keep -= line.len() + 1;
    }
    // No line at all: nothing yet, or the very first one is torn.
    let is_torn_first = from == 0 && whole == 0 && bytes.iter().zip(LINE_START).all(|(a, b)| a == b);
    if !is_torn_first {
        return Err(io::Error::other("it is not an audit log"));
    }
    Ok(Tail { last: None, cut: cut(&bytes, 0, from) })
}

/// What the line numbered `known.seq` says, in a file whose last line is a later one.
#[derive(Debug, PartialEq, Eq)]
pub enum AtKnown {
    /// It is the known one.
    Same,
    /// It has another hash.
    Other(AuditHead),
    /// It is not in the part that is looked at: it was rotated away, or is far back.
    NotSeen,
}

/// Looks for the line numbered `known.seq`.
pub fn look_back(file: &File, known: &AuditHead) -> io::Result<AtKnown> {
    let len = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(len.saturating_sub(LOOK_BACK_BYTES_MAX)))?;
    let wanted = format!("{{\"seq\":{},", known.seq);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? == 0 {
            return Ok(AtKnown::NotSeen);
        }
        if !line.starts_with(wanted.as_bytes()) {
            continue;
        }
        let Ok(found) = read_line(line.trim_ascii_end()) else { continue };
        return Ok(if found.hash == known.hash { AtKnown::Same } else { AtKnown::Other(found.head()) });
    }
}

/// The last line of `bytes`, which end in a newline or are empty; without it. `None` also where its start is not in `bytes`.
fn last_line(bytes: &[u8]) -> Option<&[u8]> {
    let body = bytes.strip_suffix(b"\n")?;
    Some(body.iter().rposition(|b| *b == b'\n').map_or(body, |at| &body[at + 1..]))
}

fn cut(bytes: &[u8], keep: usize, from: u64) -> Option<Cut> {
    let rest = &bytes[keep..];
    (!rest.is_empty()).then(|| Cut { from: from + keep as u64, bytes: rest.len() as u64, sha256: sha256_hex(rest) })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use leasehold_sdk::Timestamp;

    use super::super::chain::{Head, NO_PREV, append_line};
    use super::*;

    fn tail_of(bytes: &[u8]) -> io::Result<Tail> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read_tail(&file)
    }

    fn line(seq: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let head = Head { seq, at: Timestamp::from_unix_ms(0), chain: "c", broker: "b", config: "", prev: NO_PREV };
        append_line(&mut out, &head, br#"{"event":"x"}"#);
        out
    }

    #[test]
    fn only_a_torn_end_is_cut() {
        let (one, two) = (line(1), line(2));
        assert!(tail_of(b"").unwrap().last.is_none());
        let whole = tail_of(&[&one[..], &two].concat()).unwrap();
        assert_eq!((whole.last.unwrap().seq, whole.cut), (2, None));

        for torn in [&two[..two.len() - 1], &two[..1], b"\0\0\0", b"garbage\n", b"garbage\nmore"] {
            let tail = tail_of(&[&one[..], torn].concat()).unwrap();
            assert_eq!(tail.last.unwrap().seq, 1);
            let cut = tail.cut.unwrap();
            assert_eq!((cut.from, cut.bytes), (one.len() as u64, torn.len() as u64));
            assert_eq!(cut.sha256, sha256_hex(torn));
        }
        let first = tail_of(&one[..40]).unwrap();
        assert_eq!((first.last.map(|l| l.seq), first.cut.unwrap().bytes), (None, 40));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let one = line(1);
        for bytes in [&b"hello\n"[..], b"hello", b"a\nb\nc\n"] {
            assert!(tail_of(bytes).is_err(), "{bytes:?}");
        }
        assert!(tail_of(&[&one[..], b"bad\nbad\n"].concat()).is_err());
        assert!(tail_of(&vec![b'x'; 3 * LINE_BYTES_MAX]).is_err());
    }

    #[test]
    fn a_known_line_is_found_far_back() {
        let mut file = tempfile::tempfile().unwrap();
        for seq in 5..=3000 {
            file.write_all(&line(seq)).unwrap();
        }
        let hash = read_line(line(700).trim_ascii_end()).unwrap().hash;
        let known = |seq, hash: &str| AuditHead { seq, hash: hash.to_owned() };
        assert_eq!(look_back(&file, &known(700, &hash)).unwrap(), AtKnown::Same);
        assert_eq!(
            look_back(&file, &known(701, &hash)).unwrap(),
            AtKnown::Other(known(701, &read_line(line(701).trim_ascii_end()).unwrap().hash))
        );
        assert_eq!(look_back(&file, &known(4, &hash)).unwrap(), AtKnown::NotSeen);
    }
}
