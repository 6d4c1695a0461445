-- One row: which store this is. Times here and in all tables are milliseconds since 1970-01-01 UTC; identities, ids, plans
-- and receipts are text that an operator can read. No secret is ever stored but sealed.
CREATE TABLE store (
    one            INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    cluster        TEXT    NOT NULL,             -- another cluster's broker refuses the store
    tag            TEXT    NOT NULL,             -- made once; part of every account name
    schema_version INTEGER NOT NULL DEFAULT 1,   -- what programs must understand; one may be one version behind or ahead
    high_water     INTEGER NOT NULL DEFAULT 0,   -- the latest time that any broker has acted on
    newest_lease   TEXT                          -- the newest lease whose row is gone, or that an operator vouched for
) STRICT;
