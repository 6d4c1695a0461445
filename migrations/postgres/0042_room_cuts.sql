-- Rooms of which an operator has ended all that was made before a moment.
CREATE TABLE IF NOT EXISTS room_cuts (
    room text    NOT NULL PRIMARY KEY,
    at   bigint  NOT NULL
);
