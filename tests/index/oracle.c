/* The oracle; see oracle.h. */
#include "tests/index/oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "index/index_internal.h"
#include "tests/support/test.h"

void oracle_init(struct oracle *x, const struct index_options *o, size_t n_slots)
{
    x->o = *o;
    x->n_slots = n_slots;
    x->longest = 0;
    x->v = mem_zalloc(n_slots * o->dim, sizeof *x->v);
    x->live = mem_zalloc(n_slots, sizeof *x->live);
    ck_assert(x->v && x->live);
}

void oracle_done(struct oracle *x)
{
    mem_free(x->v);
    mem_free(x->live);
}

size_t oracle_live(const struct oracle *x)
{
    size_t n = 0;
    for (size_t i = 0; i < x->n_slots; i++)
        n += x->live[i];
    return n;
}

uint64_t oracle_id(size_t slot)
{
    return slot == 1 ? UINT64_MAX : slot == 2 ? UINT64_C(1) << 40 : slot * 3;
}

static size_t slot_of(const struct oracle *x, uint64_t id)
{
    for (size_t i = 0; i < 3 && i < x->n_slots; i++)
        if (oracle_id(i) == id) return i;
    if (id % 3 != 0 || id / 3 >= x->n_slots)
        ck_abort_msg("an id that was never put: %llu", (unsigned long long)id);
    return (size_t)(id / 3);
}

void oracle_put(struct oracle *x, struct index *ix, size_t slot, const float *vector)
{
    struct err e = ERR_INIT;
    ck_assert_ok(index_put(ix, oracle_id(slot), vector, &e), &e);
    memcpy(x->v + slot * x->o.dim, vector, x->o.dim * sizeof *vector);
    x->live[slot] = true;
    double vv = 0;
    for (size_t d = 0; d < x->o.dim; d++)
        vv += (double)vector[d] * (double)vector[d];
    if (sqrt(vv) > x->longest) x->longest = sqrt(vv);
}

void oracle_delete(struct oracle *x, struct index *ix, size_t slot)
{
    ck_assert_int_eq(index_delete(ix, oracle_id(slot)), x->live[slot]);
    x->live[slot] = false;
}

double oracle_tolerance(const struct index_options *o)
{
    if (o->bits == 24 || o->dim < 32) return 2e-6; /* few dimensions are kept as they are */
    return o->dim < 128 ? 8e-4 : 3e-4;             /* the fewer, the less errors cancel out */
}

struct oracle_sums oracle_sums(const float *a, const float *b, size_t n)
{
    double ab[2] = { 0 }, aa[2] = { 0 }, bb[2] = { 0 }, l2[2] = { 0 };
    for (size_t d = 0; d < n; d++) {
        double x = a[d], y = b[d];
        ab[d % 2] += x * y;
        aa[d % 2] += x * x;
        bb[d % 2] += y * y;
        l2[d % 2] += (x - y) * (x - y);
    }
    return (struct oracle_sums){ ab[0] + ab[1], aa[0] + aa[1], bb[0] + bb[1], l2[0] + l2[1] };
}

static double score_of(const struct oracle *x, size_t slot, const float *q, double *ret_tolerance)
{
    struct oracle_sums s = oracle_sums(x->v + slot * x->o.dim, q, x->o.dim);
    *ret_tolerance = oracle_tolerance(&x->o) * (x->o.metric == INDEX_COSINE ? 1 : s.aa + s.bb);
    return x->o.metric == INDEX_COSINE ? s.ab / sqrt(s.aa * s.bb)
        : x->o.metric == INDEX_DOT     ? s.ab
                                       : -s.l2;
}

double oracle_score(const struct oracle *x, size_t slot, const float *q)
{
    double tolerance;
    return score_of(x, slot, q, &tolerance);
}

