-- Which order is next; those that are finished are kept for a while.
CREATE INDEX orders_unfinished ON orders (ordered, id) WHERE finished_at IS NULL;
