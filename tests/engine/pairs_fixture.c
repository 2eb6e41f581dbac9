#include "tests/engine/pairs_fixture.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/text/fold.h"
#include "engine/hash.h"

#include <stdio.h>
#include <string.h>

struct pairs_fixture fx;
static int next_key;

void fx_setup(void)
{
    static const struct pairs_request defaults = PAIRS_REQUEST_DEFAULTS;
    struct err e = ERR_INIT;
    char path[TMPDIR_PATH_BYTES];
    tmpdir_make(&fx.dir);
    tmpdir_file(&fx.dir, "catalog.db", path);
    ck_assert_ok(hash_start(&e), &e);
    ck_assert_ok(catalog_open(path, &fx.catalog, &e), &e);
    fx.arena = arena_new(1 << 16, 0);
    rng_init(&fx.rng, 3);
    next_key = 0;
    fx.col = (struct catalog_collection){ .name = STR("c"),
        .modality = MODALITY_TEXT,
        .metric = METRIC_COSINE,
        .m = 16,
        .ef_construction = 100,
        .ef_search = 64,
        .serving = { .model_name = STR("m"), .model_version = 1, .dimensions = 1 } };
    ck_assert_ok(catalog_collection_create(fx.catalog, &fx.col, &e), &e);
    fx.rq = defaults;
    fx.rq.catalog = fx.catalog;
    fx.rq.col = &fx.col;
}

void fx_teardown(void)
{
    catalog_close(fx.catalog);
    arena_free(fx.arena);
    tmpdir_remove(&fx.dir);
}

void fx_begin(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(catalog_begin(fx.catalog, &e), &e);
}

void fx_commit(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(catalog_commit(fx.catalog, &e), &e);
    arena_clear(fx.arena);
}

uint32_t fx_put(const char *text, const char *metadata)
{
    static const float vector[1] = { 1 };
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    char key[16];
    (void)snprintf(key, sizeof key, "k%d", next_key++);
    struct catalog_put p = { .key = str_from(key),
        .text = str_from(text),
        .metadata = str_from(metadata),
        .vector = vector };
    hash_content(p.text.p, p.text.n, p.content_hash);
    hash_content(p.metadata.p, p.metadata.n, p.metadata_hash);
    ck_assert_ok(catalog_item_put(fx.catalog, &fx.col, &fx.col.serving, &p, fx.arena, &r, &e), &e);
    return r.slot;
}

void fx_put_books(size_t first, size_t n)
{
    fx_begin();
    for (size_t i = first; i < first + n; i++) {
        char text[80], metadata[80];
        (void)snprintf(text, sizeof text, "Text number %zu of the books.", i);
        (void)snprintf(metadata, sizeof metadata, "{\"title\":\"Title %zu\",\"n\":%zu}", i, i);
        fx_put(text, metadata);
    }
    fx_commit();
}

void fx_ask_fields(const char *anchor, const char *positive)
{
    fx.rq.anchor = str_from(anchor);
    fx.rq.positive = str_from(positive);
}

/* ---- the files ---- */

static void table_read(struct fx_table *t, const char *name)
{
    struct err e = ERR_INIT;
    char file[TMPDIR_PATH_BYTES];
    *t = (struct fx_table){ 0 };
    ck_assert_ok(file_read(tmpdir_file(&fx.dir, name, file), 1 << 28, &t->p, &t->bytes, &e), &e);
    size_t lines = 0;
    for (size_t i = 0; i < t->bytes; i++)
        lines += t->p[i] == '\n';
    t->rows = mem_zalloc(lines, sizeof *t->rows);
    if (t->bytes) ck_assert_int_eq(t->p[t->bytes - 1], '\n');
    for (char *at = t->p, *end = t->p + t->bytes; at < end;) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        struct fx_row *row = &t->rows[t->n++];
        for (bool more = true; more;) {
            char *tab = memchr(at, '\t', (size_t)(newline - at)), *stop = tab ? tab : newline;
            ck_assert_uint_lt(row->n, FX_COLUMNS_MAX);
            row->columns[row->n++] = (struct str){ at, (size_t)(stop - at) };
            more = tab != NULL;
            at = stop + 1;
        }
        ck_assert_uint_ge(row->n, 2);
        if (row->columns[0].n) {
            ck_assert_uint_eq(t->n_pairs, t->n - 1); /* distractors come last */
            t->n_pairs++;
        }
    }
}

void fx_files_done(struct fx_files *f)
{
    mem_free(f->train.p);
    mem_free(f->train.rows);
    mem_free(f->heldout.p);
    mem_free(f->heldout.rows);
}

enum err_code fx_write_code(struct pairs_report *ret, struct err *e)
{
    return pairs_write(&fx.rq, fx.dir.path, ret, e);
}

void fx_write_files(struct fx_files *f)
{
    struct err e = ERR_INIT;
    ck_assert_ok(fx_write_code(&f->report, &e), &e);
    table_read(&f->train, "train.tsv");
    table_read(&f->heldout, "heldout.tsv");
    ck_assert_uint_eq(f->report.train, f->train.n);
    ck_assert_uint_eq(f->train.n, f->train.n_pairs);
    ck_assert_uint_eq(f->report.heldout, f->heldout.n_pairs);
    ck_assert_uint_eq(f->report.distractors, f->heldout.n - f->heldout.n_pairs);
    char file[TMPDIR_PATH_BYTES];
    ck_assert(!file_exists(tmpdir_file(&fx.dir, "train.tsv.tmp", file)));
    ck_assert(!file_exists(tmpdir_file(&fx.dir, "heldout.tsv.tmp", file)));
}

