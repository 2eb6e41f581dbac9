-- Learning: generations beside the one that serves, versions of a collection's model, the runs that
-- made them, feedback.

-- generation.state: 1 serves, 2 being built, 3 retired, 4 being removed.
-- seq: the changes up to this number are in it (in one that does not serve).
ALTER TABLE generation ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX generation_version ON generation (collection_id, model_version)
    WHERE state <> 4;

-- Version 1 is the base model. state: enum version_state of catalog/learning.h.
CREATE TABLE model_version (
    collection_id INTEGER NOT NULL REFERENCES collection (id),
    version INTEGER NOT NULL,
    parent_version INTEGER NOT NULL, -- 0: none
    run_id INTEGER NOT NULL, -- 0: none
    state INTEGER NOT NULL,
    base_model TEXT NOT NULL,
    data_hash TEXT NOT NULL,
    weights_hash TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    served_ms INTEGER NOT NULL, -- 0: never
    PRIMARY KEY (collection_id, version)
) STRICT, WITHOUT ROWID;
INSERT INTO model_version (collection_id, version, parent_version, run_id, state, base_model,
        data_hash, weights_hash, created_ms, served_ms)
    SELECT c.id, g.model_version, 0, 0, 1, g.model_name, '', '', c.created_ms, c.created_ms
    FROM collection AS c JOIN generation AS g ON g.id = c.serving_generation_id
    WHERE g.model_version > 0 AND c.deleted = 0;

-- Outlives its collection, as a record. kind, status, promote: enums of catalog/learning.h.
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL,
    collection TEXT NOT NULL, -- its name
    kind INTEGER NOT NULL,
    status INTEGER NOT NULL,
    objective TEXT NOT NULL,
    pairs_anchor TEXT NOT NULL,
    pairs_positive TEXT NOT NULL,
    labels TEXT NOT NULL,
    max_seconds REAL NOT NULL,
    max_steps INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    promote INTEGER NOT NULL,
    from_version INTEGER NOT NULL,
    to_version INTEGER NOT NULL,
    step INTEGER NOT NULL DEFAULT 0,
    steps INTEGER NOT NULL DEFAULT 0,
    loss REAL DEFAULT 0, -- NULL: not a number
    decision TEXT NOT NULL DEFAULT '',
    error_code TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    data_hash TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    started_ms INTEGER NOT NULL DEFAULT 0,
    finished_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX run_collection ON run (collection_id, id);
-- A collection has one run at a time: statuses below 4 are not final.
CREATE UNIQUE INDEX run_open ON run (collection_id) WHERE status < 4;

CREATE TABLE run_metric (
    run_id INTEGER NOT NULL REFERENCES run (id),
    name TEXT NOT NULL,
    value REAL, -- NULL: not a number
    PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

-- A query (its text, or an item's slot) and an item; signal: enum feedback_signal.
CREATE TABLE feedback (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL,
    query_slot INTEGER NOT NULL, -- -1: query_text is the query
    slot INTEGER NOT NULL,
    signal INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    query_text TEXT NOT NULL -- '' with a query_slot
) STRICT;
CREATE UNIQUE INDEX feedback_once
    ON feedback (collection_id, slot, query_slot, query_text, signal);
-- Page by page and counted, by the table's own key.
CREATE INDEX feedback_collection ON feedback (collection_id);
CREATE INDEX feedback_query_slot ON feedback (collection_id, query_slot) WHERE query_slot >= 0;
