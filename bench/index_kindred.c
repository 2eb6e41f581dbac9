#include "bench/index_kindred.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "index/force.h"
#include "index/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kindred {
    struct index *ix;
};

struct kindred_searcher {
    struct index_scratch *scratch;
    struct index_report report;
    struct index_hit hits[INDEX_K_MAX];
};

static _Noreturn void die(const char *what, const struct err *e)
{
    fprintf(stderr, "kindred: %s: %s\n", what, e ? e->msg : "no memory");
    exit(1);
}

static void *must(void *p)
{
    if (!p) die("index", NULL);
    return p;
}

/* ---- options ---- */
/* Next "KEY=VALUE" of *at into key and value; false: no more. */
static bool next_option(const char **at, char key[32], char value[64])
{
    int n = 0;
    if (sscanf(*at, " %31[^= ]=%63s%n", key, value, &n) != 2 || n == 0) return false;
    *at += n;
    return true;
}

static bool read_options(const struct kindred_options *from, struct index_options *o, char *key)
{
    char value[64];
    const char *at = from->options ? from->options : "";
    int level = VEC_BEST;
    while (next_option(&at, key, value)) {
        if (strcmp(key, "simd") == 0 && vec_level_parse(value) >= 0)
            level = vec_level_parse(value);
        else if (strcmp(key, "seed") == 0)
            o->seed = strtoull(value, NULL, 10);
        else if (strcmp(key, "bits") == 0)
            o->bits = (unsigned)strtoul(value, NULL, 10);
        else
            return false;
    }
    o->kernels = vec_select((enum vec_level)level);
    return true;
}

static bool make_options(
    const struct kindred_options *from, struct index_options *o, char *why, size_t size)
{
    static const enum metric_kind metrics[] = { INDEX_COSINE, INDEX_DOT, INDEX_L2 };
    char key[32] = "";
    *o = (struct index_options)INDEX_OPTIONS_DEFAULTS;
    o->dim = from->dim;
    o->m = from->m;
    o->ef_construction = from->ef_construction;
    o->metric = metrics[from->metric];
    if (read_options(from, o, key)) return true;
    snprintf(why, size, "option %s", key);
    return false;
}

struct kindred *kindred_new(const struct kindred_options *from, char *why, size_t size)
{
    struct err e = ERR_INIT;
    struct index_options o;
    if (!make_options(from, &o, why, size)) return NULL;
    struct kindred *x = must(mem_zalloc(1, sizeof *x));
    if (index_new(&o, &x->ix, &e) == ERR_OK) return x;
    snprintf(why, size, "%.*s", (int)size - 1, e.msg);
    mem_free(x);
    return NULL;
}

/* ---- writing ---- */
void kindred_free(struct kindred *x)
{
    if (x) index_free(x->ix);
    mem_free(x);
}

void kindred_put(struct kindred *x, uint64_t id, const float *vector)
{
    struct err e = ERR_INIT;
    if (index_put(x->ix, id, vector, &e) != ERR_OK) die("put", &e);
}

void kindred_delete(struct kindred *x, uint64_t id)
{
    (void)index_delete(x->ix, id);
}

static void link_some(void *arg, size_t part)
{
    struct kindred *x = arg;
    struct err e = ERR_INIT;
    struct index_scratch *s = must(index_scratch_new());
    (void)part;
    for (size_t n = 1; n > 0;)
        if (index_link(x->ix, 64, s, &n, &e) != ERR_OK) die("link", &e);
    index_scratch_free(s);
}

void kindred_link(struct kindred *x, unsigned threads)
{
    worker_parallel(threads, 1, threads, link_some, x);
}

size_t kindred_link_some(struct kindred *x, size_t max, struct kindred_searcher *s)
{
    struct err e = ERR_INIT;
    size_t n = 0;
    if (index_link(x->ix, max, s->scratch, &n, &e) != ERR_OK) die("link", &e);
    return n;
}

size_t kindred_maintain(struct kindred *x, size_t max, struct kindred_searcher *s)
{
    struct err e = ERR_INIT;
    size_t n = 0;
    if (index_maintain(x->ix, max, false, s->scratch, &n, &e) != ERR_OK) die("maintain", &e);
    return n;
}

void kindred_stats(const struct kindred *x, struct kindred_stats *ret)
{
    struct index_stats st;
    index_stats(x->ix, &st);
    *ret = (struct kindred_stats){ .live = st.live,
        .deleted = st.deleted,
        .vacant = st.vacant,
        .pending = st.pending,
        .size_bytes = st.size_bytes,
        .repairs = st.repairs };
}

size_t kindred_bytes_for(const struct kindred *x, size_t n)
{
    return index_bytes_for(index_options(x->ix), n);
}

void kindred_verify(const struct kindred *x)
{
    struct err e = ERR_INIT;
    if (index_verify(x->ix, &e) != ERR_OK) die("verify", &e);
}

