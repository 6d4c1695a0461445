-- Lists, newest first.
CREATE INDEX leases_in_state ON leases (state, id);
