//! The fence: no new login, committed before anything else is done. Measured: terminate before the fence is committed, and
//! an account that keeps connecting survives nearly every time.

use super::Item;
use crate::engine::Target;
use crate::session::Session;
use crate::sql_error::SqlError;

/// Fences all that are there; one by one when the batch fails.
pub(super) async fn fence(target: &Target, session: &mut Session, items: &mut [Item]) {
    let mut there: Vec<&mut Item> = items.iter_mut().filter(|i| i.under_way() && i.present.is_some()).collect();
    if there.is_empty() || send(target, session, &there).await.is_ok() {
        return;
    }
    for item in &mut there {
        match send(target, session, std::slice::from_ref(item)).await {
            Ok(()) => {}
            // Gone since the look.
            Err(e) if e.code() == Some("42704") => item.receipt = item.receipt.or(item.present.take()),
            Err(e) => item.fail(e.repeatable(&item.name)),
        }
    }
}

async fn send(target: &Target, session: &mut Session, items: &[&mut Item]) -> Result<(), SqlError> {
    let accounts: Vec<_> = items.iter().map(|i| (&i.ident, i.name.as_str())).collect();
    let sql = target.statements.fence(&accounts).map_err(|e| SqlError::Lost(e.to_string()))?;
    session.run(&sql).await
}
