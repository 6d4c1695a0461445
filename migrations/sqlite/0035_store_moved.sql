-- When what is in here was moved to another store: no broker works on this one any more. Null: it was not.
ALTER TABLE store ADD COLUMN moved_away_at INTEGER;
