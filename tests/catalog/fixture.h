/* Layer: tests. May include: libcheck, base, catalog.
 *
 * A catalog in a temporary folder with one collection: "things", four dimensions, fields year
 * (integer), tags (string) and a.b (number). Functions fail the test when the catalog does, unless
 * they return a code.
 */
#pragma once

#include "catalog/sqlite_internal.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

enum { FIXTURE_DIM = 4, FIXTURE_FIELDS = 3 };

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct catalog *c;
    struct arena *a;
    struct catalog_collection col;
};

void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);
/** Close and open again; f->col stays. */
void fixture_reopen(struct fixture *f);
/** The row of another collection as create wants it. */
struct catalog_collection fixture_collection(const char *name);

/** Hash of a text, in place of the engine's. */
void fixture_hash(struct str text, unsigned char ret[CATALOG_HASH_BYTES]);
/** A put of key, text and metadata with its values extracted; vector [FIXTURE_DIM] or NULL. */
enum err_code fixture_put_code(struct fixture *f, const struct catalog_collection *col,
    const char *key, const char *text, const char *metadata, const float *vector,
    struct catalog_put_result *ret, struct err *e);
/** In its own transaction. The vector has the value v everywhere; NAN: none. */
struct catalog_put_result fixture_put(
    struct fixture *f, const char *key, const char *text, const char *metadata, float v);
enum err_code fixture_delete_code(
    struct fixture *f, const char *key, struct catalog_put_result *ret);
/** The only integer of a query on the writer's connection. */
int64_t fixture_query(struct fixture *f, const char *sql);
