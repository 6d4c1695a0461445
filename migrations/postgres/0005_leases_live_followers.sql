-- Who follows a lease.
CREATE INDEX IF NOT EXISTS leases_live_followers ON leases (replaces) WHERE ended_at IS NULL AND replaces IS NOT NULL;
