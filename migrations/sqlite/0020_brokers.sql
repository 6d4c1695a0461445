-- Who works on this store. One that was not seen for a while is dead: its claims and its outbox lines are anybody's.
CREATE TABLE brokers (
    id          TEXT    NOT NULL PRIMARY KEY,          -- kept in its data_dir
    instance    TEXT    NOT NULL,                      -- this process of it
    host        TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    config_hash TEXT    NOT NULL,
    chain       TEXT    NOT NULL,                      -- its audit chain
    started_at  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL                       -- by the store's clock
) STRICT;
