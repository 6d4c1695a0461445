-- Secrets that must be kept, sealed: the text is worthless without the key of that id and outside of this very row.
CREATE TABLE sealed (
    kind       TEXT    NOT NULL,                       -- such as admin_password
    name       TEXT    NOT NULL,                       -- such as the target's name
    generation INTEGER NOT NULL,                       -- counts up; an older one put back is refused
    state      TEXT    NOT NULL CHECK (state IN ('next', 'current', 'previous')),
    key_id     TEXT    NOT NULL,                       -- which key seals it
    blob       TEXT    NOT NULL,                       -- base64
    made_at    INTEGER NOT NULL,
    PRIMARY KEY (kind, name, generation)
) STRICT;
