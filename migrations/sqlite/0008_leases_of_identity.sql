-- Lists, newest first.
CREATE INDEX leases_of_identity ON leases (identity, id);
