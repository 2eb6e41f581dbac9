/* Link threads.
 *
 * A generation in a ring may be worked on by several threads at once. It leaves the ring when a thread
 * finds nothing waiting and no schedule call came since that thread took it: `epoch` counts those
 * calls, so a vector put while the thread looked is not forgotten.
 *
 * The patient threads run at nice 19: with all cores busy they get about a seventieth of one each. So they must
 * not hold what others wait for: they have a ring, and its lock, of their own, an index is searched without locks
 * while it is linked, and gauges, which take many locks, are left to others.
 *
 * Without memory a thread rests for a second: the vector waits and is found by exact scan meanwhile.
 */
#include "engine/link.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "engine/engine_internal.h"

enum { LINK_SLICE = 64, LINK_NICE = 5, LINK_NICE_PATIENT = 19, LINK_LOG_MIN = 10000 };

static struct metric linked_total =
    METRIC_COUNTER("kindred_index_linked_total", "Vectors linked into a graph.");

void linker_schedule(struct linker *l, struct generation *gen)
{
    enum link_ring_id id = atomic_load(&gen->patient) ? RING_PATIENT : RING_SERVING;
    struct link_ring *ring = &l->rings[id];
    struct link_place *at = &gen->link[id];
    AUTO_LOCK(&ring->lock);
    at->epoch++;
    if (!at->waiting) {
        generation_ref(gen);
        at->waiting = true;
        at->next = NULL;
        *ring->tail = gen;
        ring->tail = &at->next;
    }
    cond_broadcast(&ring->work);
}

/* The generation at the head, which moves to the end; NULL: stop. Waits. */
static struct generation *next_generation(struct link_thread *t, uint64_t *ret_epoch)
{
    struct link_ring *ring = &t->linker->rings[t->ring];
    AUTO_LOCK(&ring->lock);
    while (!ring->stop && !ring->head)
        cond_wait(&ring->work, &ring->lock);
    if (ring->stop) return NULL;
    struct generation *gen = ring->head;
    struct link_place *at = &gen->link[t->ring];
    if (at->next) {
        ring->head = at->next;
        at->next = NULL;
        *ring->tail = gen;
        ring->tail = &at->next;
    }
    generation_ref(gen);
    *ret_epoch = at->epoch;
    return gen;
}

/* Take it out of the ring unless something came since; true: it is out, with its reference. */
static bool leave_ring(struct link_thread *t, struct generation *gen, uint64_t epoch)
{
    struct link_ring *ring = &t->linker->rings[t->ring];
    struct link_place *at = &gen->link[t->ring];
    AUTO_LOCK(&ring->lock);
    if (!at->waiting || at->epoch != epoch) return false;
    struct generation **p = &ring->head;
    while (*p != gen)
        p = &(*p)->link[t->ring].next;
    *p = at->next;
    if (!*p) ring->tail = p;
    at->next = NULL;
    at->waiting = false;
    return true;
}

static void rest(struct link_ring *ring)
{
    int64_t until = time_mono_ns() + NS_PER_S;
    AUTO_LOCK(&ring->lock);
    while (!ring->stop && cond_wait_until(&ring->work, &ring->lock, until)) {}
}

static void all_linked(struct linker *l)
{
    size_t n = atomic_exchange(&l->since_idle, 0);
    if (n >= LINK_LOG_MIN)
        LOG(INFO, "index_linked", F_UINT("vectors", n));
    else if (n)
        LOG(DEBUG, "index_linked", F_UINT("vectors", n));
}

/* One slice; *ret_n of 0: nothing waits, or nobody will search it any more. */
static enum err_code link_slice(struct link_thread *t, struct generation *gen,
    struct index_scratch **scratch, size_t *ret_n, struct err *e)
{
    struct linker *l = t->linker;
    *ret_n = 0;
    if (atomic_load(&gen->abandoned)) return ERR_OK;
    if (!*scratch) *scratch = index_scratch_new();
    if (!*scratch) return err_set(e, ERR_NOMEM, "out of memory for linking");
    size_t slice = (size_t)LINK_SLICE * atomic_load(&gen->link_share);
    enum err_code code = index_link(gen->index, slice, *scratch, ret_n, e);
    if (*ret_n == 0) return code;
    metric_add(&linked_total, NULL, (double)*ret_n);
    atomic_fetch_add(&l->since_idle, *ret_n);
    atomic_fetch_add(&gen->unsaved, *ret_n);
    if (t->ring == RING_SERVING) {
        writer_nudge(&l->engine->writer);
        engine__gauges(l->engine);
    }
    return code;
}

static void link_main(void *arg)
{
    struct link_thread *t = arg;
    struct index_scratch *scratch = NULL;
    struct generation *gen;
    uint64_t epoch;
    bool complained = false;

    thread_nice(t->ring == RING_PATIENT ? LINK_NICE_PATIENT : LINK_NICE);
    while ((gen = next_generation(t, &epoch)) != NULL) {
        size_t n;
        struct err e = ERR_INIT;
        if (link_slice(t, gen, &scratch, &n, &e) != ERR_OK) {
            if (!complained) LOG(WARN, "link_failed", F_STR("error", e.msg));
            complained = true;
            linker_schedule(
                t->linker, gen); /* another thread may have found nothing left and taken it out */
            rest(&t->linker->rings[t->ring]);
        } else if (n == 0 && leave_ring(t, gen, epoch)) {
            generation_unref(gen); /* the ring's */
            all_linked(t->linker);
            if (t->ring == RING_PATIENT) { /* as large as an index, and not needed for long */
                index_scratch_free(scratch);
                scratch = NULL;
            }
        }
        generation_unref(gen);
    }
    index_scratch_free(scratch);
}

enum err_code linker_start(struct linker *l, struct engine *g, struct err *e)
{
    for (size_t i = 0; i < RING_COUNT; i++) {
        mutex_init(&l->rings[i].lock, RANK_QUEUE);
        cond_init(&l->rings[i].work);
        l->rings[i].tail = &l->rings[i].head;
    }
    l->engine = g;
    size_t n = g->cfg->link_threads ? g->cfg->link_threads : thread_cores();
    l->threads = mem_zalloc(n * RING_COUNT, sizeof *l->threads);
    if (!l->threads) return err_set(e, ERR_NOMEM, "out of memory for link threads");
    for (; l->n_threads < n * RING_COUNT; l->n_threads++) {
        struct link_thread *t = &l->threads[l->n_threads];
        t->linker = l;
        t->ring = l->n_threads < n ? RING_SERVING : RING_PATIENT;
        const char *name = t->ring == RING_PATIENT ? "link-patient" : "link";
        TRY(thread_start(&t->thread, name, link_main, t, e));
    }
    return ERR_OK;
}

static void stop_ring(struct link_ring *ring)
{
    AUTO_LOCK(&ring->lock);
    ring->stop = true;
    cond_broadcast(&ring->work);
}

void linker_stop(struct linker *l)
{
    if (!l->engine) return;
    for (size_t i = 0; i < RING_COUNT; i++)
        stop_ring(&l->rings[i]);
    for (size_t i = 0; i < l->n_threads; i++)
        thread_join(&l->threads[i].thread);
    for (size_t i = 0; i < RING_COUNT; i++) {
        struct link_ring *ring = &l->rings[i];
        for (struct generation *gen = ring->head, *next; gen; gen = next) {
            next = gen->link[i].next;
            generation_unref(gen);
        }
        cond_done(&ring->work);
        mutex_done(&ring->lock);
    }
    mem_free(l->threads);
    *l = (struct linker){ 0 };
}
