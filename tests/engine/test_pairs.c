/* Pairs of a collection: what the files hold, and above all what they must not. */
#include "engine/pairs.h"

#include "base/fileio.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "core/text/fold.h"
#include "engine/hash.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a collection ---- */

static struct tmpdir dir;
static char path[TMPDIR_PATH_BYTES];
static struct catalog *catalog;
static struct catalog_collection col;
static struct arena *arena;
static struct pairs_request rq;
static struct rng rng;
static int next_key;

static void setup(void)
{
    static const struct pairs_request defaults = PAIRS_REQUEST_DEFAULTS;
    struct err e = ERR_INIT;
    tmpdir_make(&dir);
    tmpdir_file(&dir, "catalog.db", path);
    ck_assert_ok(hash_start(&e), &e);
    ck_assert_ok(catalog_open(path, &catalog, &e), &e);
    arena = arena_new(1 << 16, 0);
    rng_init(&rng, 3);
    next_key = 0;
    col = (struct catalog_collection){ .name = STR("c"),
        .modality = MODALITY_TEXT,
        .metric = METRIC_COSINE,
        .m = 16,
        .ef_construction = 100,
        .ef_search = 64,
        .serving = { .model_name = STR("m"), .model_version = 1, .dimensions = 1 } };
    ck_assert_ok(catalog_collection_create(catalog, &col, &e), &e);
    rq = defaults;
    rq.catalog = catalog;
    rq.col = &col;
}

static void teardown(void)
{
    catalog_close(catalog);
    arena_free(arena);
    tmpdir_remove(&dir);
}

static void begin(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(catalog_begin(catalog, &e), &e);
}

static void commit(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(catalog_commit(catalog, &e), &e);
    arena_clear(arena);
}

/* Between begin and commit. text NULL: none. */
static uint32_t put(const char *text, const char *metadata)
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
    ck_assert_ok(catalog_item_put(catalog, &col, &col.serving, &p, arena, &r, &e), &e);
    return r.slot;
}

/* n items of a title and a text, numbered from `first`. */
static void put_books(size_t first, size_t n)
{
    begin();
    for (size_t i = first; i < first + n; i++) {
        char text[80], metadata[80];
        (void)snprintf(text, sizeof text, "Text number %zu of the books.", i);
        (void)snprintf(metadata, sizeof metadata, "{\"title\":\"Title %zu\",\"n\":%zu}", i, i);
        put(text, metadata);
    }
    commit();
}

static void ask_fields(const char *anchor, const char *positive)
{
    rq.anchor = str_from(anchor);
    rq.positive = str_from(positive);
}

/* ---- the files ---- */

enum { COLUMNS_MAX = 6 };
struct row {
    struct str columns[COLUMNS_MAX];
    size_t n;
};
struct table {
    char *p;
    size_t bytes;
    struct row *rows;
    size_t n, n_pairs; /* rows; those with a query, of heldout.tsv */
};
struct files {
    struct table train, heldout;
    struct pairs_report report;
};

