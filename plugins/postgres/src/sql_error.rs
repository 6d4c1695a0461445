//! What went wrong with a statement, sorted by what may be true in the target now.

use leasehold_sdk::EngineError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Why a message to the server did not end well.
#[derive(Debug, Clone)]
pub(crate) enum SqlError {
    /// The server refused it; its transaction is undone.
    Said {
        /// SQLSTATE.
        code: String,
        /// The server's text, with its detail.
        text: String,
    },
    /// The session ended or the answer did not come in time, after the message was sent: it may have been carried out.
    Lost(String),
}

impl SqlError {
    /// Sorts an error of a statement that was sent.
    pub(crate) fn sent(e: &sqlx::Error) -> Self {
        match server_error(e) {
            Some(db) if db.severity() == PgSeverity::Error => Self::Said { code: db.code().into(), text: text(db) },
            // FATAL and PANIC end the session, and may do so between the commit and its answer.
            Some(db) => Self::Lost(text(db)),
            None => Self::Lost(format!("the connection broke: {e}")),
        }
    }

    /// The server's SQLSTATE, if it answered.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Said { code, .. } => Some(code),
            Self::Lost(_) => None,
        }
    }

    /// Whether the server's shared memory is used up: its table of locks, which any session can fill.
    pub(crate) fn is_out_of_room(&self) -> bool {
        self.code() == Some("53200")
    }

    /// Whether somebody else stands in the way: holds a lock, changed the same row, or took all the room. A statement that
    /// runs into its time limit while it waits counts too.
    pub(crate) fn is_contention(&self) -> bool {
        matches!(self.code(), Some("55P03" | "XX000" | "40P01" | "40001" | "57014" | "53200"))
    }

    /// The text for a person.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Said { text, .. } | Self::Lost(text) => text,
        }
    }

    /// Whether the same statement may work a moment later.
    fn passes(code: &str) -> bool {
        // Classes: 08 connection, 40 rollback, 53 resources, 57 operator intervention, 58 system; then: object in use, lock
        // not available, and "tuple concurrently updated", which is an internal error by its code.
        ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
            || matches!(code, "55006" | "55P03" | "XX000" | "25006")
    }

    /// The engine's error for a statement that makes something: what was not answered may have been made.
    pub(crate) fn making(self, what: impl std::fmt::Display) -> EngineError {
        match self {
            Self::Said { code, text } if Self::passes(&code) => EngineError::retry(format!("{what}: {text}")),
            Self::Said { text, .. } => EngineError::refused(format!("{what}: {text}")),
            Self::Lost(text) => EngineError::unknown(format!("{what}: {text}")),
        }
    }

    /// The engine's error for a statement that may be repeated without harm.
    pub(crate) fn repeatable(self, what: impl std::fmt::Display) -> EngineError {
        match self {
            Self::Said { code, text } if !Self::passes(&code) => EngineError::refused(format!("{what}: {text}")),
            Self::Said { text, .. } | Self::Lost(text) => EngineError::retry(format!("{what}: {text}")),
        }
    }
}

/// Why a connection could not be made, for a person.
pub(crate) fn connect_text(e: &sqlx::Error) -> String {
    match server_error(e) {
        Some(db) => text(db),
        None => e.to_string(),
    }
}

/// The text with which the server refused a setting of the start-up packet because it does not know it.
pub(crate) fn unknown_setting(e: &sqlx::Error) -> Option<&str> {
    server_error(e).filter(|db| db.code() == "42704").map(PgDatabaseError::message)
}

fn server_error(e: &sqlx::Error) -> Option<&PgDatabaseError> {
    match e {
        sqlx::Error::Database(db) => db.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    }
}

fn text(db: &PgDatabaseError) -> String {
    match db.detail() {
        Some(detail) => format!("{} ({detail}) [{}]", db.message(), db.code()),
        None => format!("{} [{}]", db.message(), db.code()),
    }
}
