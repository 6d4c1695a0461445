-- Every lease, until it is purged some time after its end.
CREATE TABLE IF NOT EXISTS leases (
    id               text    NOT NULL PRIMARY KEY CHECK (length(id) = 26),   -- sorts by the time it was made
    role             text    NOT NULL,
    target           text    NOT NULL,
    identity         text    NOT NULL,
    state            text    NOT NULL CHECK (state IN ('pending', 'active', 'revoking', 'revoked', 'expired')),
    ended_by         text    CHECK (ended_by IN ('expiry', 'caller', 'operator', 'policy', 'failed', 'vanished')),
    issued_at        bigint  NOT NULL,
    expires_at       bigint  NOT NULL,
    max_expires_at   bigint  NOT NULL,
    rotate_at        bigint  NOT NULL,
    renewable        boolean NOT NULL,
    revocable        text    NOT NULL CHECK (revocable IN ('immediate', 'eventual', 'role_wide', 'none')),
    worst_case_until bigint,                          -- null: unbounded
    account          text    NOT NULL,
    replaces         text,                            -- the lease that it was made to follow
    attempts         bigint  NOT NULL DEFAULT 0,
    last_error       text,
    plan             text    NOT NULL,                -- JSON: all that its end needs; text, so that it reads back byte for byte
    receipt          text,                            -- JSON: what only the target knew
    mint_deadline    bigint  NOT NULL,
    due_at           bigint  NOT NULL,                -- its mint's deadline, its expiry, or its next try
    claimed_until    bigint  NOT NULL DEFAULT 0,      -- a claim lapses by itself
    claimed_by       text,                            -- the broker that claimed it last; when that one is dead, the claim is free
    tried            boolean NOT NULL GENERATED ALWAYS AS (attempts > 0) STORED,
    wake_at          bigint  NOT NULL GENERATED ALWAYS AS (greatest(due_at, claimed_until)) STORED,
    moved_at         bigint  NOT NULL,                -- when its end last moved on
    ended_at         bigint,                          -- null while something may exist in the target
    CHECK ((state IN ('revoked', 'expired')) = (ended_at IS NOT NULL)),
    CHECK ((state IN ('pending', 'active')) = (ended_by IS NULL))
);
