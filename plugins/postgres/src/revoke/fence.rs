//! The fence: no new login, committed before anything else is done. Measured: terminate before the fence is committed, and
//! an account that keeps connecting survives nearly every time.

use super::{Item, Round};
use crate::engine::Target;
use crate::session::Session;
use crate::sql_error::SqlError;

/// Fences all that are there; one by one where the batch fails.
pub(super) async fn fence(target: &Target, session: &mut Session, items: &mut [Item], round: Round) {
    let mut there: Vec<&mut Item> = items.iter_mut().filter(|i| i.under_way() && i.present.is_some()).collect();
    for chunk in there.chunks_mut(round.chunk) {
        if send(target, session, chunk).await.is_ok() {
            continue;
        }
        for item in chunk {
            if !round.has_time_for(item) {
                continue;
            }
            match send(target, session, std::slice::from_ref(item)).await {
                Ok(()) => {}
                // Gone since the look.
                Err(e) if e.code() == Some("42704") => item.receipt = item.receipt.or(item.present.take()),
                Err(e) => item.fail(e.repeatable(&item.name)),
            }
        }
    }
}

async fn send(target: &Target, session: &mut Session, items: &[&mut Item]) -> Result<(), SqlError> {
    let accounts: Vec<_> = items.iter().map(|i| (&i.ident, i.name.as_str())).collect();
    let sql = target.statements.fence(&accounts).map_err(|e| SqlError::Lost(e.to_string()))?;
    session.run(&sql).await
}
