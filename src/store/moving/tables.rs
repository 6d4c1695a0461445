//! What moves: tables and columns that both databases have under the same names.

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Text or null.
    Text,
    /// A whole number or null.
    Number,
    /// Yes or no.
    Flag,
}

/// One table, and the statements that read and write what moves of it.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns that move. Claims and what follows from other columns stay behind.
    pub columns: &'static [(&'static str, Holds)],
    /// Reads all of it, in an order that is its own.
    pub read: &'static str,
    /// Writes a JSON list of its rows, in SQLite.
    pub write_sqlite: &'static str,
    /// The same in PostgreSQL.
    pub write_postgres: &'static str,
}

/// `table!(name { column: Holds, … })`, and for SQLite further columns that follow from the row.
macro_rules! table {
    ($name:ident { $first:ident: $holds:ident $(, $rest:ident: $rest_holds:ident)* $(,)? } $(also $also:ident = $follows:literal)*) => {
        Table {
            name: stringify!($name),
            columns: &[(stringify!($first), Holds::$holds) $(, (stringify!($rest), Holds::$rest_holds))*],
            read: concat!(
                "SELECT ", stringify!($first) $(, ", ", stringify!($rest))*, " FROM ", stringify!($name), " ORDER BY ",
                stringify!($first)
            ),
            write_sqlite: concat!(
                "INSERT INTO ", stringify!($name), " (", stringify!($first) $(, ", ", stringify!($rest))*
                $(, ", ", stringify!($also))*, ") SELECT value ->> '", stringify!($first), "'"
                $(, ", value ->> '", stringify!($rest), "'")* $(, ", ", $follows)*, " FROM json_each(?1)"
            ),
            write_postgres: concat!(
                "INSERT INTO ", stringify!($name), " (", stringify!($first) $(, ", ", stringify!($rest))*, ") SELECT ",
                stringify!($first) $(, ", ", stringify!($rest))*, " FROM json_populate_recordset(NULL::",
                stringify!($name), ", $1::json)"
            ),
        }
    };
}

/// All that moves. The first is the store's own row.
pub const TABLES: &[Table] = &[
    table!(store { one: Number, cluster: Text, tag: Text, high_water: Number, newest_lease: Text }),
    table!(brokers {
        id: Text,
        instance: Text,
        host: Text,
        version: Text,
        config_hash: Text,
        chain: Text,
        started_at: Number,
        seen_at: Number,
    }),
    table!(audit_heads { chain: Text, seq: Number, hash: Text }),
    table!(holds { target: Text, newest: Text }),
    table!(blocks { identity: Text, at: Number, by_whom: Text, reason: Text }),
    table!(sealed {
        kind: Text,
        name: Text,
        generation: Number,
        state: Text,
        key_id: Text,
        blob: Text,
        made_at: Number,
    }),
    table!(token_lists { list: Text, begun_at: Number }),
    table!(token_withdrawals { list: Text, place: Number, ends_at: Number, told_at: Number }),
    table!(room_places {
        lease: Text,
        room: Text,
        identity: Text,
        account: Text,
        of_share: Number,
        until_at: Number,
        cut_at: Number,
    }),
    table!(room_cuts { room: Text, at: Number }),
    table!(orders {
        id: Text,
        at: Number,
        ended_by: Text,
        identity: Text,
        role: Text,
        target: Text,
        up_to: Text,
        matched: Number,
        ordered: Number,
        after_id: Text,
        finished_at: Number,
    }),
    table!(outbox { number: Number, at: Number, change: Text, broker: Text }),
    table!(leases {
        id: Text, role: Text, target: Text, identity: Text, state: Text, ended_by: Text, issued_at: Number,
        expires_at: Number, max_expires_at: Number, rotate_at: Number, renewable: Flag, revocable: Text,
        worst_case_until: Number, account: Text, replaces: Text, attempts: Number, last_error: Text, plan: Text,
        receipt: Text, mint_deadline: Number, due_at: Number, moved_at: Number, ended_at: Number,
    } also tried = "value ->> 'attempts' > 0" also wake_at = "value ->> 'due_at'"),
];

/// The table of this name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}
