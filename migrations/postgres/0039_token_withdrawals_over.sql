-- What is to be purged.
CREATE INDEX IF NOT EXISTS token_withdrawals_over ON token_withdrawals (ends_at);
