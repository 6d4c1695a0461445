//! One line: how it is made and how it is checked, from its bytes.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use leasehold_sdk::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::AuditHead;

/// Bytes of one line at most, newline included.
pub const LINE_BYTES_MAX: usize = 262_144;
/// `prev` of the first line of a chain.
pub const NO_PREV: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const HASH_KEY: &[u8] = b",\"hash\":\"";
const HASH_MEMBER_BYTES: usize = HASH_KEY.len() + 64 + 2;

/// What the log adds to an event.
#[derive(Serialize)]
pub struct Head<'a> {
    pub seq: u64,
    pub at: Timestamp,
    pub chain: &'a str,
    pub broker: &'a str,
    pub config: &'a str,
    pub prev: &'a str,
}

/// Appends the line of `event`, a JSON object, to `out`, newline included. Answers its hash.
pub fn append_line(out: &mut Vec<u8>, head: &Head<'_>, event: &[u8]) -> String {
    let start = out.len();
    serde_json::to_writer(&mut *out, head).expect("a head is plain JSON, and memory takes it");
    out.pop();
    out.push(b',');
    out.extend_from_slice(&event[1..]);
    let hash = sha256_hex(&out[start..]);
    out.pop();
    out.extend_from_slice(HASH_KEY);
    out.extend_from_slice(hash.as_bytes());
    out.extend_from_slice(b"\"}\n");
    hash
}

/// What is read of a line.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    pub seq: u64,
    pub at: Timestamp,
    pub chain: String,
    pub prev: String,
    pub event: String,
    #[serde(default)]
    pub sink: Option<String>,
    pub hash: String,
}

impl Line {
    pub fn head(&self) -> AuditHead {
        AuditHead { seq: self.seq, hash: self.hash.clone() }
    }

    /// Whether this line is the next after `before`.
    pub fn follows(&self, before: &AuditHead) -> bool {
        self.prev == before.hash && before.seq.checked_add(1) == Some(self.seq)
    }
}

/// Why bytes are not a line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadLine {
    /// No hash at its end, or not JSON with the members that every line has.
    NotALine(String),
    /// The hash is not that of its bytes.
    Changed,
}

/// Reads a line without its newline, and checks its hash.
pub fn read_line(bytes: &[u8]) -> Result<Line, BadLine> {
    let not = |why: &str| BadLine::NotALine(why.to_owned());
    let cut = bytes.len().checked_sub(HASH_MEMBER_BYTES).ok_or_else(|| not("it is too short"))?;
    let (rest, member) = bytes.split_at(cut);
    let written = member
        .strip_prefix(HASH_KEY)
        .and_then(|member| member.strip_suffix(b"\"}"))
        .ok_or_else(|| not("it does not end in its hash"))?;
    if sha256_hex(&[rest, b"}"].concat()).as_bytes() != written {
        return Err(BadLine::Changed);
    }
    serde_json::from_slice(bytes).map_err(|why| not(&why.to_string()))
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Vec<u8> {
        let head = Head {
            seq: 7,
            at: Timestamp::from_unix_ms(0),
            chain: "dev/abcd",
            broker: "b\"1",
            config: "00",
            prev: NO_PREV,
        };
        let mut out = b"before\n".to_vec();
        append_line(&mut out, &head, br#"{"event":"broker","what":"started"}"#);
        out.split_off(7)
    }

    #[test]
    fn a_line_has_its_members_in_order_and_reads_back() {
        let bytes = line();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let rest = text.split_once(r#","hash":""#).unwrap().0;
        assert_eq!(
            rest,
            format!(
                r#"{{"seq":7,"at":"1970-01-01T00:00:00.000Z","chain":"dev/abcd","broker":"b\"1","config":"00","prev":"{NO_PREV}","event":"broker","what":"started""#
            )
        );
        let read = read_line(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!((read.seq, read.event.as_str()), (7, "broker"));
        assert_eq!(read.hash, sha256_hex(format!("{rest}}}").as_bytes()));
    }

    #[test]
    fn every_flipped_bit_of_a_line_is_found() {
        let bytes = line();
        for bit in 0..(bytes.len() - 1) * 8 {
            let mut changed = bytes[..bytes.len() - 1].to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read_line(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_no_line_is_said_not_panicked_over() {
        for bytes in [&b""[..], b"{}", b"\xff\xfe", &[0; 300], br#"{"seq":1}"#] {
            assert!(matches!(read_line(bytes), Err(BadLine::NotALine(_))), "{bytes:?}");
        }
    }
}
