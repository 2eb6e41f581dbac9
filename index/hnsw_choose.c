/* Which links a node has: Algorithm 4 (Malkov & Yashunin 2018), without extension.
 *
 * A candidate is taken unless it is clearly nearer to one already taken than to the node that the list is for: so links lead
 * in different directions. All by estimates; where two vectors are so near that an estimate says nothing, by
 * their whole values (codes__between): lists chosen by noise fall apart into islands.
 *
 * A list that this leaves with less than m / 2 gets the nearest of those turned down. Most lists never are so short, but a
 * vector in the middle of others that are all far from each other, such as one of zeros, turns down everything in all
 * lists, while its own has room for few: with one of zeros among 5,000 normal ones in 128 dimensions a walk could reach 350.
 *
 * INDEX_DOT: by L2 alone it is hard to climb to the long vectors, which are the answers (recall 0.68 on lengths of 1/20
 * to 20); by the product alone the long ones are in every list and half of the nodes cannot be reached. So each
 * list is shared: one half chosen by L2, then the other by the product (recall above 0.95, all but a few
 * reached).
 *
 * Tombstones get what room the living leave, and turn down only each other: a living node that was not taken because of
 * one would be lost with it.
 */
#include "index/index_internal.h"

/** A candidate is turned down only if it is nearer to a chosen node by this much, in squared L2. With 1 lists are
 * shorter and the graph is the paper's; with 1.1 a walk finds about a fifth more of what it missed at the same ef for a
 * tenth more comparisons, and links are cheaper to have than candidates while linking. Larger loses again on
 * sentence embeddings. Source: Subramanya et al. 2019, "DiskANN", alpha in Algorithm 2 (there of distances). */
static const float ALPHA = 1.1f;

/** Is the candidate nearer to a chosen node than to the one that the list is for? */
static bool is_shadowed(const struct index *ix, enum metric_kind metric, uint64_t candidate,
    const uint32_t *chosen, size_t n)
{
    float distance = key_distance(candidate);
    if (metric == INDEX_L2) distance /= ALPHA;
    for (size_t i = 0; i < n; i += 4) {
        float d[4];
        size_t k = n - i < 4 ? n - i : 4;
        codes__between(ix, metric, key_node(candidate), chosen + i, k, d);
        for (size_t j = 0; j < k; j++)
            if (d[j] < distance) return true;
    }
    return false;
}

size_t hnsw__choose(const struct index *ix, enum metric_kind metric, const uint64_t *cands,
    size_t n, uint32_t *list, size_t have, size_t max)
{
    uint32_t turned_down[INDEX_M_MAX / 2]; /* the nearest of them */
    size_t chosen = have, n_down = 0, least = metric == INDEX_L2 && have == 0 ? ix->o.m / 2 : 0;
    for (size_t i = 0; i < n && chosen < max; i++) {
        uint32_t node = key_node(cands[i]);
        bool known = false;
        if (i + 1 < n) codes__prefetch(ix, key_node(cands[i + 1]));
        for (size_t j = 0; j < have; j++)
            known |= list[j] == node;
        if (known) continue;
        if (!is_shadowed(ix, metric, cands[i], list + have, chosen - have))
            list[chosen++] = node;
        else if (n_down < least)
            turned_down[n_down++] = node;
    }
    for (size_t i = 0; i < n_down && chosen < least && chosen < max; i++)
        list[chosen++] = turned_down[i];
    return chosen;
}

/** Tombstones of s->batch [n] to its end; returns how many live. */
static size_t part_living(const struct index *ix, size_t n, struct index_scratch *s)
{
    size_t n_live = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t node = s->batch[i];
        if (index__state(ix, node) & NODE_DELETED) continue;
        s->batch[i] = s->batch[n_live];
        s->batch[n_live++] = node;
    }
    return n_live;
}

/** As hnsw__choose, of n nodes. */
static size_t choose_of(const struct index *ix, enum metric_kind metric, uint32_t node,
    const uint32_t *nodes, size_t n, uint32_t *list, size_t have, size_t max,
    struct index_scratch *s)
{
    codes__between(ix, metric, node, nodes, n, s->batch_distance);
    for (size_t i = 0; i < n; i++)
        s->pool[i] = key_make(s->batch_distance[i], nodes[i]);
    keys__sort(s->pool, n);
    return hnsw__choose(ix, metric, s->pool, n, list, have, max);
}

size_t hnsw__choose_from_batch(const struct index *ix, uint32_t node, size_t n, size_t max,
    struct index_scratch *s, uint32_t *ret_list)
{
    size_t n_live = part_living(ix, n, s), n_kept = 0;
    for (size_t pass = 0; pass < ix->n_link_metrics; pass++)
        n_kept = choose_of(ix, ix->link_metrics[pass], node, s->batch, n_live, ret_list, n_kept,
            hnsw__share(ix, max, pass), s);
    if (n_live == n) return n_kept;
    return choose_of(ix, INDEX_L2, node, s->batch + n_live, n - n_live, ret_list, n_kept, max, s);
}

void hnsw__store_list(_Atomic uint32_t *links, size_t max, const uint32_t *list, size_t n)
{
    for (size_t i = 0; i < max; i++)
        atomic_store_explicit(&links[i], i < n ? list[i] : NODE_NONE, memory_order_release);
}
