/* Which links a node has: Algorithm 4 (Malkov & Yashunin 2018), without extension and without keeping what was pruned.
 *
 * A candidate is taken unless it is clearly nearer to one already taken than to the node that the list is for: so links lead
 * in different directions. All by estimates; where two vectors are so near that an estimate says nothing, by
 * their whole values (codes__between): lists chosen by noise fall apart into islands.
 *
 * INDEX_DOT: by L2 alone it is hard to climb to the long vectors, which are the answers (recall 0.68 on lengths of 1/20
 * to 20); by the product alone the long ones are in every list and half of the nodes cannot be reached. So each
 * list is shared: one half chosen by L2, then the other by the product (recall above 0.95, all but a few
 * reached).
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
    size_t chosen = have;
    for (size_t i = 0; i < n && chosen < max; i++) {
        bool known = false;
        if (i + 1 < n) codes__prefetch(ix, key_node(cands[i + 1]));
        for (size_t j = 0; j < have; j++)
            known |= list[j] == key_node(cands[i]);
        if (known || is_shadowed(ix, metric, cands[i], list + have, chosen - have)) continue;
        list[chosen++] = key_node(cands[i]);
    }
    return chosen;
}

size_t hnsw__choose_from_batch(const struct index *ix, uint32_t node, size_t n, size_t max,
    struct index_scratch *s, uint32_t *ret_list)
{
    size_t n_kept = 0;
    for (size_t pass = 0; pass < ix->n_link_metrics; pass++) {
        enum metric_kind metric = ix->link_metrics[pass];
        codes__between(ix, metric, node, s->batch, n, s->batch_distance);
        for (size_t i = 0; i < n; i++)
            s->pool[i] = key_make(s->batch_distance[i], s->batch[i]);
        keys__sort(s->pool, n);
        n_kept = hnsw__choose(ix, metric, s->pool, n, ret_list, n_kept, hnsw__share(ix, max, pass));
    }
    return n_kept;
}

void hnsw__store_list(_Atomic uint32_t *links, size_t max, const uint32_t *list, size_t n)
{
    for (size_t i = 0; i < max; i++)
        atomic_store_explicit(&links[i], i < n ? list[i] : NODE_NONE, memory_order_release);
}
