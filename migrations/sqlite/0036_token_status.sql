-- Status lists of tokens: those there are, and the places in them whose tokens have ended before their time.
CREATE TABLE token_lists (
    list     TEXT    NOT NULL PRIMARY KEY,
    begun_at INTEGER NOT NULL
) STRICT;

CREATE TABLE token_withdrawals (
    list     TEXT    NOT NULL,
    place    INTEGER NOT NULL,
    ends_at  INTEGER NOT NULL,                         -- after this the token is worth nothing anyway
    told_at  INTEGER NOT NULL,                         -- brokers read what is new
    PRIMARY KEY (list, place)
) STRICT;
CREATE INDEX token_withdrawals_told ON token_withdrawals (told_at);
