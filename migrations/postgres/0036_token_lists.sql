-- Status lists of tokens. A list is recorded before any token points at it.
CREATE TABLE IF NOT EXISTS token_lists (
    list     text    NOT NULL PRIMARY KEY,
    begun_at bigint  NOT NULL
);
