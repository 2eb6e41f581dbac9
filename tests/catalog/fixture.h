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
/* Learning. */

/** A queued run of the collection. */
int64_t fixture_run(struct fixture *f);
void fixture_run_end(struct fixture *f, int64_t run_id, enum run_status status);
/** A new candidate version, child of version 1, of a run that was rejected. */
int64_t fixture_version(struct fixture *f);
/** A new generation of a new candidate; it knows nothing yet. */
struct catalog_generation fixture_generation(struct fixture *f);
/** Put vectors with the value v everywhere for all that changed, in small pages; gen->seq follows. */
void fixture_catch_up(struct fixture *f, struct catalog_generation *gen, float v);
/** Value of the item's vector in a generation; NAN: none. */
float fixture_vector(struct fixture *f, const struct catalog_generation *gen, const char *key);

/** The only integer of a query on the writer's connection. */
int64_t fixture_query(struct fixture *f, const char *sql);