bool fx_same_bytes(const struct fx_table *a, const struct fx_table *b)
{
    return str_eq((struct str){ a->p, a->bytes }, (struct str){ b->p, b->bytes });
}

/* ---- sets of folded texts ---- */

uint64_t fx_folded(struct str text)
{
    static struct buf b;
    struct err e = ERR_INIT;
    b.n = 0;
    ck_assert_ok(text_fold(text, &b, &e), &e);
    ck_assert_uint_gt(b.n, 0);
    return hash_bytes(b.p, b.n, 5);
}

bool fx_has(const struct u64_map *m, uint64_t key)
{
    uint32_t v;
    return u64_map_get(m, key, &v);
}

bool fx_add(struct u64_map *m, uint64_t key)
{
    bool was = fx_has(m, key);
    ck_assert_ok(u64_map_set(m, key, 0));
    return !was;
}

uint64_t *fx_column_folded(const struct fx_table *t, size_t column)
{
    uint64_t *ret = mem_zalloc(t->n, sizeof *ret);
    for (size_t i = 0; i < t->n; i++)
        if (t->rows[i].columns[column].n) ret[i] = fx_folded(t->rows[i].columns[column]);
    return ret;
}

/* Texts of the pairs to judge by. */
static void heldout_texts(const struct fx_files *f, struct u64_map *ret)
{
    u64_map_init(ret);
    for (size_t i = 0; i < f->heldout.n_pairs; i++)
        for (size_t k = 0; k < 2; k++)
            fx_add(ret, fx_folded(f->heldout.rows[i].columns[k]));
}

void fx_check_disjoint(const struct fx_files *train, const struct fx_files *heldout)
{
    struct u64_map texts;
    heldout_texts(heldout, &texts);
    for (size_t i = 0; i < train->train.n; i++) {
        const struct fx_row *row = &train->train.rows[i];
        for (size_t k = 0; k < row->n; k++)
            if (fx_has(&texts, fx_folded(row->columns[k])))
                ck_abort_msg("held out and learned from: %.*s", STR_ARG(row->columns[k]));
    }
    u64_map_done(&texts);
}

void fx_check_files(const struct fx_files *f, bool documents_once)
{
    struct u64_map queries, documents, lines;
    u64_map_init(&queries);
    u64_map_init(&documents);
    u64_map_init(&lines);
    fx_check_disjoint(f, f);
    for (size_t i = 0; i < f->heldout.n; i++) {
        const struct fx_row *row = &f->heldout.rows[i];
        ck_assert_uint_eq(row->n, 2);
        bool pair = i < f->heldout.n_pairs;
        if (pair) ck_assert_msg(fx_add(&queries, fx_folded(row->columns[0])), "a query twice");
        bool fresh = fx_add(&documents, fx_folded(row->columns[1]));
        if (documents_once || !pair)
            ck_assert_msg(fresh, "a document twice: %.*s", STR_ARG(row->columns[1]));
    }
    for (size_t i = 0; i < f->heldout.n_pairs; i++)
        ck_assert(!fx_has(&documents, fx_folded(f->heldout.rows[i].columns[0])));
    for (size_t i = 0; i < f->train.n; i++) {
        const struct fx_row *row = &f->train.rows[i];
        uint64_t pair[2] = { fx_folded(row->columns[0]), fx_folded(row->columns[1]) };
        ck_assert(pair[0] != pair[1]);
        ck_assert_msg(fx_add(&lines, hash_bytes(pair, sizeof pair, 0)), "a pair twice");
    }
    u64_map_done(&queries);
    u64_map_done(&documents);
    u64_map_done(&lines);
}

/* ---- collections at random ---- */

/* Texts of a small vocabulary, so that everything occurs several times, in several spellings, and on both
 * sides. */
static void random_text(char ret[64], size_t vocabulary)
{
    static const char *const forms[][2] = { { "no ", " of it" }, { "No. ", ", of it!" },
        { " NO  ", " OF IT" }, { "n\xC3\xB3 ", " of\nit" } };
    const char *const *form = forms[rng_below(&fx.rng, 4)];
    (void)snprintf(ret, 64, "%s%zu%s", form[0], (size_t)rng_below(&fx.rng, vocabulary), form[1]);
}

static void json_of(const char *text, char ret[80])
{
    size_t n = 0;
    for (; *text; text++)
        ret[n++] = *text < ' ' && *text > 0 ? ' ' : *text;
    ret[n] = '\0';
}

void fx_put_random(size_t n, size_t vocabulary)
{
    fx_begin();
    for (size_t i = 0; i < n; i++) {
        char text[64], value[64], other[64], a[80], b[80], metadata[256];
        random_text(text, vocabulary);
        random_text(value, vocabulary);
        random_text(other, vocabulary);
        json_of(value, a);
        json_of(other, b);
        bool list = rng_below(&fx.rng, 4) == 0;
        (void)snprintf(metadata, sizeof metadata,
            list ? "{\"t\":[\"%s\",\"%s\"],\"l\":%d}" : "{\"t\":\"%s\",\"x\":\"%s\",\"l\":[%d]}", a,
            b, (int)rng_below(&fx.rng, vocabulary / 8));
        fx_put(rng_below(&fx.rng, 20) ? text : NULL, metadata);
    }
    fx_commit();
}

void fx_check_growing(void (*grow)(void))
{
    FX_FILES first, second, third;
    fx_write_files(&first);
    grow();
    fx_write_files(&second);
    grow();
    fx.rq.seed = 99;
    fx_write_files(&third);
    ck_assert_uint_gt(second.train.n, first.train.n);
    fx_check_disjoint(&second, &first);
    fx_check_disjoint(&third, &first);
    fx_check_disjoint(&third, &second);
}
