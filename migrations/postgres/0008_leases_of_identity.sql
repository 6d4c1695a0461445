-- Lists, newest first.
CREATE INDEX IF NOT EXISTS leases_of_identity ON leases (identity, id);
