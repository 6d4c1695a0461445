//! What an error of PostgreSQL means for whoever asked.

use super::super::StoreError;

/// Tells "later it may work" from "an operator must look".
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(e) => by_code(e.code().as_deref().unwrap_or(""), e.message()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StoreError::Damaged(error.to_string())
        }
        sqlx::Error::PoolTimedOut => StoreError::Unavailable("no connection to it could be had in time".to_owned()),
        sqlx::Error::PoolClosed => StoreError::Unavailable("it is closed".to_owned()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// By the class of the SQLSTATE (PostgreSQL manual, appendix A).
fn by_code(code: &str, message: &str) -> StoreError {
    let told = format!("{} (SQLSTATE {code})", message.chars().take(300).collect::<String>().escape_debug());
    match code.get(..2).unwrap_or("") {
        // What is not as our schema has it: data, constraints, names.
        "21" | "22" | "23" | "2F" | "42" | "P0" if code != "42501" => StoreError::Damaged(told),
        // Away, full, busy, failing over, starting up, read-only, in conflict, or no right: it may be another time.
        _ => StoreError::Unavailable(told),
    }
}

/// Whether the server refused who we say we are (class 28).
pub(super) fn may_be_the_password(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code.starts_with("28"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_and_what_does_not() {
        for passes in
            ["08006", "53300", "57P01", "57P03", "25006", "40001", "40P01", "55P03", "57014", "28P01", "42501"]
        {
            assert!(matches!(by_code(passes, "x"), StoreError::Unavailable(_)), "{passes}");
        }
        for stays in ["23514", "42P01", "22P02"] {
            assert!(matches!(by_code(stays, "x"), StoreError::Damaged(_)), "{stays}");
        }
        assert!(by_code("XX000", &"\u{1b}[2J".repeat(1000)).to_string().len() < 4000);
        assert!(!by_code("XX000", "\u{1b}[2J").to_string().contains('\u{1b}'));
    }
}