/* ---- in a file ---- */
size_t kindred_save(struct kindred *x, const char *path)
{
    struct err e = ERR_INIT;
    struct snapshot_mark mark = { .label = "bench" };
    size_t bytes;
    if (index_save(x->ix, path, &mark, &bytes, &e) != ERR_OK) die("save", &e);
    return bytes;
}

struct kindred *kindred_load(
    const char *path, const struct kindred_options *from, bool map, char *why, size_t size)
{
    struct err e = ERR_INIT;
    struct index_options o;
    struct snapshot_mark mark;
    if (!make_options(from, &o, why, size)) return NULL;
    struct kindred *x = must(mem_zalloc(1, sizeof *x));
    if (index_load(path, &o, map, &x->ix, &mark, &e) == ERR_OK) return x;
    snprintf(why, size, "%.*s", (int)size - 1, e.msg);
    mem_free(x);
    return NULL;
}

struct kindred *kindred_of(
    const struct matrix *base, const struct kindred_options *o, unsigned threads, const char *path)
{
    char why[200];
    struct kindred *x =
        path && file_exists(path) ? kindred_load(path, o, false, why, sizeof why) : NULL;
    if (x) return x;
    fprintf(stderr, "linking %zu vectors\n", base->n);
    x = kindred_new(o, why, sizeof why);
    if (!x) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
    for (size_t i = 0; i < base->n; i++)
        kindred_put(x, i, base->v + i * base->dim);
    kindred_link(x, threads);
    if (path) (void)kindred_save(x, path);
    return x;
}

/* ---- searching ---- */
struct kindred_searcher *kindred_searcher_new(void)
{
    struct kindred_searcher *s = must(mem_zalloc(1, sizeof *s));
    s->scratch = must(index_scratch_new());
    return s;
}

void kindred_searcher_free(struct kindred_searcher *s)
{
    if (s) index_scratch_free(s->scratch);
    mem_free(s);
}

size_t kindred_search(const struct kindred *x, const struct kindred_query *q,
    struct kindred_searcher *s, uint64_t *ret_ids)
{
    static const enum index_forced forced[] = { [KINDRED_CHOOSES] = INDEX_FORCE_NONE,
        [KINDRED_SCAN_ALL] = INDEX_FORCE_SCAN_ALL,
        [KINDRED_SCAN_IDS] = INDEX_FORCE_SCAN_IDS,
        [KINDRED_WALK] = INDEX_FORCE_WALK,
        [KINDRED_TWO_HOP] = INDEX_FORCE_TWO_HOP };
    struct err e = ERR_INIT;
    struct index_allow allow = { q->allow, q->n_bits, q->count };
    struct index_query query = { .vector = q->vector,
        .k = q->k,
        .ef = q->ef,
        .exact = q->exact,
        .allow = q->allow ? &allow : NULL };
    size_t n;
    index_force(s->scratch, forced[q->way]);
    if (index_search(x->ix, &query, s->scratch, s->hits, &n, &s->report, &e) != ERR_OK)
        die("search", &e);
    for (size_t i = 0; i < n; i++)
        ret_ids[i] = s->hits[i].id;
    return n;
}

void kindred_report(const struct kindred_searcher *s, struct kindred_report *ret)
{
    *ret = (struct kindred_report){ .plan = index_plan_name(s->report.plan),
        .ef = s->report.ef,
        .estimated = s->report.estimated,
        .scored = s->report.scored };
}

/* ---- as a library under bench-index ---- */
static void *library_build(struct index_build *b)
{
    struct kindred_options o = { b->base->dim, b->m, b->ef_construction, b->metric, b->options };
    struct kindred *x = kindred_new(&o, b->note, sizeof b->note);
    if (!x) return NULL;
    for (size_t i = 0; i < b->base->n; i++)
        kindred_put(x, i, b->base->v + i * b->base->dim);
    kindred_link(x, b->threads);
    struct kindred_stats st;
    kindred_stats(x, &st);
    snprintf(b->note, sizeof b->note, "size_bytes=%zu", st.size_bytes);
    return x;
}

static void library_release(void *index)
{
    kindred_free(index);
}

static void *library_searcher_new(void *index)
{
    (void)index;
    return kindred_searcher_new();
}

static void library_searcher_free(void *searcher)
{
    kindred_searcher_free(searcher);
}

static void library_set_ef(void *index, size_t ef)
{
    (void)index, (void)ef;
}

static size_t library_search(
    void *index, void *searcher, const float *query, size_t k, size_t ef, uint32_t *ret_ids)
{
    uint64_t ids[256];
    struct kindred_query q = { .vector = query, .k = k, .ef = ef };
    if (k > sizeof ids / sizeof ids[0]) die("search: k is too large for this bench", NULL);
    size_t n = kindred_search(index, &q, searcher, ids);
    for (size_t i = 0; i < n; i++)
        ret_ids[i] = (uint32_t)ids[i];
    return n;
}

const struct index_library kindred_library = { "kindred", "-", library_build, library_release,
    library_searcher_new, library_searcher_free, library_set_ef, library_search };
