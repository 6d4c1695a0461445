-- One row for each holder of leases that came near its cap: the lock under which its leases are counted. (Where one process
-- writes, as with SQLite, nobody needs it.)
CREATE TABLE IF NOT EXISTS holders (
    role     text NOT NULL,
    identity text NOT NULL,
    PRIMARY KEY (role, identity)
);
