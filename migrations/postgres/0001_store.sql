-- One row: which store this is. Times here and in all tables are milliseconds since 1970-01-01 UTC; identities, ids, plans
-- and receipts are text that an operator can read. No secret is ever stored but sealed.
-- One statement a file, plain SQL, every number a bigint: other databases that speak PostgreSQL's protocol take it too.
CREATE TABLE IF NOT EXISTS store (
    one            bigint NOT NULL PRIMARY KEY CHECK (one = 1),
    cluster        text   NOT NULL,             -- another cluster's broker refuses the store
    tag            text   NOT NULL,             -- made once; part of every account name
    schema_version bigint NOT NULL DEFAULT 1,   -- what programs must understand; one may be one version behind or ahead
    high_water     bigint NOT NULL DEFAULT 0,   -- the latest time that any broker has acted on
    newest_lease   text                         -- the newest lease whose row is gone, or that an operator vouched for
);