static bool passes(const struct oracle *x, const struct index_query *q, size_t slot)
{
    uint64_t id = oracle_id(slot);
    if (!x->live[slot]) return false;
    return !q->allow || (id < q->allow->n_bits && (q->allow->bits[id / 64] >> (id % 64) & 1));
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/** The scores of all that pass, best first. */
static size_t best_scores(
    const struct oracle *x, const struct index_query *q, double *scores, double *ret_tolerance)
{
    size_t n = 0;
    *ret_tolerance = 0;
    for (size_t slot = 0; slot < x->n_slots; slot++) {
        double tolerance;
        if (!passes(x, q, slot)) continue;
        scores[n++] = score_of(x, slot, q->vector, &tolerance);
        if (tolerance > *ret_tolerance) *ret_tolerance = tolerance;
    }
    qsort(scores, n, sizeof *scores, descending);
    return n;
}

/* libcheck's assertions leave a mark each time, which is dear in loops over hits. */
#define MUST(what, ...)                                                                            \
    do {                                                                                           \
        if (!(what)) ck_abort_msg(__VA_ARGS__);                                                    \
    } while (0)

/** Each hit by itself and next to the one before. */
static void check_hits(const struct oracle *x, const struct index_query *q,
    const struct index_hit *hits, size_t n, double tolerance)
{
    bool *seen = mem_zalloc(x->n_slots, sizeof *seen);
    ck_assert_ptr_nonnull(seen);
    for (size_t i = 0; i < n; i++) {
        size_t slot = slot_of(x, hits[i].id);
        double score = (double)hits[i].score, want = oracle_score(x, slot, q->vector);
        MUST(passes(x, q, slot), "slot %zu is deleted or not allowed", slot);
        MUST(!seen[slot], "slot %zu came twice", slot);
        seen[slot] = true;
        MUST(fabs(score - want) <= tolerance, "slot %zu: score %.9g for %.9g, tolerance %g", slot,
            score, want, tolerance);
        MUST(!q->has_min_score || hits[i].score >= q->min_score, "slot %zu is beyond the bound",
            slot);
        if (i == 0) continue;
        MUST(hits[i - 1].score >= hits[i].score, "hit %zu is better than the one before", i);
        MUST(hits[i - 1].score > hits[i].score || hits[i - 1].id < hits[i].id,
            "hit %zu: equals do not stand by id", i);
    }
    mem_free(seen);
}

/** Of n descending scores, how many are at least `least`. */
static size_t count_from(const double *scores, size_t n, double least)
{
    while (n > 0 && scores[n - 1] < least)
        n--;
    return n;
}

double oracle_judge(const struct oracle *x, const struct index_query *q,
    const struct index_hit *hits, size_t n, bool exact)
{
    double *scores = mem_alloc(x->n_slots, sizeof *scores), tolerance;
    size_t most = best_scores(x, q, scores, &tolerance), least = most, right = 0;
    check_hits(x, q, hits, n, tolerance);
    if (q->has_min_score) {
        least = count_from(scores, most, (double)q->min_score + tolerance);
        most = count_from(scores, most, (double)q->min_score - tolerance);
    }
    if (least > q->k) least = q->k;
    if (most > q->k) most = q->k;
    ck_assert_msg(n <= most, "%zu hits where there are %zu", n, most);
    if (exact || !q->has_min_score)
        ck_assert_msg(n >= least, "%zu hits where there are %zu", n, least);
    for (size_t i = 0; i < n && i < most; i++) {
        MUST(!exact || fabs((double)hits[i].score - scores[i]) <= tolerance,
            "hit %zu: score %.9g, the best are %.9g", i, (double)hits[i].score, scores[i]);
        right += i < least && (double)hits[i].score >= scores[least - 1] - tolerance;
    }
    mem_free(scores);
    return least ? (double)right / (double)least : 1.0;
}

double oracle_ask(const struct oracle *x, const struct index *ix, const struct index_query *q,
    struct index_scratch *s, bool exact, struct index_report *ret_report)
{
    struct err e = ERR_INIT;
    struct index_hit *hits = mem_alloc(q->k, sizeof *hits);
    size_t n = 0;
    ck_assert_ok(index_search(ix, q, s, hits, &n, ret_report, &e), &e);
    double recall = oracle_judge(x, q, hits, n, exact);
    mem_free(hits);
    return recall;
}

double oracle_check(const struct oracle *x, const struct index *ix, const struct index_query *q,
    struct index_scratch *s, bool exact)
{
    return oracle_ask(x, ix, q, s, exact, NULL);
}

/** The stored vector of a slot against the one that was put: for cosine both of length 1. */
static void check_stored(const struct oracle *x, const struct index *ix, size_t slot)
{
    struct err e = ERR_INIT;
    const float *v = x->v + slot * x->o.dim;
    float *got = mem_alloc(x->o.dim, sizeof *got);
    double vv = 0, off = 0;
    ck_assert_ok(index_get(ix, oracle_id(slot), got, &e), &e);
    for (size_t d = 0; d < x->o.dim; d++)
        vv += (double)v[d] * (double)v[d];
    double length = sqrt(vv), unit = x->o.metric == INDEX_COSINE ? length : 1;
    for (size_t d = 0; d < x->o.dim; d++) {
        double rest = (double)got[d] - (double)v[d] / unit;
        off += rest * rest;
    }
    /* errors in all dimensions, of a score only that in one; and the centre is taken several times */
    double tolerance = oracle_tolerance(&x->o) * (oracle_tolerance(&x->o) > 1e-4 ? 8 : 1);
    ck_assert_msg(sqrt(off) <= tolerance * (x->o.metric == INDEX_COSINE ? 1 : x->longest),
        "slot %zu is kept %g off, its length is %g", slot, sqrt(off), length / unit);
    mem_free(got);
}

void oracle_get(const struct oracle *x, const struct index *ix, size_t slot)
{
    MUST(index_contains(ix, oracle_id(slot)) == x->live[slot], "slot %zu: live %d", slot,
        x->live[slot]);
    if (x->live[slot]) check_stored(x, ix, slot);
}

void oracle_compare(const struct oracle *x, const struct index *ix)
{
    struct index_stats st;
    index_stats(ix, &st);
    ck_assert_uint_eq(st.live, oracle_live(x));
    for (size_t slot = 0; slot < x->n_slots; slot++)
        oracle_get(x, ix, slot);
}

double random_normal(struct rng *r)
{
    uint64_t u = rng_u64(r);
    double sum = (double)((u & 0xffff) + (u >> 16 & 0xffff) + (u >> 32 & 0xffff) + (u >> 48));
    return (sum / 65536 - 2) * 1.7320508;
}

enum { CENTRES = 12 };
static float centres[CENTRES][INDEX_DIM_MAX];

/** Before main: tests draw vectors in many threads. */
__attribute__((constructor)) static void fill_centres(void)
{
    for (size_t c = 0; c < CENTRES; c++)
        for (size_t d = 0; d < INDEX_DIM_MAX; d++)
            centres[c][d] = (float)sin((double)(c * 37 + d * (c + 1)));
}

void random_vector(struct rng *r, float *v, size_t dim)
{
    const float *centre = centres[rng_below(r, CENTRES)];
    for (size_t d = 0; d < dim; d++)
        v[d] = (float)(random_normal(r) * 0.6) + centre[d];
}

struct index_options small_options(size_t dim, enum metric_kind metric)
{
    struct index_options o = INDEX_OPTIONS_DEFAULTS;
    o.dim = dim;
    o.metric = metric;
    o.m = 8;
    o.ef_construction = 64;
    o.ef_search = 32;
    return o;
}

struct index *open_index(const struct index_options *o)
{
    struct index *ix = NULL;
    struct err e = ERR_INIT;
    ck_assert_ok(index_new(o, &ix, &e), &e);
    return ix;
}

struct index *open_small_blocks(const struct index_options *o, unsigned shift)
{
    struct index *ix = open_index(o);
    ix->block_shift = shift;
    ix->block_mask = (1u << shift) - 1;
    ix->shape = index__shape(ix, (size_t)1 << shift);
    ix->shape.bytes = (ix->shape.bytes + 4095) / 4096 * 4096;
    return ix;
}

void link_all(struct index *ix, struct index_scratch *s)
{
    struct err e = ERR_INIT;
    for (size_t n = 1; n > 0;)
        ck_assert_ok(index_link(ix, 1000, s, &n, &e), &e);
    struct index_stats st;
    index_stats(ix, &st);
    ck_assert_uint_eq(st.pending, 0);
}

void must_verify(const struct index *ix)
{
    struct err e = ERR_INIT;
    ck_assert_ok(index_verify(ix, &e), &e);
}

void maintain_all(struct index *ix, struct index_scratch *s, bool force)
{
    enum { MOST = 1000000 }; /* rounds; more means that they never end */
    struct err e = ERR_INIT;
    size_t linked = 1, worked = 1;
    for (size_t i = 0; linked + worked > 0; i++) {
        ck_assert_ok(index_maintain(ix, 500, force, s, &worked, &e), &e);
        ck_assert_ok(index_link(ix, 500, s, &linked, &e), &e);
        ck_assert_msg(i < MOST, "upkeep does not come to an end");
    }
}

void allow_id(uint64_t *bits, struct index_allow *a, uint64_t id)
{
    ck_assert(id < a->n_bits);
    a->count += !(bits[id / 64] >> (id % 64) & 1);
    bits[id / 64] |= UINT64_C(1) << (id % 64);
    a->bits = bits;
}
