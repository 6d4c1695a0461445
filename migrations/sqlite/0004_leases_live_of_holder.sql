-- Live leases of a holder (the cap at each mint), and of a role.
-- (ended_at is in it, always null, because SQLite else looks into the row for it.)
CREATE INDEX leases_live_of_holder ON leases (role, identity, ended_at) WHERE ended_at IS NULL;
