-- Targets in which nothing is ended until an operator decides: accounts newer than anything this store had recorded were
-- found there, so it is an older copy of itself.
CREATE TABLE holds (
    target TEXT    NOT NULL PRIMARY KEY,
    newest TEXT                                        -- the newest lease the store knew then; null: none
) STRICT;
