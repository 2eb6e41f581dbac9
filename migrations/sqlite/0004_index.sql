-- What the index needs to know: how precisely it keeps a collection's vectors, and whose changes a snapshot of it
-- has seen.

-- Bits of a value in the index: 24, or 12 for about half of the memory.
ALTER TABLE collection ADD COLUMN bits INTEGER NOT NULL DEFAULT 24;

-- A random id for all changes that one run of the program wrote, with the last change before them. A catalog that
-- was restored from a copy goes on with an id of its own, so changes that the copy lacks are told from those
-- that were given the same numbers later.
CREATE TABLE history (
    number INTEGER PRIMARY KEY,
    since_seq INTEGER NOT NULL,
    id TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO history (since_seq, id) VALUES (0, lower(hex(randomblob(8))));
