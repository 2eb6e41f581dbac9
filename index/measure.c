/* How good the answers are, measured by the index itself; and from that, which ef a wanted recall needs.
 *
 * Queries are answered exactly, then with each ef of a ladder; a hit counts if its score is at least that of the exact
 * k-th, so that equal scores do not matter. Walks go through index_search as everybody's do: where it would rather scan,
 * the recall is 1, and that is what is asked for. A stored vector that is asked with is left out of its answer and of the
 * graph: the links of its own node are its nearest, and a walk that could use them would find what no other does.
 *
 * Between two points of the ladder -log(1 - recall) is taken as linear in log ef, as recall curves nearly are; beyond the
 * last the slope of the last two goes on. The curve is for k = 10; every hit more takes K_SHARE of a candidate more.
 */
#include "index/index_internal.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"

enum { CURVE_K = 10, LINKED_MIN = 100 };
static const size_t ladder[INDEX_CURVE_POINTS] = { 10, 16, 32, 64, 128, 256, 512, 1024 };
static const double K_SHARE = 1.5, RECALL_MOST = 0.9999;

void index_curve(const struct index *ix, struct index_curve *ret)
{
    struct mutex *lock = (struct mutex *)&ix->curve_lock; /* a lock is not part of the value */
    mutex_lock(lock);
    *ret = ix->curve;
    mutex_unlock(lock);
}

/* ---- measuring ---- */
struct asked {
    const float *vector;
    bool leave_out; /* the query is that stored vector */
    uint64_t self;
};

/** The hits of a query, `self` left out; at most CURVE_K. */
static enum err_code ask(const struct index *ix, const struct asked *a, size_t ef, bool exact,
    struct index_scratch *s, float ret_scores[CURVE_K], size_t *ret_n, struct err *e)
{
    struct index_hit hits[CURVE_K + 1];
    struct index_query q = {
        .vector = a->vector, .k = CURVE_K + a->leave_out, .ef = ef, .exact = exact
    };
    size_t n, kept = 0;
    TRY(index_search(ix, &q, s, hits, &n, NULL, e));
    for (size_t i = 0; i < n && kept < CURVE_K; i++)
        if (!a->leave_out || hits[i].id != a->self) ret_scores[kept++] = hits[i].score;
    *ret_n = kept;
    return ERR_OK;
}

/** Adds the share of right hits for each ef of the ladder. */
static enum err_code measure_query(const struct index *ix, const struct asked *a,
    struct index_scratch *s, double sums[INDEX_CURVE_POINTS], struct err *e)
{
    float want[CURVE_K], got[CURVE_K];
    size_t n_want, n_got;
    TRY(ask(ix, a, 0, true, s, want, &n_want, e));
    for (size_t p = 0; p < INDEX_CURVE_POINTS; p++) {
        size_t right = 0;
        TRY(ask(ix, a, ladder[p], false, s, got, &n_got, e));
        for (size_t i = 0; i < n_got && i < n_want; i++)
            right += got[i] >= want[n_want - 1];
        sums[p] += n_want ? (double)right / (double)n_want : 1;
    }
    return ERR_OK;
}

/** A stored vector, live when it was looked at; false: this draw hit none. Not one of the layers above, through which
 * walks come down. */
static bool draw_vector(
    const struct index *ix, struct rng *r, float *ret_vector, uint64_t *ret_id, uint32_t *ret_node)
{
    unsigned token = epoch__enter(ix, ret_vector);
    uint32_t n = atomic_load(&ix->n_nodes);
    uint32_t node = n ? (uint32_t)rng_below(r, n) : 0;
    char *block = n ? index__block(ix, node) : NULL;
    unsigned state = block ? atomic_load(block__state_at(ix, block, node)) : 0;
    bool found = state__is_live(state) && state >> STATE_LEVEL_SHIFT == 0;
    if (found) {
        *ret_node = node;
        *ret_id = index__meta(ix, node)->id;
        codes__read(ix, node, ret_vector);
    }
    epoch__leave(ix, ret_vector, token);
    return found;
}

