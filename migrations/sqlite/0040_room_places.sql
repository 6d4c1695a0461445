-- Ends that are told in a finite space of a target, such as the policies of one role of a cloud.
CREATE TABLE room_places (
    lease    TEXT    NOT NULL PRIMARY KEY,
    room     TEXT    NOT NULL,
    identity TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    of_share INTEGER NOT NULL,                         -- 1: its identity's own share of the room is used by it
    until_at INTEGER NOT NULL,                         -- by then it has ended by itself
    cut_at   INTEGER                                   -- told by ending all of before
) STRICT;
