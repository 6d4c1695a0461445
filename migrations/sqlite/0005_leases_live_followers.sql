-- Who follows a lease.
CREATE INDEX leases_live_followers ON leases (replaces) WHERE ended_at IS NULL AND replaces IS NOT NULL;
