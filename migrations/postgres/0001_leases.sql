-- What the brokers of a cluster must still know after a crash. Times are milliseconds since 1970-01-01 UTC; identities, ids,
-- plans and receipts are text that an operator can read. No secret is ever stored here.
-- Text that is ordered or compared is in COLLATE "C": ids sort by their bytes, in every database.

-- One row: which store this is.
CREATE TABLE store (
    one          integer NOT NULL PRIMARY KEY CHECK (one = 1),
    cluster      text    NOT NULL,             -- another cluster's broker refuses the store
    tag          text    NOT NULL,             -- made once; part of every account name
    high_water   bigint  NOT NULL DEFAULT 0,   -- the latest time that any broker has acted on
    newest_lease text    COLLATE "C"           -- the newest lease whose row is gone, or that an operator vouched for
);

CREATE TABLE leases (
    id               text    COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(id) = 26),   -- sorts by the time it was made
    role             text    COLLATE "C" NOT NULL,
    target           text    COLLATE "C" NOT NULL,
    identity         text    COLLATE "C" NOT NULL,
    state            text    COLLATE "C" NOT NULL CHECK (state IN ('pending', 'active', 'revoking', 'revoked', 'expired')),
    ended_by         text    CHECK (ended_by IN ('expiry', 'caller', 'operator', 'policy', 'failed', 'vanished')),
    issued_at        bigint  NOT NULL,
    expires_at       bigint  NOT NULL,
    max_expires_at   bigint  NOT NULL,
    rotate_at        bigint  NOT NULL,
    renewable        boolean NOT NULL,
    revocable        text    NOT NULL CHECK (revocable IN ('immediate', 'eventual', 'role_wide', 'none')),
    worst_case_until bigint,                          -- null: unbounded
    account          text    COLLATE "C" NOT NULL,
    replaces         text    COLLATE "C",             -- the lease that it was made to follow
    attempts         integer NOT NULL DEFAULT 0,
    last_error       text,
    plan             text    NOT NULL,                -- JSON: all that its end needs; text, so that it reads back byte for byte
    receipt          text,                            -- JSON: what only the target knew
    mint_deadline    bigint  NOT NULL,
    due_at           bigint  NOT NULL,                -- its mint's deadline, its expiry, or its next try
    claimed_until    bigint  NOT NULL DEFAULT 0,      -- a claim lapses by itself when its broker dies
    tried            boolean NOT NULL GENERATED ALWAYS AS (attempts > 0) STORED,
    wake_at          bigint  NOT NULL GENERATED ALWAYS AS (greatest(due_at, claimed_until)) STORED,
    moved_at         bigint  NOT NULL,                -- when its end last moved on
    ended_at         bigint,                          -- null while something may exist in the target
    CHECK ((state IN ('revoked', 'expired')) = (ended_at IS NOT NULL)),
    CHECK ((state IN ('pending', 'active')) = (ended_by IS NULL))
);

-- What is due, by target; those that were tried in vain apart, so that they delay nobody.
CREATE INDEX leases_due ON leases (target, tried, wake_at) WHERE ended_at IS NULL;
-- Live leases of a holder (the cap at each mint), and of a role.
CREATE INDEX leases_live_of_holder ON leases (role, identity) WHERE ended_at IS NULL;
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

-- Changes of leases that the audit log must still take.
CREATE TABLE outbox (
    number bigint NOT NULL PRIMARY KEY,
    at     bigint NOT NULL,
    change text   NOT NULL                            -- JSON: a LeaseChange
);

-- The last number given to an outbox line. A sequence would not do: its numbers are taken before the commit, so that a
-- reader could see line 8 and drop "up to 8" while line 7 was still to be committed. Whoever updates this row holds it
-- until it commits, so that lines become visible in the order of their numbers; a number rolled back is given again, but
-- nobody has seen it.
CREATE TABLE outbox_number (
    one  integer NOT NULL PRIMARY KEY CHECK (one = 1),
    last bigint  NOT NULL
);
INSERT INTO outbox_number VALUES (1, 0);

-- The line is written by the very statement that moves the lease: no path can forget it.
CREATE FUNCTION leases_to_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    next bigint;
BEGIN
    UPDATE outbox_number SET last = last + 1 WHERE one = 1 RETURNING last INTO STRICT next;
    INSERT INTO outbox (number, at, change) VALUES (next, NEW.moved_at, json_build_object(
        'lease', NEW.id, 'role', NEW.role, 'target', NEW.target, 'identity', NEW.identity, 'account', NEW.account,
        'state', NEW.state, 'ended_by', NEW.ended_by, 'attempts', NEW.attempts, 'note', NEW.last_error)::text);
    RETURN NULL;
END $$;

CREATE TRIGGER leases_to_outbox AFTER UPDATE OF state ON leases FOR EACH ROW
WHEN (NEW.state <> OLD.state AND NEW.state IN ('revoking', 'revoked', 'expired'))
EXECUTE FUNCTION leases_to_outbox();

-- The newest lease ever recorded outlives its row: a younger account in a target then proves that the store is an old copy.
CREATE FUNCTION leases_keep_newest() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE store SET newest_lease = gone.newest
    FROM (SELECT max(id) AS newest FROM deleted) AS gone
    WHERE gone.newest IS NOT NULL AND (newest_lease IS NULL OR newest_lease < gone.newest);
    RETURN NULL;
END $$;

CREATE TRIGGER leases_keep_newest AFTER DELETE ON leases
REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT
EXECUTE FUNCTION leases_keep_newest();

-- Targets in which nothing is ended until an operator decides: accounts newer than anything this store had recorded were
-- found there, so it is an older copy of itself.
CREATE TABLE holds (
    target text COLLATE "C" NOT NULL PRIMARY KEY,
    newest text COLLATE "C"
);

-- The ends of the audit chains: a log that ends earlier has lost its tail.
CREATE TABLE audit_heads (
    chain text   COLLATE "C" NOT NULL PRIMARY KEY,
    seq   bigint NOT NULL,
    hash  text   NOT NULL
);
