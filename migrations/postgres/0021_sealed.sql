-- Secrets that must be kept, sealed: the text is worthless without the key of that id and outside of this very row.
CREATE TABLE IF NOT EXISTS sealed (
    kind       text    NOT NULL,                       -- such as admin_password
    name       text    NOT NULL,                       -- such as the target's name
    generation bigint  NOT NULL,                       -- counts up; an older one put back is refused
    state      text    NOT NULL CHECK (state IN ('next', 'current', 'previous')),
    key_id     text    NOT NULL,                       -- which key seals it
    blob       text    NOT NULL,                       -- base64
    made_at    bigint  NOT NULL,
    PRIMARY KEY (kind, name, generation)
);
