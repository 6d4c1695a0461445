-- Orders to end many leases: durable at once, carried out in small steps, taken up again after a crash.
CREATE TABLE IF NOT EXISTS orders (
    id          text    NOT NULL PRIMARY KEY,
    at          bigint  NOT NULL,
    ended_by    text    NOT NULL CHECK (ended_by IN ('caller', 'operator')),
    identity    text,                                  -- null: of any identity
    role        text,                                  -- null: of any role
    target      text,                                  -- null: in any target
    up_to       text    NOT NULL,                      -- the newest lease that it is about
    matched     bigint  NOT NULL,                      -- live leases that it was about when it was placed
    ordered     bigint  NOT NULL DEFAULT 0,            -- how many it has made revoking so far
    after_id    text    NOT NULL DEFAULT '',           -- how far its walk has come
    finished_at bigint                                 -- null while it is carried out
);
