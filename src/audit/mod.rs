//! The audit log: one JSON line per decision and per change of a lease, hash-chained, and its verifier.
//!
//! # The line
//!
//! ```text
//! {"seq":2,"at":"…","chain":"…","broker":"…","config":"…","prev":"<hash of line 1>","event":"…", …,"hash":"…"}\n
//! ```
//!
//! The order of the first six members and of the last is fixed. `hash` is the SHA-256, in lower-case hex, of the line's own
//! bytes with the `hash` member cut out and without the newline, so that nothing need be parsed or written again to check it:
//! `sed 's/,"hash":"[0-9a-f]*"}$/}/' | tr -d '\n' | sha256sum`. `prev` is the hash of the line before; the first line of a
//! chain has `seq` 1 and a `prev` of 64 noughts. `chain` names one broker's chain on one store; lines of two chains never
//! stand in one file.
//!
//! A chain without a key cannot keep somebody who may write the file from writing all of it anew. That is what checkpoints are
//! for, lines that sign the line before them, and the head in the store: it must be forged too.
//!
//! # What happens when
//!
//! [`AuditLog::write`] returns when `write(2)` to every required sink has returned; the fsync follows within
//! `audit_fsync_milliseconds_max`. A group of lines that a sink takes only in part is cut off again, so that files always end
//! in a whole line while the broker runs; a line torn by a crash is cut off at the next start, with a `mended` line that says
//! so. The log recovers by itself when there is room again, with an `audit_resumed` line.

mod chain;
mod checkpoint;
mod collector;
mod detached;
mod event;
mod gate;
mod log;
mod marks;
mod mend;
mod outputs;
mod sink;
mod start;
mod syncer;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use checkpoint::Checkpoints;
pub use collector::reach;
pub use event::Event;
pub use gate::HandshakeGate;
pub use log::{AuditError, AuditLog, Break, OpenOptions, Opened};
pub use verify::{Broken, ChainReport, Demands, Fault, Faults, HeadCheck, Known, Report, Signed, Stored, verify};
