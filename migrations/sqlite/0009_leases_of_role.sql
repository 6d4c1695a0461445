-- Lists, newest first.
CREATE INDEX leases_of_role ON leases (role, id);
