-- Targets in which nothing is ended until an operator decides: accounts newer than anything this store had recorded were
-- found there, so it is an older copy of itself.
CREATE TABLE IF NOT EXISTS holds (
    target text    NOT NULL PRIMARY KEY,
    newest text                                        -- the newest lease the store knew then; null: none
);
