-- What is written into a room is made of all its places.
CREATE INDEX room_places_of_room ON room_places (room);
