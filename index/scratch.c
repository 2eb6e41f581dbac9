/* The scratch of one thread: visited marks, two heaps of keys, the best hits.
 *
 * A mark is one byte that equals the running epoch, or the number behind it, so
 * starting a traversal costs nothing and the marks of 100,000 nodes stay in a
 * level-2 cache; every 127 traversals the array is cleared. One scratch serves any number of
 * indexes in turn, since each traversal has its own epoch.
 */
#include "index/index_internal.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

enum { EPOCH_LAST = 254 };

struct index_scratch *index_scratch_new(void)
{
    struct index_scratch *s = mem_zalloc(1, sizeof *s);
    if (s) s->absent = NODE_NONE;
    return s;
}

void index_scratch_free(struct index_scratch *s)
{
    if (!s) return;
    for (size_t i = 0; i < SCAN_LANES - 1; i++)
        index_scratch_free(s->more[i]);
    mem_free(s->visited);
    mem_free(s->cands.v);
    mem_free(s->found.v);
    mem_free(s->around.v);
    mem_free(s->within.v);
    mem_free(s->top.v);
    mem_free(s->query_room);
    mem_free(s);
}

enum err_code scratch__begin(struct index_scratch *s, size_t n)
{
    if (n > s->visited_cap) {
        size_t cap = n + n / 4 + 4096;
        uint8_t *v = mem_zalloc(cap, 1);
        if (!v) return ERR_NOMEM;
        mem_free(s->visited);
        s->visited = v;
        s->visited_cap = cap;
        s->epoch = 0;
    }
    if (s->epoch == EPOCH_LAST) {
        memset(s->visited, 0, s->visited_cap);
        s->epoch = 0;
    }
    s->epoch = (uint8_t)(s->epoch + 2);
    if (s->absent < s->visited_cap) s->visited[s->absent] = s->epoch;
    return ERR_OK;
}

enum err_code scratch__query(const struct index *ix, struct index_scratch *s)
{
    size_t bytes = codes__prepared_bytes(ix);
    if (bytes > s->query_cap) {
        void *room = mem_alloc_aligned(64, 1, bytes);
        if (!room) return ERR_NOMEM;
        mem_free(s->query_room);
        s->query_room = room;
        s->query_cap = bytes;
    }
    codes__prepare_room(ix, &s->query, s->query_room);
    return ERR_OK;
}

/* ---- heaps of keys ---- */
enum err_code key_heap__reserve(struct key_heap *h, size_t cap)
{
    if (cap <= h->cap) return ERR_OK;
    size_t room = h->cap * 2 > cap ? h->cap * 2 : cap;
    uint64_t *v = mem_realloc(h->v, room, sizeof *v);
    if (!v) return ERR_NOMEM;
    h->v = v;
    h->cap = room;
    return ERR_OK;
}

void key_heap__push_min(struct key_heap *h, uint64_t key)
{
    size_t i = h->n++;
    for (; i > 0 && h->v[(i - 1) / 2] > key; i = (i - 1) / 2)
        h->v[i] = h->v[(i - 1) / 2];
    h->v[i] = key;
}

uint64_t key_heap__pop_min(struct key_heap *h)
{
    uint64_t top = h->v[0], last = h->v[--h->n];
    size_t i = 0;
    for (size_t c = 1; c < h->n; c = 2 * i + 1) {
        c += c + 1 < h->n && h->v[c + 1] < h->v[c];
        if (h->v[c] >= last) break;
        h->v[i] = h->v[c];
        i = c;
    }
    h->v[i] = last;
    return top;
}

void key_heap__push_max(struct key_heap *h, uint64_t key)
{
    size_t i = h->n++;
    for (; i > 0 && h->v[(i - 1) / 2] < key; i = (i - 1) / 2)
        h->v[i] = h->v[(i - 1) / 2];
    h->v[i] = key;
}

static void sift_max(uint64_t *v, size_t n, uint64_t key)
{
    size_t i = 0;
    for (size_t c = 1; c < n; c = 2 * i + 1) {
        c += c + 1 < n && v[c + 1] > v[c];
        if (v[c] <= key) break;
        v[i] = v[c];
        i = c;
    }
    v[i] = key;
}

void key_heap__replace_max(struct key_heap *h, uint64_t key)
{
    sift_max(h->v, h->n, key);
}

void key_heap__sort_max(struct key_heap *h)
{
    for (size_t n = h->n; n > 1; n--) {
        uint64_t last = h->v[n - 1];
        h->v[n - 1] = h->v[0];
        sift_max(h->v, n - 1, last);
    }
}

static int by_key(const void *pa, const void *pb)
{
    uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
    return (a > b) - (a < b);
}

void keys__sort(uint64_t *v, size_t n)
{
    enum { SHORT = 64 };
    if (n > SHORT) {
        qsort(v, n, sizeof *v, by_key);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        uint64_t x = v[i];
        size_t j = i;
        for (; j > 0 && v[j - 1] > x; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
}

/* ---- the best hits ---- */
static int compare_hits(const struct top_entry *a, const struct top_entry *b)
{
    if (a->distance < b->distance || a->distance > b->distance)
        return a->distance < b->distance ? -1 : 1;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return (a->node < b->node) - (a->node > b->node);
}

enum err_code top__begin(struct top *t, size_t cap)
{
    if (cap > t->room) {
        struct top_entry *v = mem_alloc(cap, sizeof *v);
        if (!v) return ERR_NOMEM;
        mem_free(t->v);
        t->v = v;
        t->room = cap;
    }
    t->n = 0;
    t->cap = cap;
    t->bound = INFINITY;
    return ERR_OK;
}

void top__offer(struct top *t, float distance, uint32_t node, uint64_t id)
{
    struct top_entry x = { .distance = distance, .node = node, .id = id };
    size_t i;
    if (t->n < t->cap) {
        i = t->n++;
        for (; i > 0 && compare_hits(&t->v[(i - 1) / 2], &x) < 0; i = (i - 1) / 2)
            t->v[i] = t->v[(i - 1) / 2];
    } else {
        if (compare_hits(&x, &t->v[0]) >= 0) return;
        i = 0;
        for (size_t c = 1; c < t->n; c = 2 * i + 1) {
            c += c + 1 < t->n && compare_hits(&t->v[c + 1], &t->v[c]) > 0;
            if (compare_hits(&t->v[c], &x) <= 0) break;
            t->v[i] = t->v[c];
            i = c;
        }
    }
    t->v[i] = x;
    if (t->n == t->cap) t->bound = t->v[0].distance;
}

static int by_hit(const void *a, const void *b)
{
    return compare_hits(a, b);
}

static int by_id(const void *pa, const void *pb)
{
    const struct top_entry *a = pa, *b = pb;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return (a->node > b->node) - (a->node < b->node);
}

void top__finish(const struct index *ix, struct top *t)
{
    if (t->n < 2) return;
    qsort(t->v, t->n, sizeof *t->v, by_id);
    size_t n = 1;
    for (size_t i = 1; i < t->n; i++) {
        if (t->v[i].id != t->v[n - 1].id)
            t->v[n++] = t->v[i];
        else if (!index__is_live(ix, t->v[n - 1].node))
            t->v[n - 1] = t->v[i];
    }
    t->n = n;
    qsort(t->v, t->n, sizeof *t->v, by_hit);
}
