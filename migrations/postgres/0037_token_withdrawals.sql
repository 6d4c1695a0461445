-- Places in status lists whose tokens have ended before their time.
CREATE TABLE IF NOT EXISTS token_withdrawals (
    list     text    NOT NULL,
    place    bigint  NOT NULL,
    ends_at  bigint  NOT NULL,                         -- after this the token is worth nothing anyway
    told_at  bigint  NOT NULL,                         -- by the store's clock: brokers read what is new
    PRIMARY KEY (list, place)
);
