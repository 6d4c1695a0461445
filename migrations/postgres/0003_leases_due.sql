-- What is due, by target; those that were tried in vain apart, so that they delay nobody.
CREATE INDEX IF NOT EXISTS leases_due ON leases (target, tried, wake_at) WHERE ended_at IS NULL;
