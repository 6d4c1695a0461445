//! `leasehold audit tail`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value};

use super::super::exit;
use super::super::output::{self, Output, json_safe, safe};

/// How far from its end a file is read for its last lines.
const BACK_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How much is read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// A piece of text longer than this without a newline is no line of a log.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// How often a file is looked at for new lines.
const LOOK: Duration = Duration::from_millis(300);

/// `leasehold audit tail`. With `--output json` the lines come as they are; it verifies nothing.
#[derive(Debug, clap::Args)]
pub struct TailArgs {
    /// The file.
    file: PathBuf,
    /// How many lines to begin with.
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
    /// Go on as lines are written, also into the file that takes this one's place.
    #[arg(short, long)]
    follow: bool,
}

pub async fn run(args: TailArgs, output: Output) -> anyhow::Result<u8> {
    let cannot = || format!("cannot read {}", args.file.display());
    let mut reader = Lines::open(&args.file).with_context(cannot)?;
    let last = reader.last(args.lines).with_context(cannot)?;
    print(&last, output)?;
    if !args.follow {
        return Ok(exit::DONE);
    }
    loop {
        tokio::time::sleep(LOOK).await;
        // Asked before reading: what the old file got before it was renamed must not be passed over.
        let replaced = reader.is_replaced(&args.file);
        print(&reader.next().with_context(cannot)?, output)?;
        if replaced && let Ok(new) = Lines::open(&args.file) {
            reader = new;
        }
    }
}

fn print(lines: &[String], output: Output) -> anyhow::Result<()> {
    let shown = |line: &String| match output {
        Output::Json => json_safe(line) + "\n",
        Output::Table => readable(line) + "\n",
    };
    match output::write(lines.iter().map(shown).collect::<String>().as_bytes()) {
        // The reader has seen enough; going on would be for nobody.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(i32::from(exit::DONE)),
        done => Ok(done?),
    }
}

/// A line for people: when, number, what, and its members without those of the chain.
fn readable(line: &str) -> String {
    let Ok(Value::Object(members)) = serde_json::from_str(line) else { return safe(line) };
    let text = |name: &str| members.get(name).map(plain).unwrap_or_default();
    let mut shown = format!("{}  {:>6}  {}", text("at"), text("seq"), text("event"));
    for (name, value) in told(&members) {
        shown.push_str(&format!("  {name}={}", plain(value)));
    }
    safe(&shown)
}

fn told(members: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    const CHAIN: [&str; 8] = ["seq", "at", "chain", "broker", "config", "prev", "event", "hash"];
    members.iter().filter(|(name, value)| !CHAIN.contains(&name.as_str()) && !value.is_null())
}

/// A text as it is where that is clear, else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => text.clone(),
        other => other.to_string(),
    }
}

/// Whole lines from a file that grows.
struct Lines {
    file: File,
    /// What was read after the last newline.
    rest: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, rest: Vec::new() })
    }

    /// The last `count` whole lines; what comes after them is for [`next`](Self::next).
    fn last(&mut self, count: usize) -> io::Result<Vec<String>> {
        let size = self.file.metadata()?.len();
        let start = size.saturating_sub(BACK_BYTES_MAX);
        self.file.seek(SeekFrom::Start(start))?;
        let mut lines = self.next()?;
        if start > 0 && !lines.is_empty() {
            // It began somewhere before.
            lines.remove(0);
        }
        Ok(lines.split_off(lines.len().saturating_sub(count)))
    }

    /// The whole lines that were written since.
    fn next(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let got = self.file.read(&mut chunk)?;
            if got == 0 {
                return Ok(lines);
            }
            for part in chunk[..got].split_inclusive(|&byte| byte == b'\n') {
                self.rest.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    let line = std::mem::take(&mut self.rest);
                    lines.push(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
                } else if self.rest.len() > LINE_BYTES_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it has no lines"));
                }
            }
        }
    }

    /// Whether another file has taken its place, or it was cut.
    fn is_replaced(&mut self, path: &Path) -> bool {
        let (Ok(now), Ok(ours)) = (std::fs::metadata(path), self.file.metadata()) else { return false };
        let read = self.file.stream_position().unwrap_or(0);
        (now.dev(), now.ino()) != (ours.dev(), ours.ino()) || now.len() < read
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_come_whole_and_over_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut log = File::create(&path).unwrap();
        log.write_all(b"one\ntwo\nthr").unwrap();
        let mut lines = Lines::open(&path).unwrap();
        assert_eq!(lines.last(1).unwrap(), ["two"]);
        assert!(lines.next().unwrap().is_empty() && !lines.is_replaced(&path));
        log.write_all(b"ee\nfour\n").unwrap();
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        assert!(!lines.is_replaced(&path));
        std::fs::write(&path, "five\n").unwrap();
        assert!(lines.is_replaced(&path));
        assert_eq!(lines.next().unwrap(), ["three", "four"]);
        assert_eq!(Lines::open(&path).unwrap().last(10).unwrap(), ["five"]);
    }

    #[test]
    fn a_line_reads_well_and_harmlessly() {
        let line = r#"{"seq":3,"at":"2026-01-02T03:04:05.678Z","chain":"c","broker":"b","config":"x","prev":"p","event":"decision",
            "allowed":false,"reason":"no grant \u001b[31m","grant":null,"role":"orders-read","hash":"h"}"#;
        assert_eq!(
            readable(line),
            "2026-01-02T03:04:05.678Z       3  decision  allowed=false  reason=\"no grant \\u001b[31m\"  role=orders-read"
        );
        assert_eq!(readable("half a line\x07"), "half a line\\u{7}");
    }
}
