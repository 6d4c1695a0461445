//! The drop itself.

use super::{Item, Round, press};
use crate::engine::Target;
use crate::session::Session;
use crate::sql_error::SqlError;

/// Drops all that are there; one by one where the batch fails.
pub(super) async fn drop(target: &Target, session: &mut Session, items: &mut [&mut Item], round: Round) {
    let mut there: Vec<_> = items.iter_mut().filter(|i| i.under_way() && i.present.is_some()).collect();
    for chunk in there.chunks_mut(round.chunk) {
        let batch: Vec<&Item> = chunk.iter().map(|i| &***i).collect();
        if send(target, session, &batch).await.is_ok() {
            continue;
        }
        for item in chunk {
            if !round.has_time_for(item) {
                continue;
            }
            match alone(target, session, item).await {
                Ok(()) => {}
                Err(e) if e.code() == Some("42704") => {} // somebody else dropped it
                Err(e) => {
                    let why = e.repeatable(format!("{} cannot log in any more, but cannot be dropped", item.name));
                    item.fail(why);
                }
            }
        }
    }
}

/// What locks the role itself is ended on the way; its login has been stopped, so that it is nobody's any more.
async fn alone(target: &Target, session: &mut Session, item: &Item) -> Result<(), SqlError> {
    press::send(target, session, item, &sql(target, &[item])?).await
}

async fn send(target: &Target, session: &mut Session, items: &[&Item]) -> Result<(), SqlError> {
    session.run(&sql(target, items)?).await
}

fn sql(target: &Target, items: &[&Item]) -> Result<String, SqlError> {
    let accounts: Vec<_> = items.iter().map(|i| (&i.ident, i.name.as_str())).collect();
    target.statements.drop(&accounts).map_err(|e| SqlError::Lost(e.to_string()))
}
