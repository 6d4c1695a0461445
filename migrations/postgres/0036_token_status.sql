-- Status lists of tokens: those there are, and the places in them whose tokens have ended before their time.
CREATE TABLE IF NOT EXISTS token_lists (
    list     text    NOT NULL PRIMARY KEY,
    begun_at bigint  NOT NULL
);

CREATE TABLE IF NOT EXISTS token_withdrawals (
    list     text    NOT NULL,
    place    bigint  NOT NULL,
    ends_at  bigint  NOT NULL,                         -- after this the token is worth nothing anyway
    told_at  bigint  NOT NULL,                         -- brokers read what is new
    PRIMARY KEY (list, place)
);
CREATE INDEX IF NOT EXISTS token_withdrawals_told ON token_withdrawals (told_at);