static void table_read(struct table *t, const char *name)
{
    struct err e = ERR_INIT;
    char file[TMPDIR_PATH_BYTES];
    *t = (struct table){ 0 };
    ck_assert_ok(file_read(tmpdir_file(&dir, name, file), 1 << 28, &t->p, &t->bytes, &e), &e);
    size_t lines = 0;
    for (size_t i = 0; i < t->bytes; i++)
        lines += t->p[i] == '\n';
    t->rows = mem_zalloc(lines, sizeof *t->rows);
    if (t->bytes) ck_assert_int_eq(t->p[t->bytes - 1], '\n');
    for (char *at = t->p, *end = t->p + t->bytes; at < end;) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        struct row *row = &t->rows[t->n++];
        for (bool more = true; more;) {
            char *tab = memchr(at, '\t', (size_t)(newline - at)), *stop = tab ? tab : newline;
            ck_assert_uint_lt(row->n, COLUMNS_MAX);
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

static void files_done(struct files *f)
{
    mem_free(f->train.p);
    mem_free(f->train.rows);
    mem_free(f->heldout.p);
    mem_free(f->heldout.rows);
}
#define FILES __attribute__((cleanup(files_done))) struct files

static enum err_code write_code(struct pairs_report *ret, struct err *e)
{
    return pairs_write(&rq, dir.path, ret, e);
}

static void write_files(struct files *f)
{
    struct err e = ERR_INIT;
    ck_assert_ok(write_code(&f->report, &e), &e);
    table_read(&f->train, "train.tsv");
    table_read(&f->heldout, "heldout.tsv");
    ck_assert_uint_eq(f->report.train, f->train.n);
    ck_assert_uint_eq(f->train.n, f->train.n_pairs);
    ck_assert_uint_eq(f->report.heldout, f->heldout.n_pairs);
    ck_assert_uint_eq(f->report.distractors, f->heldout.n - f->heldout.n_pairs);
    char file[TMPDIR_PATH_BYTES];
    ck_assert(!file_exists(tmpdir_file(&dir, "train.tsv.tmp", file)));
    ck_assert(!file_exists(tmpdir_file(&dir, "heldout.tsv.tmp", file)));
}

static bool same_bytes(const struct table *a, const struct table *b)
{
    return str_eq((struct str){ a->p, a->bytes }, (struct str){ b->p, b->bytes });
}

/* ---- sets of folded texts ---- */

static uint64_t folded(struct str text)
{
    static struct buf b;
    struct err e = ERR_INIT;
    b.n = 0;
    ck_assert_ok(text_fold(text, &b, &e), &e);
    ck_assert_uint_gt(b.n, 0);
    return hash_bytes(b.p, b.n, 5);
}

static bool has(const struct u64_map *m, uint64_t key)
{
    uint32_t v;
    return u64_map_get(m, key, &v);
}

/* false: it was there */
static bool add(struct u64_map *m, uint64_t key)
{
    bool was = has(m, key);
    ck_assert_ok(u64_map_set(m, key, 0));
    return !was;
}

/* Of one column of all rows; mem_free. */
static uint64_t *column_folded(const struct table *t, size_t column)
{
    uint64_t *ret = mem_zalloc(t->n, sizeof *ret);
    for (size_t i = 0; i < t->n; i++)
        if (t->rows[i].columns[column].n) ret[i] = folded(t->rows[i].columns[column]);
    return ret;
}

/* Texts of the pairs to judge by. */
static void heldout_texts(const struct files *f, struct u64_map *ret)
{
    u64_map_init(ret);
    for (size_t i = 0; i < f->heldout.n_pairs; i++)
        for (size_t k = 0; k < 2; k++)
            add(ret, folded(f->heldout.rows[i].columns[k]));
}

static void check_disjoint(const struct files *train, const struct files *heldout)
{
    struct u64_map texts;
    heldout_texts(heldout, &texts);
    for (size_t i = 0; i < train->train.n; i++) {
        const struct row *row = &train->train.rows[i];
        for (size_t k = 0; k < row->n; k++)
            if (has(&texts, folded(row->columns[k])))
                ck_abort_msg("held out and learned from: %.*s", STR_ARG(row->columns[k]));
    }
    u64_map_done(&texts);
}

/* What holds for every source. */
static void check_files(const struct files *f, bool documents_once)
{
    struct u64_map queries, documents, lines;
    u64_map_init(&queries);
    u64_map_init(&documents);
    u64_map_init(&lines);
    check_disjoint(f, f);
    for (size_t i = 0; i < f->heldout.n; i++) {
        const struct row *row = &f->heldout.rows[i];
        ck_assert_uint_eq(row->n, 2);
        bool pair = i < f->heldout.n_pairs;
        if (pair) ck_assert_msg(add(&queries, folded(row->columns[0])), "a query twice");
        bool fresh = add(&documents, folded(row->columns[1]));
        if (documents_once || !pair)
            ck_assert_msg(fresh, "a document twice: %.*s", STR_ARG(row->columns[1]));
    }
    for (size_t i = 0; i < f->heldout.n_pairs; i++)
        ck_assert(!has(&documents, folded(f->heldout.rows[i].columns[0])));
    for (size_t i = 0; i < f->train.n; i++) {
        const struct row *row = &f->train.rows[i];
        uint64_t pair[2] = { folded(row->columns[0]), folded(row->columns[1]) };
        ck_assert(pair[0] != pair[1]);
        ck_assert_msg(add(&lines, hash_bytes(pair, sizeof pair, 0)), "a pair twice");
    }
    u64_map_done(&queries);
    u64_map_done(&documents);
    u64_map_done(&lines);
}

/* ---- fields ---- */

START_TEST(fields_of_items)
{
    FILES f;
    put_books(0, 2000);
    ask_fields("metadata.title", "text");
    write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_FIELDS);
    check_files(&f, true);
    /* A tenth is held out, all else is learned from; the documents are those held out and others. */
    ck_assert(f.report.heldout > 140 && f.report.heldout < 260);
    ck_assert_uint_eq(f.report.train + f.report.heldout, 2000);
    ck_assert_uint_eq(f.report.distractors, f.report.train);
    ck_assert_uint_eq(f.report.shared, 0);
    for (size_t i = 0; i < f.train.n; i++) {
        struct str *c = f.train.rows[i].columns;
        ck_assert_uint_eq(f.train.rows[i].n, 2);
        ck_assert_int_eq(strtol(c[0].p + 6, NULL, 10), strtol(c[1].p + 12, NULL, 10));
    }
}
END_TEST

START_TEST(heldout_and_distractors_are_bounded)
{
    FILES f;
    FILES more;
    put_books(0, 3000);
    ask_fields("metadata.title", "text");
    rq.heldout_max = 60;
    rq.distractors_max = 100;
    write_files(&f);
    check_files(&f, true);
    ck_assert_uint_eq(f.report.heldout, 60);
    ck_assert_uint_eq(f.report.distractors, 100);
    /* Those of the lowest hashes: the first lines of a longer file. */
    rq.heldout_max = 100;
    write_files(&more);
    ck_assert_uint_eq(more.report.heldout, 100);
    for (size_t i = 0; i < 60; i++)
        ck_assert(str_eq(f.heldout.rows[i].columns[1], more.heldout.rows[i].columns[1]));
    /* Distractors are held out as well here, so they are never learned from. */
    struct u64_map train;
    u64_map_init(&train);
    for (size_t i = 0; i < f.train.n; i++)
        add(&train, folded(f.train.rows[i].columns[1]));
    for (size_t i = 60; i < f.heldout.n; i++)
        ck_assert(!has(&train, folded(f.heldout.rows[i].columns[1])));
    u64_map_done(&train);
}
END_TEST

START_TEST(samples_are_even)
{
    FILES f;
    put_books(0, 5000);
    ask_fields("metadata.title", "metadata.n");
    rq.pairs_max = 1000;
    write_files(&f);
    check_files(&f, true);
    ck_assert(f.report.train > 880 && f.report.train <= 1000);
    size_t low = 0;
    for (size_t i = 0; i < f.train.n; i++)
        low += strtol(f.train.rows[i].columns[1].p, NULL, 10) < 2500;
    ck_assert(low > f.train.n * 4 / 10 && low < f.train.n * 6 / 10);
}
END_TEST

START_TEST(lists_give_a_pair_an_element)
{
    FILES f;
    size_t seen = 0;
    begin();
    for (int i = 0; i < 700; i++) {
        char text[64], metadata[400];
        (void)snprintf(text, sizeof text, "Answer %d", i);
        (void)snprintf(metadata, sizeof metadata,
            "{\"a\":{\"q\":[\"q %d a\",\"\",null,\"?!\",{\"x\":1},\"Q, %d A\",\"q %d b\"]}}", i, i,
            i);
        put(text, metadata);
    }
    commit();
    ask_fields("metadata.a.q", "text");
    write_files(&f);
    check_files(&f, true);
    for (size_t i = 0; i < f.train.n; i++)
        seen += f.train.rows[i].columns[0].p[f.train.rows[i].columns[0].n - 1] == 'b';
    ck_assert_uint_eq(f.train.n, 2 * seen);
    ck_assert_uint_eq(f.train.n / 2 + f.heldout.n_pairs, 700);
}
END_TEST

START_TEST(texts_lie_in_one_line)
{
    FILES f;
    size_t seen = 0;
    begin();
    for (int i = 0; i < 700; i++) {
        char text[128], metadata[128];
        (void)snprintf(text, sizeof text, "Zeile\t%d\r\nmit \xC3\xBC und \x01\x7F \xE2\x82\xAC", i);
        (void)snprintf(metadata, sizeof metadata, "{\"t\":\"Titel\\n%d\\t\\u0001x\"}", i);
        put(text, metadata);
    }
    commit();
    ask_fields("metadata.t", "text");
    write_files(&f);
    check_files(&f, true);
    for (size_t i = 0; i < f.train.n; i++) {
        char want[64];
        int n = (int)strtol(f.train.rows[i].columns[0].p + 6, NULL, 10);
        (void)snprintf(want, sizeof want, "Zeile %d  mit \xC3\xBC und    \xE2\x82\xAC", n);
        ck_assert(str_is(f.train.rows[i].columns[1], want));
        (void)snprintf(want, sizeof want, "Titel %d  x", n);
        ck_assert(str_is(f.train.rows[i].columns[0], want));
        seen++;
    }
    ck_assert_uint_gt(seen, 500);
}
END_TEST

START_TEST(texts_are_cut_at_a_character)
{
    FILES f;
    begin();
    for (int i = 0; i < 700; i++) {
        char text[128], metadata[128];
        (void)snprintf(text, sizeof text, "%03d\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC", i);
        (void)snprintf(metadata, sizeof metadata, "{\"t\":\"t %d\"}", i);
        put(text, metadata);
    }
    commit();
    ask_fields("metadata.t", "text");
    rq.text_max = 8;
    write_files(&f);
    check_files(&f, true);
    for (size_t i = 0; i < f.train.n; i++)
        ck_assert_uint_eq(f.train.rows[i].columns[1].n, 6);
}
END_TEST

/* Texts of a small vocabulary, so that everything occurs several times, in several spellings, and on both
 * sides. */
static void random_text(char ret[64], size_t vocabulary)
{
    static const char *const forms[][2] = { { "no ", " of it" }, { "No. ", ", of it!" },
        { " NO  ", " OF IT" }, { "n\xC3\xB3 ", " of\nit" } };
    const char *const *form = forms[rng_below(&rng, 4)];
    (void)snprintf(ret, 64, "%s%zu%s", form[0], (size_t)rng_below(&rng, vocabulary), form[1]);
}

static void json_of(const char *text, char ret[80])
{
    size_t n = 0;
    for (; *text; text++)
        ret[n++] = *text < ' ' && *text > 0 ? ' ' : *text;
    ret[n] = '\0';
}

static void put_random(size_t n, size_t vocabulary)
{
    begin();
    for (size_t i = 0; i < n; i++) {
        char text[64], value[64], other[64], a[80], b[80], metadata[256];
        random_text(text, vocabulary);
        random_text(value, vocabulary);
        random_text(other, vocabulary);
        json_of(value, a);
        json_of(other, b);
        bool list = rng_below(&rng, 4) == 0;
        (void)snprintf(metadata, sizeof metadata,
            list ? "{\"t\":[\"%s\",\"%s\"],\"l\":%d}" : "{\"t\":\"%s\",\"x\":\"%s\",\"l\":[%d]}", a,
            b, (int)rng_below(&rng, vocabulary / 8));
        put(rng_below(&rng, 20) ? text : NULL, metadata);
    }
    commit();
}

/* Answers of every query in the collection; no document but its own may be one. */
static void check_answers(const struct files *f)
{
    struct u64_map answers;
    struct err e = ERR_INIT;
    struct catalog_values *rows;
    size_t n;
    struct str t = STR("t");
    struct catalog_values_query q = { .after = -1,
        .limit = 100000,
        .paths = &t,
        .n_paths = 1,
        .with_text = true,
        .bytes_max = 4000 };
    u64_map_init(&answers);
    ck_assert_ok(catalog_values_page(catalog, &col, &q, arena, &rows, &n, &e), &e);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; rows[i].text.p && k < rows[i].n_values[0]; k++) {
            uint64_t pair[2] = { folded(rows[i].values[0][k]), folded(rows[i].text) };
            add(&answers, hash_bytes(pair, sizeof pair, 0));
        }
    }
    AUTO_FREE uint64_t *queries = column_folded(&f->heldout, 0);
    AUTO_FREE uint64_t *documents = column_folded(&f->heldout, 1);
    size_t right = 0;
    for (size_t i = 0; i < f->heldout.n_pairs; i++) {
        for (size_t k = 0; k < f->heldout.n; k++) {
            uint64_t pair[2] = { queries[i], documents[k] };
            bool answer = has(&answers, hash_bytes(pair, sizeof pair, 0));
            if (answer != (i == k)) ck_abort_msg("document %zu answers query %zu", k, i);
            right += answer;
        }
    }
    ck_assert_uint_eq(right, f->heldout.n_pairs);
    u64_map_done(&answers);
}

