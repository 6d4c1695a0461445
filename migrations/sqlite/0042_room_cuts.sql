-- Rooms of which an operator has ended all that was made before a moment.
CREATE TABLE room_cuts (
    room TEXT    NOT NULL PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT;
