/* Search threads. Each owns one index scratch, made at its first search, which grows with the indexes it
 * has seen. Bulk work (preparing large writes) is in the second lane, so an import delays a search by one
 * step at most. */
#include "engine/pool.h"

#include "base/mem.h"
#include "engine/engine_internal.h"

enum { LANE_WEIGHT = 8 };

static _Thread_local struct index_scratch *scratch;

struct index_scratch *pool_scratch(void)
{
    if (!scratch) scratch = index_scratch_new();
    return scratch;
}

static void pool_main(void *arg)
{
    struct pool *p = arg;
    struct queue_node *node;
    enum queue_lane lane;
    while ((node = queue_pop(p->queue, &lane)) != NULL) {
        struct engine_op *op = container_of(node, struct engine_op, node);
        struct err late = ERR_INIT;
        engine__work_begins(op);
        if (engine__check_deadline(op, &late) != ERR_OK)
            engine__finish(op, &late);
        else
            op->step(op);
    }
    index_scratch_free(scratch);
    scratch = NULL;
}

void pool_push(
    struct pool *p, enum queue_lane lane, struct engine_op *op, void (*step)(struct engine_op *op))
{
    engine__wait_begins(op);
    op->step = step;
    op->node.cost = 1;
    enum err_code code = queue_push(p->queue, lane, &op->node);
    ASSERT_BUG(code == ERR_OK); /* unbounded, and closed only when nothing is under way */
}

enum err_code pool_start(struct pool *p, const struct config *cfg, struct err *e)
{
    size_t n = cfg->search_threads ? cfg->search_threads : thread_cores();
    p->queue = queue_new(SIZE_MAX, LANE_WEIGHT);
    p->threads = mem_zalloc(n, sizeof *p->threads);
    if (!p->queue || !p->threads) return err_set(e, ERR_NOMEM, "out of memory for search threads");
    for (; p->n_threads < n; p->n_threads++)
        TRY(thread_start(&p->threads[p->n_threads], "search", pool_main, p, e));
    return ERR_OK;
}

void pool_stop(struct pool *p)
{
    if (p->queue) queue_close(p->queue);
    for (size_t i = 0; i < p->n_threads; i++)
        thread_join(&p->threads[i]);
    mem_free(p->threads);
    queue_free(p->queue);
    *p = (struct pool){ 0 };
}

/* ---- engine_run ---- */

struct run_state {
    struct op_state base;
    void (*work)(struct engine_op *op);
};

static void run_step(struct engine_op *op)
{
    struct run_state *s = op->state;
    s->work(op);
    engine__finish(op, NULL);
}

enum err_code engine_run(
    struct engine *g, struct engine_op *op, void (*work)(struct engine_op *op), struct err *e)
{
    TRY(engine__accept(g, op, sizeof(struct run_state), e));
    struct run_state *s = op->state;
    s->work = work;
    enum err_code code = engine__take_search(g, &s->base, 1, e);
    if (code != ERR_OK) return engine__reject(op, code);
    pool_push(&g->pool, LANE_INTERACTIVE, op, run_step);
    return ERR_OK;
}
