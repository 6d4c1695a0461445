-- Orders to end many leases: durable at once, carried out in small steps, taken up again after a crash.
CREATE TABLE orders (
    id          TEXT    NOT NULL PRIMARY KEY,
    at          INTEGER NOT NULL,
    ended_by    TEXT    NOT NULL CHECK (ended_by IN ('caller', 'operator')),
    identity    TEXT,                                  -- null: of any identity
    role        TEXT,                                  -- null: of any role
    target      TEXT,                                  -- null: in any target
    up_to       TEXT    NOT NULL,                      -- the newest lease that it is about
    matched     INTEGER NOT NULL,                      -- live leases that it was about when it was placed
    ordered     INTEGER NOT NULL DEFAULT 0,            -- how many it has made revoking so far
    after_id    TEXT    NOT NULL DEFAULT '',           -- how far its walk has come
    finished_at INTEGER                                -- null while it is carried out
) STRICT;
