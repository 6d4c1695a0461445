-- Whose log takes which lines next.
CREATE INDEX outbox_of_broker ON outbox (broker, number);
