-- The line is written by the very statement that moves the lease: no path can forget it.
CREATE TRIGGER leases_to_outbox AFTER UPDATE OF state ON leases
WHEN NEW.state <> OLD.state AND NEW.state IN ('revoking', 'revoked', 'expired')
BEGIN
    INSERT INTO outbox (at, change) VALUES (NEW.moved_at, json_object(
        'lease', NEW.id, 'role', NEW.role, 'target', NEW.target, 'identity', NEW.identity, 'account', NEW.account,
        'state', NEW.state, 'ended_by', NEW.ended_by, 'attempts', NEW.attempts, 'note', NEW.last_error));
END;
