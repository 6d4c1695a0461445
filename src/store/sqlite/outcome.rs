//! What an error of SQLite means for whoever asked.

use super::super::StoreError;

/// Tells "later it may work" from "an operator must look".
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(e) => {
            let code = e.code().and_then(|c| c.parse::<u32>().ok()).unwrap_or(0);
            by_code(code, e.message())
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Damaged(error.to_string()),
        sqlx::Error::PoolTimedOut => StoreError::Unavailable("all connections for reading stayed busy".to_owned()),
        sqlx::Error::PoolClosed => StoreError::Unavailable("it is closed".to_owned()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// By SQLite's result code, of which the low byte is the kind.
fn by_code(code: u32, message: &str) -> StoreError {
    match code & 0xff {
        5 | 6 => StoreError::Unavailable(format!("another program holds the database locked: {message}")),
        13 => StoreError::Unavailable(format!("no space is left for it: {message}")),
        7 | 8 | 9 | 10 | 14 => StoreError::Unavailable(message.to_owned()),
        // A constraint, a schema that is not ours, a page that is not as it was written.
        _ => StoreError::Damaged(format!("{message} (SQLite code {code})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_passes_and_a_broken_page_does_not() {
        assert!(matches!(by_code(13, "full"), StoreError::Unavailable(_)));
        assert!(matches!(by_code(10 | (8 << 8), "io"), StoreError::Unavailable(_)));
        assert!(matches!(by_code(11, "malformed"), StoreError::Damaged(_)));
        assert!(matches!(by_code(19 | (6 << 8), "unique"), StoreError::Damaged(_)));
    }
}