START_TEST(random_collections_never_leak)
{
    FILES f;
    rng_init(&rng, (uint64_t)_i + 10);
    /* the more often a text occurs, the harder */
    put_random(3000, 1500 + 500 * (size_t)_i);
    ask_fields("metadata.t", "text");
    write_files(&f);
    ck_assert_uint_gt(f.report.shared, 0);
    check_files(&f, true);
    check_answers(&f);
}
END_TEST

/* What was held out once is never learned from later, whatever is added. */
static void check_growing(void (*grow)(void))
{
    FILES first, second, third;
    write_files(&first);
    grow();
    write_files(&second);
    grow();
    rq.seed = 99;
    write_files(&third);
    ck_assert_uint_gt(second.train.n, first.train.n);
    check_disjoint(&second, &first);
    check_disjoint(&third, &first);
    check_disjoint(&third, &second);
}

static void grow_random(void)
{
    put_random(1500, 3000);
}

START_TEST(growing_collections_never_leak)
{
    rng_init(&rng, (uint64_t)_i + 20);
    put_random(3000, 3000);
    ask_fields("metadata.t", "text");
    check_growing(grow_random);
}
END_TEST

START_TEST(equal_content_gives_equal_bytes)
{
    FILES a, b, c;
    put_random(3000, 2000);
    if (_i == 0) ask_fields("metadata.t", "text");
    if (_i == 1) rq.labels = STR("metadata.l");
    write_files(&a);
    write_files(&b);
    ck_assert(same_bytes(&a.train, &b.train));
    ck_assert(same_bytes(&a.heldout, &b.heldout));
    ck_assert_str_eq(a.report.data_hash, b.report.data_hash);
    ck_assert_uint_eq(strlen(a.report.data_hash), 64);
    /* The seed changes what is drawn, never what is held out. */
    rq.seed = 2;
    write_files(&c);
    ck_assert(same_bytes(&a.heldout, &c.heldout));
    if (_i == 0) ck_assert(same_bytes(&a.train, &c.train));
    if (_i == 1) ck_assert(!same_bytes(&a.train, &c.train));
    ck_assert_int_eq(strcmp(a.report.data_hash, c.report.data_hash) == 0, _i == 0);
}
END_TEST

