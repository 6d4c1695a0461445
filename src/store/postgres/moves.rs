//! What every statement that moves leases towards their end has in common: it locks them in one order, moves them, and writes
//! the audit lines of those whose state changed, all by itself.

/// A statement `WITH old AS (which leases, and their state before) … moved AS (the update) … the audit lines` that ends with
/// `SELECT $answer FROM moved`. `$1` is always the broker's id: the lines are its own to put on record.
///
/// `$which` follows `SELECT id, state AS was FROM leases WHERE` and must lock; `$set` follows `UPDATE leases SET`.
macro_rules! moving {
    (which: $which:literal, set: $set:literal, answer: $answer:expr) => {
        concat!(
            "WITH old AS (SELECT id, state AS was FROM leases WHERE ",
            $which,
            "), moved AS (UPDATE leases SET ",
            $set,
            " FROM old WHERE leases.id = old.id RETURNING leases.*, old.was), \
             noted AS (INSERT INTO outbox (at, change, broker) \
             SELECT moved_at, json_build_object('lease', id, 'role', role, 'target', target, 'identity', identity, \
             'account', account, 'state', state, 'ended_by', ended_by, 'attempts', attempts, 'note', last_error)::text, $1 \
             FROM moved WHERE was <> state ORDER BY id) SELECT ",
            $answer,
            " FROM moved"
        )
    };
}
pub(super) use moving;
