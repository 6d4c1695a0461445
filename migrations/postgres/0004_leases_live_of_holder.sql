-- Live leases of a holder (the cap at each mint), and of a role.
CREATE INDEX IF NOT EXISTS leases_live_of_holder ON leases (role, identity) WHERE ended_at IS NULL;
