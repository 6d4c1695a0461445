-- What is to be purged.
CREATE INDEX leases_ended ON leases (ended_at) WHERE ended_at IS NOT NULL;