/* ---- views ---- */

static void put_stories(size_t first, size_t n)
{
    begin();
    for (size_t i = first; i < first + n; i++) {
        char text[200];
        if (i % 3 == 0)
            (void)snprintf(text, sizeof text,
                "Story %zu begins. It goes on for %zu days. All is well.", i, i * 7);
        else if (i % 3 == 1)
            (void)snprintf(text, sizeof text, "story %zu in a single run of %zu words", i, i * 3);
        else
            (void)snprintf(text, sizeof text, "short story %zu", i);
        put(text, "{}");
    }
    put("two words", "{}");
    put("?!", "{}");
    put(NULL, "{}");
    commit();
}

static void grow_stories(void)
{
    static size_t at = 100000;
    put_stories(at, 500);
    at += 500;
}

START_TEST(views_of_texts)
{
    FILES f;
    put_stories(0, 1500);
    write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_VIEWS);
    check_files(&f, true);
    ck_assert_uint_gt(f.report.train, 3000); /* several of most texts */
    ck_assert(f.report.heldout > 80 && f.report.heldout < 220);
    ck_assert_uint_gt(f.report.distractors, 1000);
}
END_TEST

START_TEST(growing_views_never_leak)
{
    put_stories(0, 1500);
    check_growing(grow_stories);
}
END_TEST

