-- Changes of leases that the audit log must still take. AUTOINCREMENT: a number is never used again, also not after its
-- line is gone, so that a line that is told twice is known by it.
CREATE TABLE outbox (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    change TEXT    NOT NULL,                           -- JSON: a LeaseChange, or an event of the log's own vocabulary
    broker TEXT    NOT NULL DEFAULT ''                 -- whose log takes it; that of a dead one is taken over
) STRICT;
