-- Lists, newest first.
CREATE INDEX IF NOT EXISTS leases_in_state ON leases (state, id);
