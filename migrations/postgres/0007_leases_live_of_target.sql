-- The reconciler's walk over a target.
CREATE INDEX IF NOT EXISTS leases_live_of_target ON leases (target, id) WHERE ended_at IS NULL;