static enum err_code measure_all(struct index *ix, const float *queries, size_t n,
    bool (*go_on)(void *arg), void *arg, struct index_scratch *s, double sums[INDEX_CURVE_POINTS],
    struct err *e)
{
    AUTO_FREE float *own = mem_alloc(ix->o.dim, sizeof *own);
    struct rng r;
    if (!own) return err_set(e, ERR_NOMEM, "out of memory to measure the index");
    rng_init(&r, ix->o.seed);
    for (size_t i = 0; i < n; i++) {
        struct asked a = { .vector = queries ? queries + i * ix->o.dim : own,
            .leave_out = !queries };
        if (go_on && !go_on(arg)) return err_set(e, ERR_CANCELLED, "it was cancelled");
        for (size_t draws = 0; !queries && !draw_vector(ix, &r, own, &a.self, &s->absent); draws++)
            if (draws == 10000) return err_set(e, ERR_NOT_FOUND, "the index is nearly empty");
        enum err_code code = measure_query(ix, &a, s, sums, e);
        s->absent = NODE_NONE;
        TRY(code);
    }
    return ERR_OK;
}

enum err_code index_measure(struct index *ix, const float *queries, size_t n,
    bool (*go_on)(void *arg), void *arg, struct index_scratch *s, struct err *e)
{
    double sums[INDEX_CURVE_POINTS] = { 0 };
    if (n == 0) return err_set(e, ERR_INVALID, "there are no queries to measure with");
    if (atomic_load(&ix->in_graph) < LINKED_MIN)
        return err_set(e, ERR_NOT_FOUND, "fewer than %d vectors are linked", LINKED_MIN);
    struct index_curve c = {
        .n = INDEX_CURVE_POINTS, .n_queries = n, .at_live = atomic_load(&ix->live)
    };
    TRY(measure_all(ix, queries, n, go_on, arg, s, sums, e));
    for (size_t p = 0; p < c.n; p++) {
        c.ef[p] = ladder[p];
        c.recall[p] = (float)(sums[p] / (double)n);
        if (p > 0 && c.recall[p] < c.recall[p - 1]) c.recall[p] = c.recall[p - 1];
    }
    AUTO_LOCK(&ix->curve_lock);
    ix->curve = c;
    return ERR_OK;
}

/* ---- using it ---- */
static double loss(double recall)
{
    return -log(1 - (recall < RECALL_MOST ? recall : RECALL_MOST));
}

/** The ef of the curve for k = CURVE_K, not rounded. */
static double ef_of(const struct index_curve *c, double target)
{
    double want = loss(target);
    if (want <= loss((double)c->recall[0])) return (double)c->ef[0];
    size_t p = 1;
    while (p + 1 < c->n && loss((double)c->recall[p]) < want)
        p++;
    double x0 = log((double)c->ef[p - 1]), x1 = log((double)c->ef[p]);
    double y0 = loss((double)c->recall[p - 1]), y1 = loss((double)c->recall[p]);
    double slope = (y1 - y0) / (x1 - x0), least = 0.2;
    if (slope < least) slope = least; /* a flat end: further than it pays to go */
    return exp(x0 + (want - y0) / slope);
}

size_t index_ef_for(const struct index *ix, float target_recall, size_t k)
{
    struct index_curve c;
    index_curve(ix, &c);
    double target = (double)target_recall, ef;
    if (c.n > 0)
        ef = ef_of(&c, target);
    else /* as real embeddings of some 100,000 items need it, doubled */
        ef = 2 * CURVE_K * exp((loss(target) - loss(0.8)) / 1.1);
    if (k > CURVE_K) ef += K_SHARE * (double)(k - CURVE_K);
    if (ef > INDEX_EF_MAX) return INDEX_EF_MAX;
    return ef < (double)k ? k : (size_t)ceil(ef);
}
