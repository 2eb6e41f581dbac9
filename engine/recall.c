/* Between the answer and its check items are written and deleted, which must not look like bad answers. So:
 *
 *   items put since   are left out of the exact answer (their change numbers tell), as far as RECALL_SLACK of them
 *                     go; what is left of it, k at most, is what the search should have found
 *   items deleted     are not in the exact answer, which therefore goes a little deeper
 *   a hit             is an answer with a score of at least that of the last one in the exact answer. So equal scores, in
 *                     whatever order, are all right; and so are those that differ by as little as a score may change when
 *                     the index moves the origin of its codes
 *
 * Of a search for more than RECALL_K_MAX the first RECALL_K_MAX count. A search whose exact answer is empty says
 * nothing. Searches that asked for an exact answer are not taken; those that the index answered by a scan are, since
 * this is what its users get.
 */
#include "engine/recall.h"

#include "base/mem.h"
#include "base/metrics.h"
#include "engine/engine_internal.h"
#include "engine/writer_call.h"

#include <math.h>
#include <string.h>

enum {
    RECALL_K_MAX = 100,
    RECALL_SLACK = 100,
    RECALL_MEAN_OF = 50, /* a mean is about as young as the last so many searches */
    RECALL_REST = 20,    /* times as long as the check took */
};
#define RECALL_LOW 0.9
#define SCORE_NOISE 2e-6f /* of scores, and of 1 for cosines */

static struct metric recall_gauge = METRIC_GAUGE("kindred_search_recall",
    "Share of the best hits that searches found, as measured on a sample of them of late; by the "
    "share of items that "
    "the filter passes: none (no filter), wide (a tenth and more), medium (a hundredth and more), "
    "narrow.");
static struct metric recall_samples = METRIC_COUNTER("kindred_search_recall_samples_total",
    "Searches that were answered again by exact scan to measure recall.");
static struct metric recall_low = METRIC_COUNTER(
    "kindred_search_recall_low_total", "Those of them that had found less than nine tenths.");

struct recall_sample {
    struct collection *col; /* a reference */
    struct generation *gen; /* a reference */
    float *vector;          /* [dim] */
    uint64_t *bits;         /* NULL: no filter */
    struct index_allow allow;
    struct index_query query; /* of the check, all in this struct */
    size_t n;
    struct index_hit hits[RECALL_K_MAX];
    int64_t known; /* the search knew all changes up to this one */
};

/* ---- taking one ---- */

static void sample_free(struct recall_sample *s)
{
    if (!s) return;
    generation_unref(s->gen);
    collection_unref(s->col);
    mem_free(s->vector);
    mem_free(s->bits);
    mem_free(s);
}

void recall_init(struct recall_sampler *r, uint64_t period_s)
{
    *r = (struct recall_sampler){ .period_ns = (int64_t)period_s * NS_PER_S };
    mutex_init(&r->lock, RANK_QUEUE);
}

void recall_done(struct recall_sampler *r)
{
    sample_free(r->waiting);
    r->waiting = NULL;
    mutex_done(&r->lock);
}

static struct recall_sample *sample_new(const struct index_query *q, size_t dim)
{
    struct recall_sample *s = mem_zalloc(1, sizeof *s);
    if (!s) return NULL;
    size_t words = q->allow ? (q->allow->n_bits + 63) / 64 : 0;
    s->vector = mem_alloc(dim, sizeof *s->vector);
    if (q->allow) s->bits = mem_alloc(words, sizeof *s->bits);
    if (!s->vector || (q->allow && !s->bits)) {
        sample_free(s);
        return NULL;
    }
    memcpy(s->vector, q->vector, dim * sizeof *s->vector);
    if (words) memcpy(s->bits, q->allow->bits, words * sizeof *s->bits);
    s->query = (struct index_query){ .vector = s->vector,
        .k = q->k < RECALL_K_MAX ? q->k : RECALL_K_MAX,
        .exact = true,
        .has_min_score = q->has_min_score,
        .min_score = q->min_score };
    if (!q->allow) return s;
    s->allow = (struct index_allow){ s->bits, q->allow->n_bits, q->allow->count };
    s->query.allow = &s->allow;
    return s;
}

static bool is_due(struct recall_sampler *r)
{
    if (r->period_ns == 0) return false;
    long long due = atomic_load_explicit(&r->due_ns, memory_order_relaxed), now = time_mono_ns();
    return now >= due && atomic_compare_exchange_strong(&r->due_ns, &due, now + r->period_ns);
}

void recall_offer(struct recall_sampler *r, struct collection *col, struct generation *gen,
    const struct index_query *q, const struct index_hit *hits, size_t n, int64_t known)
{
    if (q->exact || !is_due(r)) return;
    struct recall_sample *s = sample_new(q, gen->row.dimensions);
    if (!s) return;
    collection_ref(col);
    generation_ref(gen);
    s->col = col;
    s->gen = gen;
    s->known = known;
    s->n = n < s->query.k ? n : s->query.k;
    if (s->n) memcpy(s->hits, hits, s->n * sizeof *hits);
    if (mutex_trylock(&r->lock)) {
        if (!r->waiting) r->waiting = steal_ptr(&s);
        mutex_unlock(&r->lock);
    }
    sample_free(s);
}

