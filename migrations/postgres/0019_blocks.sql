-- Identities that get nothing any more.
CREATE TABLE IF NOT EXISTS blocks (
    identity text    NOT NULL PRIMARY KEY,
    at       bigint  NOT NULL,
    by_whom  text    NOT NULL,                         -- who ordered it
    reason   text
);
