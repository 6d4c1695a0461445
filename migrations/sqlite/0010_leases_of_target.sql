-- Lists, newest first.
CREATE INDEX leases_of_target ON leases (target, id);