START_TEST(views_of_a_seed)
{
    FILES a, b, c;
    put_stories(0, 1000);
    write_files(&a);
    write_files(&b);
    rq.seed = 2;
    write_files(&c);
    ck_assert(same_bytes(&a.train, &b.train) && same_bytes(&a.heldout, &b.heldout));
    ck_assert(same_bytes(&a.heldout, &c.heldout));
    ck_assert(!same_bytes(&a.train, &c.train));
}
END_TEST

/* ---- labels ---- */

static void put_labelled(size_t first, size_t n, size_t n_labels)
{
    begin();
    for (size_t i = first; i < first + n; i++) {
        char text[64], metadata[64];
        size_t a = i % n_labels, b = rng_below(&rng, n_labels);
        (void)snprintf(text, sizeof text, "item %zu", i);
        if (i % 5 == 0)
            (void)snprintf(metadata, sizeof metadata, "{\"l\":[\"L%zu\",\"L%zu\"]}", a, b);
        else
            (void)snprintf(metadata, sizeof metadata, "{\"l\":\"L%zu\"}", a);
        put(text, metadata);
    }
    commit();
}

/* Labels of every item "item N" as bits of a set of hashes (item, label). */
static void labels_of_items(struct u64_map *ret, struct u64_map *ret_of)
{
    struct err e = ERR_INIT;
    struct catalog_values *rows;
    size_t n;
    struct str l = STR("l");
    struct catalog_values_query q = { .after = -1,
        .limit = 100000,
        .paths = &l,
        .n_paths = 1,
        .with_text = true,
        .bytes_max = 4000 };
    u64_map_init(ret);
    u64_map_init(ret_of);
    ck_assert_ok(catalog_values_page(catalog, &col, &q, arena, &rows, &n, &e), &e);
    for (size_t i = 0; i < n; i++) {
        uint64_t item = folded(rows[i].text);
        ck_assert_ok(u64_map_set(ret_of, item, (uint32_t)rows[i].n_values[0]));
        for (size_t k = 0; k < rows[i].n_values[0]; k++) {
            uint64_t key[3] = { item, k,
                hash_bytes(rows[i].values[0][k].p, rows[i].values[0][k].n, 0) };
            ck_assert_ok(u64_map_set(ret, hash_bytes(key, 16, 0), (uint32_t)key[2]));
        }
    }
}

/* a, b: folded texts of items */
static bool share_label(
    const struct u64_map *labels, const struct u64_map *of, uint64_t a, uint64_t b)
{
    uint32_t na = 0, nb = 0, la, lb;
    if (!u64_map_get(of, a, &na) || !u64_map_get(of, b, &nb)) ck_abort_msg("no such item");
    for (uint32_t i = 0; i < na; i++) {
        for (uint32_t k = 0; k < nb; k++) {
            uint64_t ka[2] = { a, i }, kb[2] = { b, k };
            if (u64_map_get(labels, hash_bytes(ka, 16, 0), &la) &&
                u64_map_get(labels, hash_bytes(kb, 16, 0), &lb) && la == lb)
                return true;
        }
    }
    return false;
}

