-- Catalog, first version.
--
-- Items, vectors and field values are addressed by one 64-bit integer, the owner's id in the upper
-- half and the slot in the lower: (collection_id << 32) | slot for items and their field values,
-- (generation_id << 32) | slot for vectors. As INTEGER PRIMARY KEY it is the table's own B-tree
-- key: rows lie in slot order, a new slot is appended at the end, and no second index is needed.
-- Collection and generation ids are never given twice (AUTOINCREMENT), so a snapshot of a
-- collection that was deleted can never be taken for that of another one.

PRAGMA application_id = 0x4b4e4452; -- "KNDR"

CREATE TABLE schema_migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    applied_at_ms INTEGER NOT NULL
) STRICT;

-- One row. seq: number of the last change; grows only.
CREATE TABLE catalog_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO catalog_state (id, seq) VALUES (1, 0);

-- modality, metric: the enums of catalog/catalog.h. deleted: its rows are being removed.
CREATE TABLE collection (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    modality INTEGER NOT NULL,
    metric INTEGER NOT NULL,
    dimensions INTEGER NOT NULL,
    m INTEGER NOT NULL,
    ef_construction INTEGER NOT NULL,
    ef_search INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    serving_generation_id INTEGER,
    next_slot INTEGER NOT NULL DEFAULT 0, -- slots below were given, and never are again
    n_items INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX collection_name ON collection (name) WHERE deleted = 0;

-- Fields that filters know. position: what item_field.field says.
CREATE TABLE collection_field (
    collection_id INTEGER NOT NULL REFERENCES collection (id),
    position INTEGER NOT NULL,
    path TEXT NOT NULL,
    type INTEGER NOT NULL,
    PRIMARY KEY (collection_id, position)
) STRICT, WITHOUT ROWID;

-- A set of vectors made by one model version. state: 1 complete.
CREATE TABLE generation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collection (id),
    model_name TEXT NOT NULL,
    model_version INTEGER NOT NULL,
    dimensions INTEGER NOT NULL,
    state INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX generation_collection ON generation (collection_id);

-- The long columns come last: what stands before them is read without their overflow pages.
CREATE TABLE item (
    id INTEGER PRIMARY KEY, -- (collection_id << 32) | slot
    collection_id INTEGER GENERATED ALWAYS AS (id >> 32) VIRTUAL,
    key TEXT NOT NULL,
    seq INTEGER NOT NULL, -- change number of the last write
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    content_hash BLOB NOT NULL,
    metadata_hash BLOB NOT NULL,
    metadata TEXT NOT NULL,
    text TEXT
) STRICT;
CREATE UNIQUE INDEX item_key ON item (collection_id, key);
CREATE INDEX item_seq ON item (collection_id, seq);

-- data: dimensions x IEEE binary32, little-endian.
CREATE TABLE vector (
    id INTEGER PRIMARY KEY, -- (generation_id << 32) | slot
    data BLOB NOT NULL
) STRICT;

-- Values at the declared fields' paths, one row a list element. ordinal only tells the rows of an
-- item apart. type: enum field_value_type; value is NULL for null and for objects.
CREATE TABLE item_field (
    item_id INTEGER NOT NULL, -- item.id
    ordinal INTEGER NOT NULL,
    field INTEGER NOT NULL,
    type INTEGER NOT NULL,
    value ANY,
    PRIMARY KEY (item_id, ordinal)
) STRICT, WITHOUT ROWID;

-- Deleted slots, so that an index can follow by change number.
CREATE TABLE tombstone (
    collection_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    PRIMARY KEY (collection_id, seq)
) STRICT, WITHOUT ROWID;
