-- Status lists of tokens. A list is recorded before any token points at it.
CREATE TABLE token_lists (
    list     TEXT    NOT NULL PRIMARY KEY,
    begun_at INTEGER NOT NULL
) STRICT;
