#include "bench/index_kindred.h"

#include "base/mem.h"
#include "index/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kindred {
    struct index *ix;
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

struct kindred *kindred_new(const struct kindred_options *from, char *why, size_t size)
{
    static const enum metric_kind metrics[] = { INDEX_COSINE, INDEX_DOT, INDEX_L2 };
    struct err e = ERR_INIT;
    struct index_options o = INDEX_OPTIONS_DEFAULTS;
    struct kindred *x = must(mem_zalloc(1, sizeof *x));
    char key[32] = "";
    o.dim = from->dim;
    o.m = from->m;
    o.ef_construction = from->ef_construction;
    o.metric = metrics[from->metric];
    if (!read_options(from, &o, key)) {
        snprintf(why, size, "option %s", key);
    } else if (index_new(&o, &x->ix, &e) != ERR_OK) {
        snprintf(why, size, "%.*s", (int)size - 1, e.msg);
    } else {
        return x;
    }
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

size_t kindred_work(struct kindred *x, size_t max, struct kindred_searcher *s)
{
    struct err e = ERR_INIT;
    size_t n = 0;
    if (index_link(x->ix, max, (struct index_scratch *)s, &n, &e) != ERR_OK) die("link", &e);
    size_t looked_at;
    if (index_maintain(x->ix, max, false, (struct index_scratch *)s, &looked_at, &e) != ERR_OK)
        die("maintain", &e);
    return n;
}

size_t kindred_size_bytes(const struct kindred *x)
{
    struct index_stats st;
    index_stats(x->ix, &st);
    return st.size_bytes;
}

void kindred_verify(const struct kindred *x)
{
    struct err e = ERR_INIT;
    if (index_verify(x->ix, &e) != ERR_OK) die("verify", &e);
}

/* ---- searching ---- */
struct kindred_searcher *kindred_searcher_new(void)
{
    return must((struct kindred_searcher *)index_scratch_new());
}

void kindred_searcher_free(struct kindred_searcher *s)
{
    index_scratch_free((struct index_scratch *)s);
}

size_t kindred_search(const struct kindred *x, const struct kindred_query *q,
    struct kindred_searcher *s, uint64_t *ret_ids)
{
    struct err e = ERR_INIT;
    struct index_hit hits[INDEX_K_MAX];
    struct index_allow allow = { q->allow, q->n_bits, q->count };
    struct index_query query = { .vector = q->vector,
        .k = q->k,
        .ef = q->ef,
        .exact = q->exact,
        .allow = q->allow ? &allow : NULL };
    size_t n;
    if (index_search(x->ix, &query, (struct index_scratch *)s, hits, &n, NULL, &e) != ERR_OK)
        die("search", &e);
    for (size_t i = 0; i < n; i++)
        ret_ids[i] = hits[i].id;
    return n;
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
    snprintf(b->note, sizeof b->note, "size_bytes=%zu", kindred_size_bytes(x));
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
