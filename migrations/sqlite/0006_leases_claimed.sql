-- What is claimed just now: a few rows.
CREATE INDEX leases_claimed ON leases (claimed_until) WHERE claimed_until > 0;
