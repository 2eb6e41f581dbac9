/* Layer: tests. May include: libcheck, engine and below.
 *
 * A collection in a temporary folder, and the files of its pairs, read back and checked.
 */
#pragma once

#include "base/arena.h"
#include "base/map.h"
#include "base/rng.h"
#include "engine/pairs.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

struct pairs_fixture {
    struct tmpdir dir; /* of the catalog and of the files */
    struct catalog *catalog;
    struct catalog_collection col;
    struct arena *arena;
    struct pairs_request rq; /* what a test changes before it writes */
    struct rng rng;
};
extern struct pairs_fixture fx;

/** For tcase_add_checked_fixture. */
void fx_setup(void);
void fx_teardown(void);

/* ---- items ---- */

void fx_begin(void);
void fx_commit(void);
/** Between begin and commit; the slot. text NULL: none. */
uint32_t fx_put(const char *text, const char *metadata);
/** n items of a title and a text, numbered from `first`. */
void fx_put_books(size_t first, size_t n);
/** n items of texts and fields t (a text or two) and l (a label), of a small vocabulary. */
void fx_put_random(size_t n, size_t vocabulary);
void fx_ask_fields(const char *anchor, const char *positive);

/* ---- files ---- */

enum { FX_COLUMNS_MAX = 6 };
struct fx_row {
    struct str columns[FX_COLUMNS_MAX];
    size_t n;
};
struct fx_table {
    char *p;
    size_t bytes;
    struct fx_row *rows;
    size_t n, n_pairs; /* rows; those with a query, of heldout.tsv */
};
struct fx_files {
    struct fx_table train, heldout;
    struct pairs_report report;
};
void fx_files_done(struct fx_files *f);
#define FX_FILES __attribute__((cleanup(fx_files_done))) struct fx_files

enum err_code fx_write_code(struct pairs_report *ret, struct err *e);
/** Write and read back; the report must say what is there. */
void fx_write_files(struct fx_files *f);
bool fx_same_bytes(const struct fx_table *a, const struct fx_table *b);

/* ---- checks ---- */

/** Equal for texts that are the same. */
uint64_t fx_folded(struct str text);
/** Of one column of all rows; mem_free. */
uint64_t *fx_column_folded(const struct fx_table *t, size_t column);
bool fx_has(const struct u64_map *m, uint64_t key);
/** false: it was there. */
bool fx_add(struct u64_map *m, uint64_t key);
/** No text of the pairs to judge by is learned from. */
void fx_check_disjoint(const struct fx_files *train, const struct fx_files *heldout);
/** What holds for every source. */
void fx_check_files(const struct fx_files *f, bool documents_once);
/** Write, grow and write again, twice: what was held out once is never learned from later. */
void fx_check_growing(void (*grow)(void));