static void check_labels(const struct files *f)
{
    struct u64_map labels, of;
    AUTO_FREE uint64_t *queries = column_folded(&f->heldout, 0);
    AUTO_FREE uint64_t *documents = column_folded(&f->heldout, 1);
    labels_of_items(&labels, &of);
    check_files(f, false);
    for (size_t i = 0; i < f->train.n; i++)
        ck_assert(share_label(&labels, &of, folded(f->train.rows[i].columns[0]),
            folded(f->train.rows[i].columns[1])));
    for (size_t i = 0; i < f->heldout.n_pairs; i++)
        for (size_t k = 0; k < f->heldout.n; k++)
            if (share_label(&labels, &of, queries[i], documents[k]) !=
                (documents[i] == documents[k]))
                ck_abort_msg("document %zu answers query %zu", k, i);
    u64_map_done(&labels);
    u64_map_done(&of);
}

START_TEST(labels_of_items_with_few_values)
{
    FILES f;
    put_labelled(0, 2000, 4);
    rq.labels = STR("metadata.l");
    write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_LABELS);
    check_labels(&f);
    ck_assert_uint_ge(f.report.heldout, 100);
    ck_assert_uint_ge(f.report.train, 4000);
    ck_assert_uint_le(f.report.train, 2000 * PAIRS_PARTNERS_MAX);
}
END_TEST

START_TEST(labels_of_items_with_many_values)
{
    FILES f;
    rng_init(&rng, (uint64_t)_i + 30);
    put_labelled(0, 3000, 300 << _i);
    rq.labels = STR("metadata.l");
    rq.heldout_max = 200;
    rq.distractors_max = 500;
    write_files(&f);
    check_labels(&f);
    ck_assert_uint_gt(f.report.heldout, 100);
    if (_i == 0) ck_assert_uint_gt(f.report.distractors, 100);
}
END_TEST

START_TEST(partners_are_few_and_drawn_at_random)
{
    FILES f;
    struct u64_map first;
    size_t near = 0;
    put_labelled(0, 2000, 4);
    rq.labels = STR("metadata.l");
    write_files(&f);
    u64_map_init(&first);
    for (size_t i = 0; i < f.train.n; i++) {
        uint32_t n = 0;
        struct str *c = f.train.rows[i].columns;
        long a = strtol(c[0].p + 5, NULL, 10), b = strtol(c[1].p + 5, NULL, 10);
        (void)u64_map_get(&first, (uint64_t)a, &n);
        ck_assert_uint_lt(n, PAIRS_PARTNERS_MAX);
        ck_assert_ok(u64_map_set(&first, (uint64_t)a, n + 1));
        near += labs(a - b) < 100;
    }
    ck_assert_uint_lt(near, f.train.n / 5);
    u64_map_done(&first);
}
END_TEST

static void grow_labelled(void)
{
    static size_t at = 100000;
    put_labelled(at, 1000, 600);
    at += 1000;
}

START_TEST(growing_labels_never_leak)
{
    put_labelled(0, 3000, 600);
    rq.labels = STR("metadata.l");
    check_growing(grow_labelled);
}
END_TEST

START_TEST(labels_of_random_collections_never_leak)
{
    FILES f;
    rng_init(&rng, (uint64_t)_i + 40);
    put_random(4000, 2000);
    rq.labels = STR("metadata.l");
    write_files(&f);
    check_files(&f, false);
}
END_TEST

START_TEST(one_label_for_all_is_none)
{
    struct err e = ERR_INIT;
    struct pairs_report r;
    put_labelled(0, 800, 1);
    rq.labels = STR("metadata.l");
    ck_assert_err(write_code(&r, &e), ERR_UNPROCESSABLE);
    ck_assert_str_eq(e.field, "/labels");
    ck_assert_ptr_nonnull(strstr(e.msg, "of 1 values"));
}
END_TEST

/* ---- feedback ---- */

static void signal_of(const char *query, uint32_t slot, enum feedback_signal signal)
{
    struct err e = ERR_INIT;
    struct catalog_feedback f = { .query_text = str_from(query), .slot = slot, .signal = signal };
    ck_assert_ok(catalog_feedback_put(catalog, &col, &f, &e), &e);
}

