/* Pairs of feedback. A first look over all of it gathers what was called irrelevant: "irrelevant" outweighs a
 * click, "relevant" outweighs "irrelevant". */
#include "engine/pairs_internal.h"

#include <stdlib.h>

enum { ROWS = 256, NEGATIVES_BYTES = 64 << 20 };

struct negative {
    uint64_t query, hash;
    size_t at; /* order of arrival */
    struct str text;
};
struct verdicts {
    struct u64_map of;    /* pair of hashes -> signals, as bits */
    struct arena *texts;  /* of negatives; full at NEGATIVES_BYTES, further ones are left out */
    struct negative *all; /* by query, then arrival */
    size_t n, cap;
};

static void verdicts_done(struct verdicts *v)
{
    u64_map_done(&v->of);
    arena_free(v->texts);
    mem_free(v->all);
}

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for feedback");
}

/* Rows of feedback, with hashes; those whose texts say nothing, or the same, are left out. */
typedef enum err_code row_fn(
    void *arg, const struct feedback_row *row, uint64_t query, uint64_t item, struct err *e);
static enum err_code each_row(struct pairs_work *w, row_fn *fn, void *arg, struct err *e)
{
    for (int64_t after = 0;;) {
        struct feedback_row *rows;
        size_t n;
        arena_clear(w->page);
        TRY(catalog_feedback_page(w->rq->catalog, w->rq->col, after, ROWS, w->page, &rows, &n, e));
        if (n == 0) return ERR_OK;
        for (size_t i = 0; i < n; i++) {
            uint64_t query, item;
            TRY(pairs__hash(w, rows[i].query, &query, e));
            TRY(pairs__hash(w, rows[i].item, &item, e));
            if (query != PAIRS_NO_HASH && item != PAIRS_NO_HASH && query != item)
                TRY(fn(arg, &rows[i], query, item, e));
        }
        after = rows[n - 1].id;
    }
}

/* ---- first look ---- */

struct gathering {
    struct pairs_work *w;
    struct verdicts *v;
};

static enum err_code negative_add(struct gathering *g, const struct feedback_row *row,
    uint64_t query, uint64_t item, struct err *e)
{
    struct verdicts *v = g->v;
    struct str text = pairs__cut(row->item, g->w->rq->text_max);
    char *copy = arena_strndup(v->texts, text.p, text.n);
    if (!copy) return ERR_OK; /* as many as there is room for */
    if (v->n == v->cap) {
        size_t cap = v->cap ? 2 * v->cap : 256;
        struct negative *all = mem_realloc(v->all, cap, sizeof *all);
        if (!all) return no_memory(e);
        v->all = all;
        v->cap = cap;
    }
    v->all[v->n] = (struct negative){ query, item, v->n, { copy, text.n } };
    v->n++;
    return ERR_OK;
}

static enum err_code gather(
    void *arg, const struct feedback_row *row, uint64_t query, uint64_t item, struct err *e)
{
    struct gathering *g = arg;
    uint64_t key = pairs__mix(query, item, 0);
    uint32_t signals = 0;
    if (row->signal == FEEDBACK_CLICK) return ERR_OK;
    (void)u64_map_get(&g->v->of, key, &signals);
    if (u64_map_set(&g->v->of, key, signals | 1u << row->signal) != ERR_OK) return no_memory(e);
    if (row->signal != FEEDBACK_IRRELEVANT || signals & 1u << FEEDBACK_IRRELEVANT) return ERR_OK;
    return negative_add(g, row, query, item, e);
}

static int by_query(const void *a, const void *b)
{
    const struct negative *x = a, *y = b;
    if (x->query != y->query) return x->query < y->query ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static bool irrelevant(const struct verdicts *v, uint64_t query, uint64_t item)
{
    uint32_t signals = 0;
    (void)u64_map_get(&v->of, pairs__mix(query, item, 0), &signals);
    return signals & 1u << FEEDBACK_IRRELEVANT && !(signals & 1u << FEEDBACK_RELEVANT);
}

/* ---- second look ---- */

struct giving {
    const struct verdicts *v;
    const struct pairs_sink *sink;
};

static enum err_code give(
    void *arg, const struct feedback_row *row, uint64_t query, uint64_t item, struct err *e)
{
    const struct giving *g = arg;
    struct str texts[PAIRS_NEGATIVES_MAX];
    uint64_t hashes[PAIRS_NEGATIVES_MAX];
    size_t n = 0, low = 0, high = g->v->n;
    if (row->signal == FEEDBACK_IRRELEVANT || irrelevant(g->v, query, item)) return ERR_OK;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (g->v->all[mid].query < query)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < g->v->n && g->v->all[low].query == query && n < PAIRS_NEGATIVES_MAX; low++) {
        const struct negative *neg = &g->v->all[low];
        if (!irrelevant(g->v, query, neg->hash)) continue;
        texts[n] = neg->text;
        hashes[n++] = neg->hash;
    }
    struct pair p = { row->query, row->item, texts, hashes, n, query, item, item };
    return g->sink->pair(g->sink->arg, &p, e);
}

static enum err_code documents(struct pairs_work *w, const struct pairs_sink *sink, struct err *e)
{
    struct pairs_pages pages;
    pairs__pages_init(w, NULL, 0, true, &pages);
    for (const struct catalog_values *row;;) {
        uint64_t hash;
        TRY(pairs__pages_next(w, &pages, &row, e));
        if (!row) return ERR_OK;
        if (!row->text.p) continue;
        TRY(pairs__hash(w, row->text, &hash, e));
        if (hash != PAIRS_NO_HASH) TRY(sink->document(sink->arg, row->text, hash, e));
    }
}

enum err_code pairs__feedback_each(
    struct pairs_work *w, const struct pairs_sink *sink, struct err *e)
{
    AUTO(verdicts_done) struct verdicts v = { .texts = arena_new(1 << 16, NEGATIVES_BYTES) };
    struct gathering gathering = { w, &v };
    struct giving giving = { &v, sink };
    u64_map_init(&v.of);
    if (!v.texts) return no_memory(e);
    TRY(each_row(w, gather, &gathering, e));
    if (v.n) qsort(v.all, v.n, sizeof *v.all, by_query);
    TRY(each_row(w, give, &giving, e));
    return documents(w, sink, e);
}
