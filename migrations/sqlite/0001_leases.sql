-- What a broker must still know after a crash. Times are milliseconds since 1970-01-01 UTC; identities, ids, plans and
-- receipts are text that an operator can read. No secret is ever stored here.

-- One row: which store this is.
CREATE TABLE store (
    one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    cluster      TEXT    NOT NULL,             -- another cluster's broker refuses the store
    tag          TEXT    NOT NULL,             -- made once; part of every account name
    high_water   INTEGER NOT NULL DEFAULT 0,   -- the latest time that any broker has acted on
    newest_lease TEXT                          -- the newest lease whose row is gone, or that an operator vouched for
) STRICT;

CREATE TABLE leases (
    id               TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 26),   -- sorts by the time it was made
    role             TEXT    NOT NULL,
    target           TEXT    NOT NULL,
    identity         TEXT    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('pending', 'active', 'revoking', 'revoked', 'expired')),
    ended_by         TEXT    CHECK (ended_by IN ('expiry', 'caller', 'operator', 'policy', 'failed', 'vanished')),
    issued_at        INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    max_expires_at   INTEGER NOT NULL,
    rotate_at        INTEGER NOT NULL,
    renewable        INTEGER NOT NULL CHECK (renewable IN (0, 1)),
    revocable        TEXT    NOT NULL CHECK (revocable IN ('immediate', 'eventual', 'role_wide', 'none')),
    worst_case_until INTEGER,                          -- null: unbounded
    account          TEXT    NOT NULL,
    replaces         TEXT,                             -- the lease that it was made to follow
    attempts         INTEGER NOT NULL DEFAULT 0,
    last_error       TEXT,
    plan             TEXT    NOT NULL,                 -- JSON: all that its end needs
    receipt          TEXT,                             -- JSON: what only the target knew
    mint_deadline    INTEGER NOT NULL,
    due_at           INTEGER NOT NULL,                 -- its mint's deadline, its expiry, or its next try
    claimed_until    INTEGER NOT NULL DEFAULT 0,       -- a claim lapses by itself when its broker dies
    -- These two follow from others. They are no generated columns, because SQLite never reads those from an index alone.
    tried            INTEGER NOT NULL DEFAULT 0,
    wake_at          INTEGER NOT NULL,
    moved_at         INTEGER NOT NULL,                 -- when its end last moved on
    ended_at         INTEGER,                          -- null while something may exist in the target
    CHECK ((state IN ('revoked', 'expired')) = (ended_at IS NOT NULL)),
    CHECK ((state IN ('pending', 'active')) = (ended_by IS NULL)),
    CHECK (tried = (attempts > 0)),
    CHECK (wake_at = max(due_at, claimed_until))
) STRICT;

-- What is due, by target; those that were tried in vain apart, so that they delay nobody.
-- (ended_at is in it, always null, because SQLite else looks into the row for it.)
CREATE INDEX leases_due ON leases (target, tried, wake_at, ended_at) WHERE ended_at IS NULL;
-- Live leases of a holder (the cap at each mint), and of a role.
CREATE INDEX leases_live_of_holder ON leases (role, identity, ended_at) WHERE ended_at IS NULL;
-- Who follows a lease.
CREATE INDEX leases_live_followers ON leases (replaces) WHERE ended_at IS NULL AND replaces IS NOT NULL;
-- What is claimed just now: a few rows.
CREATE INDEX leases_claimed ON leases (claimed_until) WHERE claimed_until > 0;
-- The reconciler's walk over a target.
CREATE INDEX leases_live_of_target ON leases (target, id) WHERE ended_at IS NULL;
-- Lists, newest first.
CREATE INDEX leases_of_identity ON leases (identity, id);
CREATE INDEX leases_of_role ON leases (role, id);
CREATE INDEX leases_of_target ON leases (target, id);
CREATE INDEX leases_in_state ON leases (state, id);

-- Changes of leases that the audit log must still take. AUTOINCREMENT: a number is never used again, also not after its
-- line is gone, so that "done up to" can never swallow a later line.
CREATE TABLE outbox (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    change TEXT    NOT NULL                            -- JSON: a LeaseChange
) STRICT;

-- The line is written by the very statement that moves the lease: no path can forget it.
CREATE TRIGGER leases_to_outbox AFTER UPDATE OF state ON leases
WHEN NEW.state <> OLD.state AND NEW.state IN ('revoking', 'revoked', 'expired')
BEGIN
    INSERT INTO outbox (at, change) VALUES (NEW.moved_at, json_object(
        'lease', NEW.id, 'role', NEW.role, 'target', NEW.target, 'identity', NEW.identity, 'account', NEW.account,
        'state', NEW.state, 'ended_by', NEW.ended_by, 'attempts', NEW.attempts, 'note', NEW.last_error));
END;

-- The newest lease ever recorded outlives its row: a younger account in a target then proves that the store is an old copy.
CREATE TRIGGER leases_keep_newest AFTER DELETE ON leases
BEGIN
    UPDATE store SET newest_lease = OLD.id WHERE newest_lease IS NULL OR newest_lease < OLD.id;
END;

-- Targets in which nothing is ended until an operator decides: accounts newer than anything this store had recorded were
-- found there, so it is an older copy of itself.
CREATE TABLE holds (
    target TEXT NOT NULL PRIMARY KEY,
    newest TEXT                                        -- the newest lease the store knew then; null: none
) STRICT;

-- The ends of the audit chains: a log that ends earlier has lost its tail.
CREATE TABLE audit_heads (
    chain TEXT    NOT NULL PRIMARY KEY,
    seq   INTEGER NOT NULL,
    hash  TEXT    NOT NULL
) STRICT;
