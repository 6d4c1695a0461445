-- The ends of the audit chains, one per broker: a log that ends earlier has lost its tail.
CREATE TABLE IF NOT EXISTS audit_heads (
    chain text    NOT NULL PRIMARY KEY,
    seq   bigint  NOT NULL,
    hash  text    NOT NULL
);
