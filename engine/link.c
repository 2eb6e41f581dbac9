/* Link threads.
 *
 * A generation in the ring may be worked on by several threads at once. It leaves the ring when a thread
 * finds nothing waiting and no schedule call came since that thread took it: `link_epoch` counts those
 * calls, so a vector put while the thread looked is not forgotten.
 *
 * Without memory a thread rests for a second: the vector waits and is found by exact scan meanwhile.
 */
#include "engine/link.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "engine/engine_internal.h"

enum { LINK_SLICE = 64, LINK_NICE = 5, LINK_LOG_MIN = 10000 };

static struct metric linked_total =
    METRIC_COUNTER("kindred_index_linked_total", "Vectors linked into a graph.");

void linker_schedule(struct linker *l, struct generation *gen)
{
    AUTO_LOCK(&l->lock);
    gen->link_epoch++;
    if (!gen->link_waiting) {
        generation_ref(gen);
        gen->link_waiting = true;
        gen->link_next = NULL;
        *l->tail = gen;
        l->tail = &gen->link_next;
    }
    cond_broadcast(&l->work);
}

/* The generation at the head, which moves to the end; NULL: stop. Waits. */
static struct generation *next_generation(struct linker *l, uint64_t *ret_epoch)
{
    AUTO_LOCK(&l->lock);
    while (!l->stop && !l->head)
        cond_wait(&l->work, &l->lock);
    if (l->stop) return NULL;
    struct generation *gen = l->head;
    if (gen->link_next) {
        l->head = gen->link_next;
        gen->link_next = NULL;
        *l->tail = gen;
        l->tail = &gen->link_next;
    }
    generation_ref(gen);
    *ret_epoch = gen->link_epoch;
    return gen;
}

/* Take it out of the ring unless something came since; true: it is out, with its reference. */
static bool leave_ring(struct linker *l, struct generation *gen, uint64_t epoch)
{
    AUTO_LOCK(&l->lock);
    if (!gen->link_waiting || gen->link_epoch != epoch) return false;
    struct generation **p = &l->head;
    while (*p != gen)
        p = &(*p)->link_next;
    *p = gen->link_next;
    if (!*p) l->tail = p;
    gen->link_next = NULL;
    gen->link_waiting = false;
    return true;
}

static void rest(struct linker *l)
{
    int64_t until = time_mono_ns() + NS_PER_S;
    AUTO_LOCK(&l->lock);
    while (!l->stop && cond_wait_until(&l->work, &l->lock, until)) {}
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
static enum err_code link_slice(struct linker *l, struct generation *gen,
    struct index_scratch **scratch, size_t *ret_n, struct err *e)
{
    *ret_n = 0;
    if (atomic_load(&gen->abandoned)) return ERR_OK;
    if (!*scratch) *scratch = index_scratch_new();
    if (!*scratch) return err_set(e, ERR_NOMEM, "out of memory for linking");
    size_t slice = (size_t)LINK_SLICE * atomic_load(&gen->link_share);
    enum err_code code = index_link(gen->index, slice, *scratch, ret_n, e);
    if (*ret_n) {
        metric_add(&linked_total, NULL, (double)*ret_n);
        atomic_fetch_add(&l->since_idle, *ret_n);
        writer_nudge(&l->engine->writer);
        engine__gauges(l->engine);
    }
    return code;
}

static void link_main(void *arg)
{
    struct linker *l = arg;
    struct index_scratch *scratch = NULL;
    struct generation *gen;
    uint64_t epoch;
    bool complained = false;

    thread_nice(LINK_NICE);
    while ((gen = next_generation(l, &epoch)) != NULL) {
        size_t n;
        struct err e = ERR_INIT;
        if (link_slice(l, gen, &scratch, &n, &e) != ERR_OK) {
            if (!complained) LOG(WARN, "link_failed", F_STR("error", e.msg));
            complained = true;
            linker_schedule(
                l, gen); /* another thread may have found nothing left and taken it out */
            rest(l);
        } else if (n == 0 && leave_ring(l, gen, epoch)) {
            generation_unref(gen); /* the ring's */
            all_linked(l);
        }
        generation_unref(gen);
    }
    index_scratch_free(scratch);
}

enum err_code linker_start(struct linker *l, struct engine *g, struct err *e)
{
    mutex_init(&l->lock, RANK_QUEUE);
    cond_init(&l->work);
    l->tail = &l->head;
    l->engine = g;
    size_t n = g->cfg->link_threads ? g->cfg->link_threads : thread_cores();
    l->threads = mem_zalloc(n, sizeof *l->threads);
    if (!l->threads) return err_set(e, ERR_NOMEM, "out of memory for link threads");
    for (; l->n_threads < n; l->n_threads++)
        TRY(thread_start(&l->threads[l->n_threads], "link", link_main, l, e));
    return ERR_OK;
}

void linker_stop(struct linker *l)
{
    if (!l->engine) return;
    mutex_lock(&l->lock);
    l->stop = true;
    cond_broadcast(&l->work);
    mutex_unlock(&l->lock);
    for (size_t i = 0; i < l->n_threads; i++)
        thread_join(&l->threads[i]);
    for (struct generation *gen = l->head, *next; gen; gen = next) {
        next = gen->link_next;
        generation_unref(gen);
    }
    mem_free(l->threads);
    cond_done(&l->work);
    mutex_done(&l->lock);
    *l = (struct linker){ 0 };
}
