//! The usual case in one message: behind the fence, none of the accounts has a session, and most hold nothing.

use std::collections::HashSet;

use sqlx::Row;

use super::{Item, belongings, present_oids, sessions};
use crate::session::Session;
use crate::statements::Whose;

/// Who of those under way holds something, if none of them has a session any more. `None`: somebody has, or the server did
/// not say; then each is asked for apart. Sessions are looked at first: whoever has none behind the fence makes nothing new.
pub(super) async fn look(session: &mut Session, items: &[Item]) -> Option<HashSet<u32>> {
    let (whose, oids) = (Whose::of(items.iter().filter(|i| i.under_way())), present_oids(items));
    if whose.is_nobody() || oids.is_empty() {
        return None;
    }
    let sql = format!("{};{}", sessions::look_sql(&whose).ok()?, belongings::holders_sql(&oids));
    let mut holders = HashSet::new();
    for row in session.rows(&sql).await.ok()? {
        // Only a session has a name.
        if row.try_get_raw("name").is_ok() {
            return None;
        }
        holders.insert(u32::try_from(row.try_get::<i64, _>("oid").ok()?).ok()?);
    }
    Some(holders)
}
