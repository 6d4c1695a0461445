-- Orders that are to be purged.
CREATE INDEX IF NOT EXISTS orders_finished ON orders (finished_at) WHERE finished_at IS NOT NULL;
