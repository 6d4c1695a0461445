-- Places in status lists whose tokens have ended before their time.
CREATE TABLE token_withdrawals (
    list     TEXT    NOT NULL,
    place    INTEGER NOT NULL,
    ends_at  INTEGER NOT NULL,                         -- after this the token is worth nothing anyway
    told_at  INTEGER NOT NULL,                         -- by the store's clock: brokers read what is new
    PRIMARY KEY (list, place)
) STRICT;
