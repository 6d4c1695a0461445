-- What other brokers have ended since a while ago.
CREATE INDEX IF NOT EXISTS token_withdrawals_told ON token_withdrawals (told_at);
