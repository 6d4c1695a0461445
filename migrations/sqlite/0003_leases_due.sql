-- What is due, by target; those that were tried in vain apart, so that they delay nobody.
-- (ended_at is in it, always null, because SQLite else looks into the row for it.)
CREATE INDEX leases_due ON leases (target, tried, wake_at, ended_at) WHERE ended_at IS NULL;