/* ---- checking it ---- */

struct exact {
    struct recall_sample *sample;
    struct index_hit hits[RECALL_K_MAX + RECALL_SLACK];
    size_t n;
};

/* Leave out what was put since. Writer thread: it takes the catalog's locks, which searches need, without being
 * niced. */
static enum err_code drop_newer(struct engine *g, void *arg, struct err *e)
{
    struct exact *x = arg;
    uint32_t slots[RECALL_K_MAX + RECALL_SLACK];
    struct catalog_item rows[RECALL_K_MAX + RECALL_SLACK];
    struct arena *a = arena_new(1 << 14, 0);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory for measuring recall");
    for (size_t i = 0; i < x->n; i++)
        slots[i] = (uint32_t)x->hits[i].id;
    enum err_code code =
        catalog_items_by_slot(g->catalog, &x->sample->col->row, NULL, slots, x->n, 0, a, rows, e);
    size_t n = 0;
    for (size_t i = 0; code == ERR_OK && i < x->n; i++)
        if (rows[i].key.p && rows[i].seq <= x->sample->known) x->hits[n++] = x->hits[i];
    arena_free(a);
    if (code == ERR_OK) x->n = n;
    return code;
}

static enum err_code answer_exactly(
    struct engine *g, struct exact *x, struct index_scratch *scratch, struct err *e)
{
    const struct recall_sample *s = x->sample;
    struct index_query q = s->query;
    long long changes = atomic_load(&s->col->published) - s->known;
    if (changes > 0) q.k += changes < RECALL_SLACK ? (size_t)changes : RECALL_SLACK;
    TRY(index_search(s->gen->index, &q, scratch, x->hits, &x->n, NULL, e));
    if (changes > 0) TRY(writer_call(g, drop_newer, x, e));
    if (x->n > s->query.k) x->n = s->query.k;
    return ERR_OK;
}

static double recall_of(const struct exact *x)
{
    const struct recall_sample *s = x->sample;
    float first = fabsf(x->hits[0].score), last = x->hits[x->n - 1].score;
    float scale = fmaxf(first, fabsf(last));
    if (s->col->row.metric == METRIC_COSINE) scale = 1;
    last -= SCORE_NOISE * scale;
    size_t found = 0;
    while (found < s->n && found < x->n && s->hits[found].score >= last)
        found++;
    return (double)found / (double)x->n;
}

/* One value more, the last ones counting most. Owner of the mean: the maintenance thread. */
static void mean_add(struct recall_mean *m, double value)
{
    size_t n = atomic_load(&m->n);
    double mean = atomic_load(&m->mean);
    atomic_store(
        &m->mean, mean + (value - mean) / (double)(n < RECALL_MEAN_OF ? n + 1 : RECALL_MEAN_OF));
    atomic_store(&m->n, n + 1);
}

static void note(const struct recall_sample *s, double recall)
{
    static const char *const labels[] = { "filter=\"none\"", "filter=\"wide\"", "filter=\"medium\"",
        "filter=\"narrow\"" };
    static struct recall_mean means[4];
    size_t live = s->gen->upkeep.live, passing = s->allow.count, class = 0;
    if (s->query.allow) class = passing * 10 >= live ? 1 : passing * 100 >= live ? 2 : 3;
    mean_add(&s->gen->recall, recall);
    mean_add(&means[class], recall);
    metric_set(&recall_gauge, labels[class], atomic_load(&means[class].mean));
    metric_add(&recall_samples, labels[class], 1);
    metric_add(&recall_low, labels[class], recall < RECALL_LOW ? 1 : 0);
}

/* What people ask, for index_measure. */
static void keep_query(const struct recall_sample *s)
{
    struct generation_upkeep *u = &s->gen->upkeep;
    size_t dim = s->gen->row.dimensions;
    if (s->query.allow) return;
    if (!u->queries) u->queries = mem_alloc(UPKEEP_QUERIES * dim, sizeof *u->queries);
    if (!u->queries) return;
    memcpy(u->queries + u->next_query * dim, s->vector, dim * sizeof *s->vector);
    u->next_query = (u->next_query + 1) % UPKEEP_QUERIES;
    if (u->n_queries < UPKEEP_QUERIES) u->n_queries++;
}

static struct recall_sample *take(struct recall_sampler *r)
{
    AUTO_LOCK(&r->lock);
    return steal_ptr(&r->waiting);
}

void recall_check(struct engine *g, struct index_scratch *scratch)
{
    struct recall_sampler *r = &g->recall;
    struct exact x = { .sample = take(r) };
    struct err e = ERR_INIT;
    if (!x.sample) return;
    int64_t began = time_mono_ns();
    if (answer_exactly(g, &x, scratch, &e) == ERR_OK && x.n > 0) {
        keep_query(x.sample);
        note(x.sample, recall_of(&x));
    }
    sample_free(x.sample);
    int64_t now = time_mono_ns();
    long long due = atomic_load(&r->due_ns), rested = now + RECALL_REST * (now - began);
    if (rested > due) atomic_store(&r->due_ns, rested);
}
