-- Ends that are told in a finite space of a target, such as the policies of one role of a cloud.
CREATE TABLE IF NOT EXISTS room_places (
    lease    text    NOT NULL PRIMARY KEY,
    room     text    NOT NULL,
    identity text    NOT NULL,
    account  text    NOT NULL,
    of_share bigint  NOT NULL,                         -- 1: its identity's own share of the room is used by it
    until_at bigint  NOT NULL,                         -- by then it has ended by itself
    cut_at   bigint                                    -- told by ending all of before
);
