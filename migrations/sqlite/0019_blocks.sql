-- Identities that get nothing any more.
CREATE TABLE blocks (
    identity TEXT    NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    by_whom  TEXT    NOT NULL,                         -- who ordered it
    reason   TEXT
) STRICT;
