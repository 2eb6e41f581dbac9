/* Which way a search goes: by what each would cost.
 *
 * The unit is the comparison of one vector by its code in a walk, which is a fetch from memory more than anything.
 *
 *   scan      the allowed ids are looked up and compared (SCAN_ID each), or all nodes are gone through (SCAN_NODE
 *             each) and the allowed ones compared in order (SCAN_ROW each)
 *   walk      WALK * ef. With a filter it goes as far as the ef nearest of all nodes lie, and on until it has `keep`
 *             allowed ones, a sixth of ef: WALK * keep / (share of nodes around the query that pass). That share
 *             nobody knows beforehand, since a filter may go with the query or contradict it
 *   two hops  TWO_HOP for each allowed node found, wherever they lie, and SCAN_ID for each it begins at, which are
 *             many (SEED_EVERY), since what is allowed may lie in many places; but where few of a node's neighbours
 *             are allowed it loses its way (TWO_HOP_LEAST)
 *
 * So what is not scanned for little begins as a walk. It gives up when the nodes that it has met foretell a price
 * above that of the other ways by SLACK, and the cheaper of those goes on: two hops, with a larger ef since what is far
 * from the query is found less surely, or the scan. In the worst case all three are paid for. It also gives up where
 * fewer of the nodes met pass than CONTRADICTION of those of the whole: what is allowed lies elsewhere then, perhaps in
 * many places, and the first one that the walk comes to need not be the nearest.
 *
 * The factors were measured with bench_index_filter --plans.
 */
#include "index/index_internal.h"

#include <math.h>

static const double SCAN_ID = 0.5, SCAN_NODE = 0.024, SCAN_ROW = 0.33, WALK = 8, TWO_HOP = 25,
                    TWO_HOP_LEAST = 0.04, TWO_HOP_GAIN = 3, SLACK = 1.5, CONTRADICTION = 1.0 / 32;
enum { TWO_HOP_EF = 12, KEEP_PART = 6, SEED_EVERY = 32, SEEDS_LEAST = 64 };

static double count_nodes(const struct index *ix)
{
    return (double)atomic_load_explicit(&ix->n_nodes, memory_order_relaxed);
}

size_t plan__possible_hits(const struct index *ix, const struct index_query *q)
{
    size_t live = atomic_load_explicit(&ix->live, memory_order_relaxed);
    return q->allow && q->allow->count < live ? q->allow->count : live;
}

static size_t choose_ef(const struct index *ix, const struct index_query *q)
{
    size_t ef = q->ef;
    if (ef == 0 && q->target_recall > 0) ef = index_ef_for(ix, q->target_recall, q->k);
    if (ef == 0) ef = ix->o.ef_search;
    if (ef < q->k && !q->has_min_score) ef = q->k;
    return ef;
}

/* ---- what it costs ---- */
static double by_id_cost(const struct index_query *q)
{
    return q->allow ? (double)q->allow->count * SCAN_ID : INFINITY;
}

static double scan_cost(const struct index *ix, const struct index_query *q)
{
    double all = count_nodes(ix) * SCAN_NODE + (double)plan__possible_hits(ix, q) * SCAN_ROW;
    return fmin(all, by_id_cost(q));
}

static double two_hop_cost(const struct index *ix, const struct index_query *q, size_t ef)
{
    double allowed = (double)plan__possible_hits(ix, q);
    if (!q->allow || allowed < TWO_HOP_LEAST * count_nodes(ix)) return INFINITY;
    double cost = TWO_HOP * TWO_HOP_EF * (double)ef + SCAN_ID * allowed / SEED_EVERY;
    return cost * TWO_HOP_GAIN < scan_cost(ix, q) ? cost : INFINITY;
}

/* ---- plans ---- */
static size_t up_to(double cost)
{
    return cost < 1e15 ? (size_t)cost + 1 : 0;
}

static struct plan scan_plan(const struct index *ix, const struct index_query *q, size_t ef)
{
    return (struct plan){
        .kind = INDEX_PLAN_SCAN, .by_id = by_id_cost(q) <= scan_cost(ix, q), .ef = ef
    };
}

static struct plan two_hop_plan(const struct index *ix, const struct index_query *q, size_t ef)
{
    size_t keep = ef * TWO_HOP_EF, every = plan__possible_hits(ix, q) / SEEDS_LEAST;
    if (every > SEED_EVERY) every = SEED_EVERY;
    return (struct plan){ .kind = INDEX_PLAN_TWO_HOP,
        .ef = ef,
        .keep = keep < INDEX_EF_MAX ? keep : INDEX_EF_MAX,
        .seed_every = every ? every : 1,
        .max_estimates = up_to(scan_cost(ix, q)) };
}

static struct plan walk_plan(const struct index *ix, const struct index_query *q, size_t ef)
{
    struct plan p = { .kind = INDEX_PLAN_WALK, .ef = ef, .keep = ef };
    double other = fmin(scan_cost(ix, q), two_hop_cost(ix, q, ef));
    p.max_estimates = up_to(SLACK * other);
    if (!q->allow) return p;
    size_t least = q->k + q->k / 2; /* so that scoring has some to choose from */
    p.around = ef;
    p.keep = ef / KEEP_PART > least ? ef / KEEP_PART : least;
    if (p.keep > ef) p.keep = ef;
    double share = (double)plan__possible_hits(ix, q) / count_nodes(ix);
    p.least_pass = fmax(WALK * (double)p.keep / (SLACK * other), share * CONTRADICTION);
    return p;
}

static struct plan choose(const struct index *ix, const struct index_query *q, size_t ef)
{
    double live = (double)atomic_load_explicit(&ix->live, memory_order_relaxed);
    double walk = WALK * (double)ef * count_nodes(ix) / live; /* through tombstones, too */
    return q->exact || !(walk < scan_cost(ix, q)) ? scan_plan(ix, q, ef) : walk_plan(ix, q, ef);
}

struct plan plan__instead(const struct index *ix, const struct index_query *q, const struct plan *p)
{
    bool hops = p->kind == INDEX_PLAN_WALK && isfinite(two_hop_cost(ix, q, p->ef));
    return hops ? two_hop_plan(ix, q, p->ef) : scan_plan(ix, q, p->ef);
}

void index_force(struct index_scratch *s, enum index_forced way)
{
    s->forced = way;
}

struct plan plan__make(
    const struct index *ix, const struct index_query *q, enum index_forced forced)
{
    size_t ef = choose_ef(ix, q);
    if (forced == INDEX_FORCE_NONE) return choose(ix, q, ef);
    struct plan p = forced == INDEX_FORCE_WALK ? walk_plan(ix, q, ef)
        : forced == INDEX_FORCE_TWO_HOP        ? two_hop_plan(ix, q, ef)
                                               : scan_plan(ix, q, ef);
    if (p.kind == INDEX_PLAN_SCAN) p.by_id = forced == INDEX_FORCE_SCAN_IDS;
    p.max_estimates = 0;
    p.least_pass = 0;
    return p;
}
