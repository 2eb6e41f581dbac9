/* The tail: nodes in the order of their puts, from the first that is not linked on.
 *
 * Every put appends its node; the place is its number in that order. All places before the *watermark* were linked or
 * deleted when it was stored. A search takes a view (the watermark) first, walks the graph, then scans what the view
 * shows, up to the end as it is then. So whatever was put before is found by one or the other.
 *
 * Kept in a list of chunks. A reader takes the head chunk first and the watermark second, so the chunk is the one with
 * that place or one before it; chunks that the watermark has passed are freed when those who could hold them
 * have left (epoch.c). Appending, claiming and moving on are done under one lock for a few instructions;
 * reading takes none.
 *
 * A place may name a node that has become vacant, or is somebody else's again: readers go by the node's state, and a
 * node that turns up twice is offered twice, which top__finish mends.
 */
#include "index/index_internal.h"

#include "base/mem.h"

static struct tail_chunk *chunk_new(void)
{
    struct tail_chunk *c = mem_zalloc(1, sizeof *c);
    if (c) atomic_init(&c->next, NULL);
    return c;
}

enum err_code tail__init(struct tail *t, struct err *e)
{
    struct tail_chunk *c = chunk_new();
    if (!c) return err_set(e, ERR_NOMEM, "out of memory for the index");
    mutex_init(&t->lock, RANK_INDEX_TAIL);
    atomic_init(&t->head, c);
    t->last = t->cursor_chunk = c;
    return ERR_OK;
}

void tail__done(struct tail *t)
{
    struct tail_chunk *c = atomic_load(&t->head);
    if (!c) return;
    while (c) {
        struct tail_chunk *next = atomic_load(&c->next);
        mem_free(c);
        c = next;
    }
    for (c = t->retired; c;) {
        struct tail_chunk *next = c->retired_next;
        mem_free(c);
        c = next;
    }
    mem_free(t->spare);
    mutex_done(&t->lock);
}

enum err_code tail__reserve(struct tail *t, struct err *e)
{
    AUTO_LOCK(&t->lock);
    if (!t->spare && !(t->spare = chunk_new()))
        return err_set(e, ERR_NOMEM, "out of memory for the index");
    return ERR_OK;
}

void tail__append(struct tail *t, uint32_t node)
{
    AUTO_LOCK(&t->lock);
    uint64_t at = atomic_load_explicit(&t->end, memory_order_relaxed);
    struct tail_chunk *c = t->last;
    atomic_store_explicit(&c->nodes[at - c->first], node, memory_order_release);
    atomic_store_explicit(&t->end, at + 1, memory_order_release);
    if (at + 1 - c->first < TAIL_CHUNK) return;
    struct tail_chunk *next = t->spare;
    t->spare = NULL;
    next->first = at + 1;
    atomic_store_explicit(&c->next, next, memory_order_release);
    t->last = next;
}

struct tail_view tail__view(const struct tail *t)
{
    struct tail_view v;
    v.chunk = atomic_load_explicit(&t->head, memory_order_acquire);
    v.at = atomic_load_explicit(&t->watermark, memory_order_acquire);
    return v;
}

struct tail_view tail__view_end(const struct tail *t)
{
    struct tail_view v;
    v.chunk = atomic_load_explicit(&t->head, memory_order_acquire);
    v.at = atomic_load_explicit(&t->end, memory_order_acquire);
    return v;
}

/** The chunk that has place `at`, from `c` on; NULL: there is none yet. */
static struct tail_chunk *chunk_of(struct tail_chunk *c, uint64_t at)
{
    while (c && at - c->first >= TAIL_CHUNK)
        c = atomic_load_explicit(&c->next, memory_order_acquire);
    return c;
}

size_t tail__read(const struct tail *t, struct tail_view *v, uint32_t *ret_nodes, size_t max)
{
    uint64_t end = atomic_load_explicit(&t->end, memory_order_acquire);
    size_t n = 0;
    for (; n < max && v->at < end; v->at++) {
        struct tail_chunk *c = chunk_of(v->chunk, v->at);
        if (!c) break;
        v->chunk = c;
        ret_nodes[n++] = atomic_load_explicit(&c->nodes[v->at - c->first], memory_order_acquire);
    }
    return n;
}

/** Claim a node that waits. One that was deleted is still needed if others hang on it. */
static bool claim_node(struct index *ix, uint32_t node)
{
    char *block = index__block(ix, node);
    if (!block) return false;
    _Atomic uint16_t *at = block__state_at(ix, block, node);
    uint16_t state = atomic_load(at);
    do {
        if (!(state & NODE_USED) || state & NODE_CLAIMED) return false;
        if (state & NODE_DELETED && atomic_load(&block__meta(ix, block, node)->twin) == NODE_NONE)
            return false;
    } while (!atomic_compare_exchange_weak(at, &state, (uint16_t)(state | NODE_CLAIMED)));
    return true;
}

