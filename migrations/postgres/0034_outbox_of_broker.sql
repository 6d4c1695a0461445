-- Whose log takes which lines next.
CREATE INDEX IF NOT EXISTS outbox_of_broker ON outbox (broker, number);
