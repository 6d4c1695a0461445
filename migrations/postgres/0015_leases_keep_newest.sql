-- The newest lease ever recorded outlives its row: a younger account in a target then proves that the store is an old copy.
-- Here the statement that purges raises the mark itself.
SELECT 1;