bool tail__claim(struct index *ix, uint32_t *ret_node, uint64_t *ret_at)
{
    struct tail *t = &ix->tail;
    AUTO_LOCK(&t->lock);
    uint64_t end = atomic_load_explicit(&t->end, memory_order_relaxed);
    while (t->cursor < end) {
        uint64_t at = t->cursor++;
        t->cursor_chunk = chunk_of(t->cursor_chunk, at);
        uint32_t node = atomic_load_explicit(
            &t->cursor_chunk->nodes[at - t->cursor_chunk->first], memory_order_relaxed);
        if (!claim_node(ix, node)) continue;
        *ret_node = node;
        *ret_at = at;
        return true;
    }
    return false;
}

void tail__unclaim(struct index *ix, uint32_t node, uint64_t at)
{
    struct tail *t = &ix->tail;
    atomic_fetch_and(index__state_at(ix, node), (uint16_t)~NODE_CLAIMED);
    AUTO_LOCK(&t->lock);
    if (at < t->cursor && at >= atomic_load(&t->watermark)) {
        t->cursor = at;
        t->cursor_chunk = chunk_of(atomic_load(&t->head), at);
    }
}

/** Does nobody need the tail any more to find this node? */
static bool is_settled(const struct index *ix, uint32_t node)
{
    char *block = index__block(ix, node);
    if (!block) return true;
    unsigned state = atomic_load(block__state_at(ix, block, node));
    if (!(state & NODE_USED) || state & NODE_LINKED) return true;
    return state & NODE_DELETED && atomic_load(&block__meta(ix, block, node)->twin) == NODE_NONE;
}

/** Chunks that the watermark has passed. */
static void retire_chunks(struct index *ix, uint64_t watermark)
{
    struct tail *t = &ix->tail;
    struct tail_chunk *c = atomic_load_explicit(&t->head, memory_order_relaxed);
    while (watermark - c->first >= TAIL_CHUNK) {
        struct tail_chunk *next = atomic_load_explicit(&c->next, memory_order_relaxed);
        atomic_store_explicit(&t->head, next, memory_order_release);
        c->retired_at = epoch__now(ix);
        c->retired_next = t->retired;
        t->retired = c;
        c = next;
    }
}

void tail__advance(struct index *ix)
{
    struct tail *t = &ix->tail;
    AUTO_LOCK(&t->lock);
    uint64_t w = atomic_load_explicit(&t->watermark, memory_order_relaxed), from = w;
    uint64_t end = atomic_load_explicit(&t->end, memory_order_relaxed);
    struct tail_chunk *c = atomic_load_explicit(&t->head, memory_order_relaxed);
    for (; w < end; w++) {
        c = chunk_of(c, w);
        if (!is_settled(ix, atomic_load_explicit(&c->nodes[w - c->first], memory_order_relaxed)))
            break;
    }
    if (w == from) return;
    atomic_store_explicit(&t->watermark, w, memory_order_release);
    if (t->cursor <= w) { /* also if equal: its chunk may be the one before, which goes now */
        t->cursor = w;
        t->cursor_chunk = chunk_of(c, w);
    }
    retire_chunks(ix, w);
}

void tail__linked(struct index *ix, uint32_t node)
{
    unsigned old = atomic_fetch_or(index__state_at(ix, node), NODE_LINKED);
    if (!(old & NODE_DELETED)) atomic_fetch_sub(&ix->pending, 1);
    tail__advance(ix);
}

void tail__collect(struct index *ix)
{
    struct tail *t = &ix->tail;
    AUTO_LOCK(&t->lock);
    for (struct tail_chunk **p = &t->retired; *p;) {
        struct tail_chunk *c = *p;
        if (!epoch__passed(ix, c->retired_at)) {
            p = &c->retired_next;
            continue;
        }
        *p = c->retired_next;
        mem_free(c);
    }
}

size_t tail__bytes(const struct tail *t)
{
    struct mutex *lock = (struct mutex *)&t->lock; /* a lock is not part of the value */
    AUTO_LOCK(lock);
    size_t n = t->spare ? 1 : 0;
    for (struct tail_chunk *c = atomic_load(&t->head); c; c = atomic_load(&c->next))
        n++;
    for (struct tail_chunk *c = t->retired; c; c = c->retired_next)
        n++;
    return n * sizeof(struct tail_chunk);
}
