-- The newest lease ever recorded outlives its row: a younger account in a target then proves that the store is an old copy.
CREATE TRIGGER leases_keep_newest AFTER DELETE ON leases
BEGIN
    UPDATE store SET newest_lease = OLD.id WHERE newest_lease IS NULL OR newest_lease < OLD.id;
END;
