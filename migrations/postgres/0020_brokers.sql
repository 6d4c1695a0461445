-- Who works on this store. One that was not seen for a while is dead: its claims and its outbox lines are anybody's.
CREATE TABLE IF NOT EXISTS brokers (
    id          text    NOT NULL PRIMARY KEY,          -- kept in its data_dir
    instance    text    NOT NULL,                      -- this process of it
    host        text    NOT NULL,
    version     text    NOT NULL,
    config_hash text    NOT NULL,
    chain       text    NOT NULL,                      -- its audit chain
    started_at  bigint  NOT NULL,
    seen_at     bigint  NOT NULL                       -- by the store's clock
);
