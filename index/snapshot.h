/* Layer: index. May include: base.
 *
 * An index in a file, so that a restart need not link it again.
 *
 * Written while the index serves: puts, deletes, links and searches go on (repair of the graph waits). What was
 * acknowledged before the call began is in it; what came while it was written may be or not. So its owner notes
 * the change number that the index had reached before the call (`mark`), and after loading replays all changes behind
 * it; doing one twice is harmless. Written to PATH.tmp, synced, renamed: PATH is the old snapshot or the new one.
 *
 * The format is described byte by byte in index/README.md, "Snapshot". A file is hostile until proven otherwise:
 * every checksum, size, number, link and id is checked before anything is used.
 */
#pragma once

#include "index/index.h"

enum { SNAPSHOT_VERSION = 1, SNAPSHOT_LABEL_MAX = 64 };

/** The owner's marks, stored as they are. */
struct snapshot_mark {
    int64_t seq; /* all changes up to it are in */
    char label
        [SNAPSHOT_LABEL_MAX]; /* what the vectors are, "collection/generation"; NUL-terminated */
};

/**
 * ret_bytes: size of the file. Errors: IO, FULL (no space left), NOMEM; PATH is then
 * what it was. Threads: any; one at a time for one path.
 */
MUST_USE enum err_code index_save(struct index *ix, const char *path,
    const struct snapshot_mark *mark, size_t *ret_bytes, struct err *e);

/**
 * An index from a file. o: what the caller would have made it with; dim, metric, bits, m and seed must be those of the
 * file (ef_construction and ef_search are taken from o).
 * map  false: read into memory. true: the vectors' blocks are mapped, privately: they are read when first
 *      touched, and the file must stay as it is (replacing it by rename is fine)
 * Errors: NOT_FOUND (no such file), CORRUPT (damaged, hostile, of another version or other options: the message says
 * what), IO, NOMEM.
 */
MUST_USE enum err_code index_load(const char *path, const struct index_options *o, bool map,
    struct index **ret_ix, struct snapshot_mark *ret_mark, struct err *e);
/** index_load from bytes in memory, which are not kept; for tests and fuzzing. */
MUST_USE enum err_code index_load_bytes(const void *p, size_t n, const struct index_options *o,
    struct index **ret_ix, struct snapshot_mark *ret_mark, struct err *e);
