-- What is to be purged.
CREATE INDEX token_withdrawals_over ON token_withdrawals (ends_at);
