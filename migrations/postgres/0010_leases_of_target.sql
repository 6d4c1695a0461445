-- Lists, newest first.
CREATE INDEX IF NOT EXISTS leases_of_target ON leases (target, id);
