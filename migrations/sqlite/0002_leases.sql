-- Every lease, until it is purged some time after its end.
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
    claimed_until    INTEGER NOT NULL DEFAULT 0,       -- a claim lapses by itself
    claimed_by       TEXT,                             -- the broker that claimed it last; when that one is dead, the claim is free
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
