#include "tests/catalog/fixture.h"

#include "base/map.h"

#include <math.h>

static const struct catalog_field fields[FIXTURE_FIELDS] = {
    { { "year", 4 }, FIELD_INTEGER },
    { { "tags", 4 }, FIELD_STRING },
    { { "a.b", 3 }, FIELD_NUMBER },
};

struct catalog_collection fixture_collection(const char *name)
{
    return (struct catalog_collection){ .name = str_from(name),
        .modality = MODALITY_TEXT,
        .metric = METRIC_COSINE,
        .m = 16,
        .ef_construction = 200,
        .ef_search = 64,
        .fields = fields,
        .n_fields = FIXTURE_FIELDS,
        .serving = {
            .model_name = STR("text-small"), .model_version = 1, .dimensions = FIXTURE_DIM } };
}

void fixture_open(struct fixture *f)
{
    struct err e = ERR_INIT;
    *f = (struct fixture){ .col = fixture_collection("things") };
    tmpdir_make(&f->dir);
    (void)tmpdir_file(&f->dir, "catalog.db", f->path);
    f->a = arena_new(4096, 0);
    ck_assert_ptr_nonnull(f->a);
    ck_assert_ok(catalog_open(f->path, &f->c, &e), &e);
    ck_assert_ok(catalog_collection_create(f->c, &f->col, &e), &e);
}

void fixture_close(struct fixture *f)
{
    catalog_close(f->c);
    arena_free(f->a);
    tmpdir_remove(&f->dir);
}

void fixture_reopen(struct fixture *f)
{
    struct err e = ERR_INIT;
    catalog_close(f->c);
    f->c = NULL;
    ck_assert_ok(catalog_open(f->path, &f->c, &e), &e);
}

void fixture_hash(struct str text, unsigned char ret[CATALOG_HASH_BYTES])
{
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t h = hash_bytes(text.p, text.n, i + 1);
        memcpy(ret + 8 * i, &h, 8);
    }
}

enum err_code fixture_put_code(struct fixture *f, const struct catalog_collection *col,
    const char *key, const char *text, const char *metadata, const float *vector,
    struct catalog_put_result *ret, struct err *e)
{
    struct catalog_put put = { .key = str_from(key),
        .text = str_from(text),
        .metadata = str_from(metadata),
        .vector = vector };
    struct field_value *values = NULL;
    fixture_hash(put.text, put.content_hash);
    fixture_hash(put.metadata, put.metadata_hash);
    TRY(catalog_fields_extract(f->c, col, put.metadata, f->a, &values, &put.n_values, e));
    put.values = values;
    return catalog_item_put(f->c, col, &col->serving, &put, f->a, ret, e);
}

struct catalog_put_result fixture_put(
    struct fixture *f, const char *key, const char *text, const char *metadata, float v)
{
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    const float vector[FIXTURE_DIM] = { v, v, v, v };
    ck_assert_ok(catalog_begin(f->c, &e), &e);
    ck_assert_ok(
        fixture_put_code(f, &f->col, key, text, metadata, isnan(v) ? NULL : vector, &r, &e), &e);
    ck_assert_ok(catalog_commit(f->c, &e), &e);
    return r;
}

enum err_code fixture_delete_code(
    struct fixture *f, const char *key, struct catalog_put_result *ret)
{
    struct err e = ERR_INIT;
    ck_assert_ok(catalog_begin(f->c, &e), &e);
    enum err_code code = catalog_item_delete(f->c, &f->col, str_from(key), f->a, ret, &e);
    ck_assert_ok(catalog_commit(f->c, &e), &e);
    return code;
}

int64_t fixture_run(struct fixture *f)
{
    struct err e = ERR_INIT;
    struct catalog_run run = {
        .collection_id = f->col.id, .kind = RUN_TRAIN, .objective = STR("auto"), .from_version = 1
    };
    ck_assert_ok(catalog_run_create(f->c, &run, &e), &e);
    return run.id;
}

void fixture_run_end(struct fixture *f, int64_t run_id, enum run_status status)
{
    struct err e = ERR_INIT;
    struct catalog_run run;
    ck_assert_ok(catalog_run_get(f->c, run_id, f->a, &run, &e), &e);
    run.status = status;
    ck_assert_ok(catalog_run_update(f->c, &run, &e), &e);
}

int64_t fixture_version(struct fixture *f)
{
    struct err e = ERR_INIT;
    struct catalog_version v = { .parent_version = 1,
        .run_id = fixture_run(f),
        .base_model = STR("text-small"),
        .data_hash = STR("d1"),
        .weights_hash = STR("a2") };
    ck_assert_ok(catalog_version_create(f->c, &f->col, &v, &e), &e);
    fixture_run_end(f, v.run_id, RUN_REJECTED);
    return v.version;
}

struct catalog_generation fixture_generation(struct fixture *f)
{
    struct err e = ERR_INIT;
    struct catalog_generation gen = { .model_name = STR("things/text-small"),
        .model_version = fixture_version(f),
        .dimensions = FIXTURE_DIM };
    ck_assert_ok(catalog_generation_create(f->c, &f->col, &gen, &e), &e);
    return gen;
}

void fixture_catch_up(struct fixture *f, struct catalog_generation *gen, float v)
{
    const float vector[FIXTURE_DIM] = { v, v, v, v };
    for (;;) {
        struct err e = ERR_INIT;
        struct catalog_change *rows;
        struct catalog_vector_put puts[3];
        size_t n, n_puts = 0;
        ck_assert_ok(catalog_changes_page(f->c, &f->col, gen->seq, 3, f->a, &rows, &n, &e), &e);
        if (n == 0) return;
        for (size_t i = 0; i < n; i++)
            if (!rows[i].deleted)
                puts[n_puts++] =
                    (struct catalog_vector_put){ rows[i].slot, rows[i].seq, vector, false };
        ck_assert_ok(
            catalog_generation_put(f->c, &f->col, gen, puts, n_puts, rows[n - 1].seq, &e), &e);
        for (size_t i = 0; i < n_puts; i++)
            ck_assert(puts[i].written);
        gen->seq = rows[n - 1].seq;
    }
}

float fixture_vector(struct fixture *f, const struct catalog_generation *gen, const char *key)
{
    struct err e = ERR_INIT;
    struct catalog_item item;
    ck_assert_ok(
        catalog_item_get(f->c, &f->col, gen, str_from(key), ITEM_WITH_VECTOR, f->a, &item, &e), &e);
    return item.vector ? item.vector[FIXTURE_DIM - 1] : (float)NAN;
}

int64_t fixture_query(struct fixture *f, const char *sql)
{
    AUTO_STMT_ONCE sqlite3_stmt *s = NULL;
    ck_assert_int_eq(sqlite3_prepare_v2(f->c->writer.db, sql, -1, &s, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    return sqlite3_column_int64(s, 0);
}
