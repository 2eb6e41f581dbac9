/* The interval: queries are drawn with replacement, before and after of a query together, and all queries of one
 * document together (a cluster bootstrap; Davison & Hinkley 1997, section 3.8); the bounds are percentiles of
 * the mean gains of the draws. A later test has a higher level, so its bounds lie
 * further out and need more draws: TAIL_DRAWS of them beyond each bound, as far as GATE_RESAMPLES_MAX
 * allows; from there on the outermost draw is the bound.
 */
#include "core/eval/gate.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { RECALL, MRR, NDCG, METRICS, TAIL_DRAWS = 10 };

/* Gain of one query, or sum over the `n` queries of one document. */
struct gain {
    double of[METRICS];
    size_t n;
};

static struct gain metrics_of(uint32_t rank)
{
    if (rank > 10) return (struct gain){ .n = 1 };
    return (struct gain){ { 1, 1 / (double)rank, 1 / log2(1 + (double)rank) }, 1 };
}

static int by_value(const void *pa, const void *pb)
{
    double a, b;
    memcpy(&a, pa, sizeof a);
    memcpy(&b, pb, sizeof b);
    return (a > b) - (a < b);
}

/* Of sorted values [n], between the two nearest. */
static double quantile(const double *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    if (i + 1 >= n) return sorted[n - 1];
    return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

/* means [METRICS][resamples] */
static void draw_means(
    const struct gain *gains, size_t n, size_t resamples, uint64_t seed, double *means)
{
    struct rng rng;
    rng_init(&rng, seed);
    for (size_t r = 0; r < resamples; r++) {
        struct gain sum = { .n = 0 };
        for (size_t i = 0; i < n; i++) {
            const struct gain *g = &gains[rng_below(&rng, n)];
            for (size_t m = 0; m < METRICS; m++)
                sum.of[m] += g->of[m];
            sum.n += g->n;
        }
        for (size_t m = 0; m < METRICS; m++)
            means[m * resamples + r] = sum.of[m] / (double)sum.n;
    }
}

static enum err_code intervals(const struct gain *gains, size_t n, double tail,
    const struct gate_options *o, struct gate_gain *ret, struct err *e)
{
    double wanted = fmin(TAIL_DRAWS / tail, GATE_RESAMPLES_MAX);
    size_t resamples = o->resamples > (size_t)wanted ? o->resamples : (size_t)wanted;
    AUTO_FREE double *means = mem_alloc(METRICS * resamples, sizeof *means);
    if (!means) return err_set(e, ERR_NOMEM, "no memory for %zu resamples", resamples);
    draw_means(gains, n, resamples, o->seed, means);
    for (size_t m = 0; m < METRICS; m++) {
        double *of = means + m * resamples, sum = 0;
        size_t queries = 0;
        qsort(of, resamples, sizeof *of, by_value);
        for (size_t i = 0; i < n; i++) {
            sum += gains[i].of[m];
            queries += gains[i].n;
        }
        ret[m].mean = sum / (double)queries;
        ret[m].low = quantile(of, resamples, tail);
        ret[m].high = quantile(of, resamples, 1 - tail);
    }
    return ERR_OK;
}

/* Chance that at least `up` of up + down fair coins fall so. */
static double sign_test(size_t up, size_t down)
{
    double n = (double)(up + down), sum = 0;
    for (size_t k = up; k <= up + down; k++)
        sum += exp(lgamma(n + 1) - lgamma((double)k + 1) - lgamma(n - (double)k + 1) - n * log(2));
    return fmin(sum, 1);
}

double gate_anchor_floor(double anchor_before, const struct gate_options *o)
{
    if (anchor_before < o->anchor_base - o->anchor_fall_max) return anchor_before;
    return fmax(anchor_before, o->anchor_base) - o->anchor_fall_max;
}

static bool few_documents(const struct gate_report *r)
{
    return r->documents < r->before.queries && r->documents < GATE_DOCUMENTS_MIN;
}

static void explain(struct gate_report *r, const struct gate_options *o, double tail)
{
    const struct gate_gain *g = r->by_mrr ? &r->mrr_at_10 : &r->recall_at_10;
    double before = r->by_mrr ? r->before.mrr_at_10 : r->before.recall_at_10;
    double after = r->by_mrr ? r->after.mrr_at_10 : r->after.recall_at_10;
    double best = fmax(r->anchor_before, o->anchor_base);
    char sign[80] = "", from[32] = "";
    if (best > r->anchor_before) snprintf(from, sizeof from, " from %.3f", best);
    if (g->low > 0 && r->sign_p > tail)
        snprintf(sign, sizeof sign, " but only %zu got better and %zu worse,", r->up, r->down);
    if (few_documents(r)) {
        snprintf(r->why, sizeof r->why,
            "too few to judge by: %zu held-out queries have only %zu different answers, at least "
            "%d are needed",
            r->before.queries, r->documents, GATE_DOCUMENTS_MIN);
        return;
    }
    snprintf(r->why, sizeof r->why,
        "%s: %s %.3f -> %.3f over %zu held-out queries, gain %+.3f, %.5g %% interval %+.3f to "
        "%+.3f,%s general sentences %.3f -> %.3f, allowed fall %.3g%s",
        r->vetoed        ? "general sentences suffer"
            : r->promote ? "better"
                         : "not proven better",
        r->by_mrr ? "MRR@10" : "recall@10", before, after, r->before.queries, g->mean,
        100 * r->level, g->low, g->high, sign, r->anchor_before, r->anchor_after,
        best - r->anchor_floor, from);
}

static void decide(struct gate_report *r, const struct gain *gains, size_t n, double tail)
{
    r->by_mrr = r->before.recall_at_10 >= GATE_CEILING;
    size_t metric = r->by_mrr ? MRR : RECALL;
    for (size_t i = 0; i < n; i++) {
        r->up += gains[i].of[metric] > 0;
        r->down += gains[i].of[metric] < 0;
    }
    r->sign_p = sign_test(r->up, r->down);
    /* Rounding of the difference is no fall. */
    r->vetoed = !(r->anchor_after >= r->anchor_floor - 1e-12);
    r->promote = !few_documents(r) && !r->vetoed && r->sign_p <= tail &&
        (r->by_mrr ? r->mrr_at_10.low : r->recall_at_10.low) > 0;
}

static enum err_code options_check(const struct gate_options *o, struct err *e)
{
    if (!(o->alpha > 0 && o->alpha <= 0.5))
        return err_set(e, ERR_INVALID, "alpha %g is not above 0 and at most 0.5", o->alpha);
    if (o->test < 1) return err_set(e, ERR_INVALID, "tests are counted from 1");
    if (o->resamples < 100 || o->resamples > GATE_RESAMPLES_MAX)
        return err_set(e, ERR_INVALID, "%zu resamples are not between 100 and %d", o->resamples,
            GATE_RESAMPLES_MAX);
    if (!(o->anchor_fall_max >= 0))
        return err_set(e, ERR_INVALID, "an allowed fall of %g is below 0", o->anchor_fall_max);
    return ERR_OK;
}

/* Sums over the queries of each document, in the order of their first query. Returns how many. */
static enum err_code gather(
    struct gain *gains, size_t n, const size_t *documents, size_t *ret_n, struct err *e)
{
    size_t last = 0, m = 0;
    for (size_t i = 0; i < n; i++)
        if (documents[i] > last) last = documents[i];
    AUTO_FREE size_t *place = mem_zalloc(last + 1, sizeof *place); /* + 1; 0: not met yet */
    if (!place) return err_set(e, ERR_NOMEM, "no memory for %zu documents", last + 1);
    for (size_t i = 0; i < n; i++) {
        struct gain g = gains[i];
        size_t *at = &place[documents[i]];
        if (*at == 0) {
            *at = ++m;
            gains[m - 1] = g;
            continue;
        }
        for (size_t k = 0; k < METRICS; k++)
            gains[*at - 1].of[k] += g.of[k];
        gains[*at - 1].n++;
    }
    *ret_n = m;
    return ERR_OK;
}

enum err_code gate_judge(const uint32_t *ranks_before, const uint32_t *ranks_after, size_t n,
    double anchor_before, double anchor_after, const struct gate_options *o,
    struct gate_report *ret, struct err *e)
{
    struct gate_report r = { .anchor_before = anchor_before, .anchor_after = anchor_after };
    struct gate_gain gain[METRICS];

    TRY(options_check(o, e));
    if (n < 2) return err_set(e, ERR_INVALID, "a gain is judged over at least two queries");
    double test = (double)o->test, tail = o->alpha / (test * (test + 1));
    AUTO_FREE struct gain *gains = mem_alloc(n, sizeof *gains);
    if (!gains) return err_set(e, ERR_NOMEM, "no memory for %zu queries", n);
    for (size_t i = 0; i < n; i++) {
        if (ranks_before[i] == 0 || ranks_after[i] == 0)
            return err_set(e, ERR_INVALID, "query %zu has the rank 0", i);
        struct gain before = metrics_of(ranks_before[i]), after = metrics_of(ranks_after[i]);
        for (size_t m = 0; m < METRICS; m++)
            gains[i].of[m] = after.of[m] - before.of[m];
        gains[i].n = 1;
    }
    r.documents = n;
    if (o->documents) TRY(gather(gains, n, o->documents, &r.documents, e));
    rank_retrieval_mean(ranks_before, n, &r.before);
    rank_retrieval_mean(ranks_after, n, &r.after);
    TRY(intervals(gains, r.documents, tail, o, gain, e));
    r.recall_at_10 = gain[RECALL];
    r.mrr_at_10 = gain[MRR];
    r.ndcg_at_10 = gain[NDCG];
    r.level = 1 - 2 * tail;
    r.anchor_floor = gate_anchor_floor(anchor_before, o);
    decide(&r, gains, r.documents, tail);
    explain(&r, o, tail);
    *ret = r;
    return ERR_OK;
}