/* Item i is clicked for "query i"; item i + 1 is irrelevant to it. */
static void put_feedback(size_t n)
{
    begin();
    uint32_t first = put("item number 0", "{}");
    for (size_t i = 1; i < n; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "item number %zu", i);
        put(text, "{}");
    }
    for (size_t i = 0; i < n; i++) {
        char query[64];
        uint32_t slot = first + (uint32_t)i;
        (void)snprintf(query, sizeof query, "query %zu", i);
        signal_of(query, slot, i % 2 ? FEEDBACK_CLICK : FEEDBACK_RELEVANT);
        signal_of(query, first + (uint32_t)((i + 1) % n), FEEDBACK_IRRELEVANT);
        /* A click that was irrelevant after all, and one that was irrelevant, but relevant after all. */
        signal_of(query, first + (uint32_t)((i + 1) % n), FEEDBACK_CLICK);
        if (i % 2 == 0) signal_of(query, slot, FEEDBACK_IRRELEVANT);
    }
    commit();
}

START_TEST(feedback_with_hard_negatives)
{
    FILES f;
    size_t with = 0;
    put_feedback(1500);
    write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_FEEDBACK);
    check_files(&f, true);
    ck_assert_uint_eq(f.report.train + f.report.heldout, 1500);
    for (size_t i = 0; i < f.train.n; i++) {
        const struct row *row = &f.train.rows[i];
        long query = strtol(row->columns[0].p + 6, NULL, 10);
        ck_assert_int_eq(strtol(row->columns[1].p + 12, NULL, 10), query);
        ck_assert_uint_le(row->n, 3);
        if (row->n < 3) continue;
        ck_assert_int_eq(strtol(row->columns[2].p + 12, NULL, 10), (query + 1) % 1500);
        with++;
    }
    ck_assert_uint_gt(with, f.train.n * 8 / 10);
    ck_assert_uint_lt(with, f.train.n);
}
END_TEST

START_TEST(little_feedback_is_not_chosen)
{
    FILES f;
    put_stories(0, 1000);
    put_feedback(100);
    write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_VIEWS);
}
END_TEST

START_TEST(feedback_on_few_items_is_not_chosen)
{
    FILES f;
    put_stories(0, 1000);
    begin();
    uint32_t slot = put("the only one that is clicked", "{}");
    for (int i = 0; i < 2000; i++) {
        char query[32];
        (void)snprintf(query, sizeof query, "query %d", i);
        signal_of(query, slot, FEEDBACK_CLICK);
    }
    commit();
    write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_VIEWS);
}
END_TEST

/* ---- refusals ---- */

START_TEST(too_few_pairs)
{
    struct err e = ERR_INIT;
    struct pairs_report r = { .train = 77 };
    struct stat st;
    char file[TMPDIR_PATH_BYTES];
    put_books(0, 300);
    ask_fields("metadata.title", "text");
    ck_assert_err(write_code(&r, &e), ERR_UNPROCESSABLE);
    ck_assert_uint_eq(r.train, 77);
    ck_assert_ptr_nonnull(strstr(e.msg, " pairs to learn from and "));
    ck_assert_ptr_nonnull(strstr(e.msg, "2 times as many items with both fields"));
    static const char *const names[] = { "train.tsv", "heldout.tsv", "train.tsv.tmp",
        "heldout.tsv.tmp" };
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_ne(stat(tmpdir_file(&dir, names[i], file), &st), 0);
    ask_fields("metadata.nothing", "text");
    ck_assert_err(write_code(&r, &e), ERR_UNPROCESSABLE);
    ck_assert_ptr_nonnull(strstr(e.msg, "some 600 items"));
    rq.anchor = rq.positive = STR("");
    rq.labels = STR("metadata.title");
    ck_assert_err(write_code(&r, &e), ERR_UNPROCESSABLE);
}
END_TEST

static void refused(enum err_code code, const char *field, const char *words)
{
    struct err e = ERR_INIT;
    ck_assert_err(pairs_check(&rq, 0, &e), code);
    ck_assert_str_eq(e.field, field);
    ck_assert_msg(strstr(e.msg, words) != NULL, "%s", e.msg);
}

