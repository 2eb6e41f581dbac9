/* Which way a search goes: by what each would cost.
 *
 * The unit is the comparison of one vector by its code in a walk, which is a fetch from memory more than anything. A share
 * p of n nodes is allowed, A = p n.
 *
 *   scan      A ids are looked up and compared (SCAN_ID each), or all nodes are gone through (SCAN_NODE each) and A
 *             compared in order (SCAN_ROW each)
 *   walk      WALK * ef / p: it goes on until ef allowed nodes are found
 *   two hops  TWO_HOP * ef, whatever p: only allowed nodes are compared, but each step looks at up to m0^2 more
 *             nodes whether they are allowed; below TWO_HOP_LEAST of m0 * m0 * p per step it loses its way
 *
 * The factors were measured by bench_index_filter. A walk whose nodes pass less often than p says, because filter and
 * query contradict each other, gives up at the cost of the scan, so the worst case is twice the scan.
 */
#include "index/index_internal.h"

static const double SCAN_ID = 1.5, SCAN_NODE = 0.06, SCAN_ROW = 0.35, WALK = 14, TWO_HOP = 45,
                    TWO_HOP_LEAST = 6, TWO_HOP_MOST = 0.4;

size_t plan__possible_hits(const struct index *ix, const struct index_query *q)
{
    size_t live = atomic_load_explicit(&ix->live, memory_order_relaxed);
    return q->allow && q->allow->count < live ? q->allow->count : live;
}

static bool scan_by_id(const struct index *ix, const struct index_query *q)
{
    double n = (double)atomic_load_explicit(&ix->n_nodes, memory_order_relaxed);
    return q->allow && (double)q->allow->count * (SCAN_ID - SCAN_ROW) < n * SCAN_NODE;
}

static double scan_cost(const struct index *ix, const struct index_query *q)
{
    double a = (double)plan__possible_hits(ix, q);
    double n = (double)atomic_load_explicit(&ix->n_nodes, memory_order_relaxed);
    return scan_by_id(ix, q) ? a * SCAN_ID : n * SCAN_NODE + a * SCAN_ROW;
}

static size_t choose_ef(const struct index *ix, const struct index_query *q)
{
    size_t ef = q->ef;
    if (ef == 0 && q->target_recall > 0) ef = index_ef_for(ix, q->target_recall, q->k);
    if (ef == 0) ef = ix->o.ef_search;
    if (ef < q->k && !q->has_min_score) ef = q->k;
    return ef;
}

static struct plan choose(const struct index *ix, const struct index_query *q)
{
    struct plan p = { .kind = INDEX_PLAN_SCAN, .by_id = scan_by_id(ix, q), .ef = choose_ef(ix, q) };
    double n = (double)atomic_load_explicit(&ix->n_nodes, memory_order_relaxed);
    double share = n > 0 ? (double)plan__possible_hits(ix, q) / n : 0;
    double scan = scan_cost(ix, q), ef = (double)p.ef, walk = WALK * ef / (share > 0 ? share : 1);
    p.max_estimates = (size_t)scan + 1;
    if (q->exact || share <= 0) return p;
    double cheapest = scan;
    if (walk < cheapest) {
        p.kind = INDEX_PLAN_WALK;
        cheapest = walk;
    }
    double seen = (double)(ix->m0 * ix->m0) * share;
    if (q->allow && share < TWO_HOP_MOST && seen >= TWO_HOP_LEAST && TWO_HOP * ef < cheapest)
        p.kind = INDEX_PLAN_TWO_HOP;
    return p;
}

void index_force(struct index_scratch *s, enum index_forced way)
{
    s->forced = way;
}

struct plan plan__make(
    const struct index *ix, const struct index_query *q, enum index_forced forced)
{
    struct plan p = choose(ix, q);
    if (forced == INDEX_FORCE_NONE) return p;
    p.kind = forced == INDEX_FORCE_WALK ? INDEX_PLAN_WALK
        : forced == INDEX_FORCE_TWO_HOP ? INDEX_PLAN_TWO_HOP
                                        : INDEX_PLAN_SCAN;
    p.by_id = forced == INDEX_FORCE_SCAN_IDS;
    p.max_estimates = 0;
    return p;
}
