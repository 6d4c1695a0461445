-- Lists, newest first.
CREATE INDEX IF NOT EXISTS leases_of_role ON leases (role, id);