START_TEST(requests_that_cannot_be)
{
    put_books(0, 100);
    ask_fields("metadata.title", "");
    refused(ERR_INVALID, "/pairs/positive", "go together");
    ask_fields("", "text");
    refused(ERR_INVALID, "/pairs/anchor", "go together");
    ask_fields("title", "text");
    refused(ERR_INVALID, "/pairs/anchor", "neither \"text\" nor \"metadata.\"");
    ask_fields("text", "metadata.");
    refused(ERR_INVALID, "/pairs/positive", "\"metadata.\"");
    ask_fields("text", "metadata.a..b");
    refused(ERR_INVALID, "/pairs/positive", "");
    ask_fields("text", "text");
    refused(ERR_INVALID, "/pairs/positive", "the same field");
    ask_fields("metadata.tile", "text");
    refused(ERR_UNPROCESSABLE, "/pairs/anchor", "no item has a text at \"metadata.tile\"");
    ask_fields("text", "metadata.body");
    refused(ERR_UNPROCESSABLE, "/pairs/positive", "\"metadata.body\"");
    ask_fields("metadata.title", "text");
    refused(ERR_UNPROCESSABLE, "", "100 items have both");
    ask_fields("", "");
    refused(ERR_UNPROCESSABLE, "", "100 items with a text and 0 signals");
    rq.labels = STR("text");
    refused(ERR_INVALID, "/labels", "is not \"metadata.\"");
    rq.labels = STR("metadata.topic");
    refused(ERR_UNPROCESSABLE, "/labels", "no item has a value");
    rq.labels = STR("metadata.n");
    refused(ERR_UNPROCESSABLE, "/labels", "100 items");
    col.modality = MODALITY_VECTOR;
    refused(ERR_UNPROCESSABLE, "", "vectors");
}
END_TEST

START_TEST(requests_that_can_be)
{
    struct err e = ERR_INIT;
    put_books(0, 100);
    ask_fields("metadata.title", "text");
    ck_assert_ok(pairs_check(&rq, time_mono_ns() - 1, &e), &e); /* no time to look */
    put_books(100, 500);
    ck_assert_ok(pairs_check(&rq, 0, &e), &e);
    ask_fields("", "");
    ck_assert_ok(pairs_check(&rq, 0, &e), &e);
    rq.labels = STR("metadata.n");
    ck_assert_ok(pairs_check(&rq, 0, &e), &e);
    for (int i = 0; i < PAIRS_SOURCE_COUNT; i++)
        ck_assert_str_ne(pairs_source_name((enum pairs_source)i), "none");
}
END_TEST

START_TEST(a_folder_that_is_not_there)
{
    struct err e = ERR_INIT;
    struct pairs_report r;
    char missing[TMPDIR_PATH_BYTES];
    ck_assert_err(pairs_write(&rq, tmpdir_file(&dir, "missing", missing), &r, &e), ERR_IO);
    ck_assert_ptr_nonnull(strstr(e.msg, "train.tsv"));
}
END_TEST

/* Too few to learn from, but through the whole of it. */
static enum err_code write_once(void *arg)
{
    struct err e = ERR_INIT;
    struct pairs_report r;
    (void)arg;
    enum err_code code = write_code(&r, &e);
    return code == ERR_UNPROCESSABLE ? ERR_OK : code;
}

START_TEST(out_of_memory)
{
    put_labelled(0, 60, 5);
    put_feedback(20);
    if (_i == 0) ask_fields("metadata.l", "text");
    if (_i == 1) rq.labels = STR("metadata.l");
    oom_loop(write_once, NULL);
}
END_TEST

TEST_SUITE(pairs)
{
    TCase *tc = tcase_create("fields");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, fields_of_items);
    tcase_add_test(tc, heldout_and_distractors_are_bounded);
    tcase_add_test(tc, samples_are_even);
    tcase_add_test(tc, lists_give_a_pair_an_element);
    tcase_add_test(tc, texts_lie_in_one_line);
    tcase_add_test(tc, texts_are_cut_at_a_character);
    tcase_add_loop_test(tc, random_collections_never_leak, 0, 3);
    tcase_add_loop_test(tc, growing_collections_never_leak, 0, 2);
    tcase_add_loop_test(tc, equal_content_gives_equal_bytes, 0, 2);
    suite_add_tcase(s, tc);
    tc = tcase_create("sources");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, views_of_texts);
    tcase_add_test(tc, views_of_a_seed);
    tcase_add_test(tc, growing_views_never_leak);
    tcase_add_test(tc, labels_of_items_with_few_values);
    tcase_add_loop_test(tc, labels_of_items_with_many_values, 0, 3);
    tcase_add_test(tc, partners_are_few_and_drawn_at_random);
    tcase_add_test(tc, growing_labels_never_leak);
    tcase_add_loop_test(tc, labels_of_random_collections_never_leak, 0, 2);
    tcase_add_test(tc, one_label_for_all_is_none);
    tcase_add_test(tc, feedback_with_hard_negatives);
    tcase_add_test(tc, little_feedback_is_not_chosen);
    tcase_add_test(tc, feedback_on_few_items_is_not_chosen);
    suite_add_tcase(s, tc);
    tc = tcase_create("refusals");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, too_few_pairs);
    tcase_add_test(tc, requests_that_cannot_be);
    tcase_add_test(tc, requests_that_can_be);
    tcase_add_test(tc, a_folder_that_is_not_there);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_loop_test(tc, out_of_memory, 0, 2);
    suite_add_tcase(s, tc);
}
