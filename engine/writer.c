/* The writer thread: group commit.
 *
 * One turn: tasks that waited for a graph and may go on, then whatever is in the queue, up to
 * write.commit_items; begin; a savepoint, the puts and the release for each; commit (the WAL is synced);
 * publish all; tell all. While the disk syncs, the next turn's tasks gather: the slower the disk, the larger
 * the groups.
 *
 * Waiting for the graph: a bulk task whose collection has more than index.pending_max unlinked vectors is
 * parked, not waited for, so writes to other collections and single interactive ones go on. Link threads nudge
 * the writer. A task is parked for PARK_MAX_MS at most: slow graphs slow imports down, they do not stop them.
 *
 * Waiting for a swap: while a promotion catches up with the last few changes, every task of the collection is
 * parked in the same list. `hold_until_ns` ends that by itself, whatever becomes of the promotion.
 */
#include "engine/writer.h"

#include "base/log.h"
#include "base/metrics.h"
#include "engine/engine_internal.h"

enum {
    LANE_WEIGHT = 8,
    BATCH_TASKS_MAX = 1024,
    PARK_MAX_MS = 10000,
    PARK_POLL_MS = 100,
    IDLE_MS = 1000,
    ARENA_BYTES = 1 << 20,
};

static struct metric commit_seconds =
    METRIC_HISTOGRAM("kindred_commit_seconds", "Time of one transaction, from begin to synced.");
static struct metric commits = METRIC_COUNTER("kindred_commits_total", "Transactions committed.");
static struct metric commit_failures =
    METRIC_COUNTER("kindred_commit_failures_total", "Transactions that failed.");
static struct metric commit_tasks =
    METRIC_COUNTER("kindred_commit_requests_total", "Write requests in committed transactions.");

static void list_init(struct task_list *l)
{
    *l = (struct task_list){ .tail = &l->head };
}

static void list_add(struct task_list *l, struct write_task *t)
{
    t->next = NULL;
    *l->tail = t;
    l->tail = &t->next;
    l->n++;
    l->items += t->items;
}

/* ---- choosing what goes into the next commit ---- */

/* By what writes brought: what was loaded at the start waits for the graph too, but holding writes back would not
 * make it go faster. */
static bool graph_is_behind(const struct writer *w, struct collection *col)
{
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    struct index_stats stats;
    index_stats(gen->index, &stats);
    if (stats.pending <= w->engine->cfg->index_pending_max) gen->backlog = 0;
    return stats.pending > w->engine->cfg->index_pending_max && stats.pending > gen->backlog;
}

static bool is_held(const struct collection *col)
{
    return col->hold_until_ns && time_mono_ns() < col->hold_until_ns;
}

static bool must_park(const struct writer *w, const struct write_task *t)
{
    if (t->col->deleted) return false;
    if (is_held(t->col)) return true;
    if (!t->grows || t->lane != LANE_BULK) return false;
    return t->col->n_parked > 0 || graph_is_behind(w, t->col);
}

static void park(struct writer *w, struct write_task *t)
{
    t->parked_ns = time_mono_ns();
    t->col->n_parked++;
    list_add(&w->parked, t);
    atomic_store(&w->has_parked, true);
}

static bool may_leave(const struct writer *w, const struct write_task *t, int64_t now)
{
    bool too_late = t->op->deadline_ns && now > t->op->deadline_ns;
    if (t->col->deleted) return true;
    if (is_held(t->col)) return too_late && !t->committed_part; /* it will not be applied */
    if (!t->grows || t->lane != LANE_BULK || too_late) return true;
    return now - t->parked_ns > PARK_MAX_MS * NS_PER_MS || !graph_is_behind(w, t->col);
}

/* Parked tasks that may go on, oldest first. */
static void unpark(struct writer *w, struct task_list *batch)
{
    struct task_list left;
    int64_t now = time_mono_ns();
    size_t budget = w->engine->cfg->write_commit_items;
    if (!w->parked.head) return;
    list_init(&left);
    for (struct write_task *t = w->parked.head, *next; t; t = next) {
        next = t->next;
        bool fits = batch->n == 0 || batch->items + t->items <= budget;
        if (fits && may_leave(w, t, now)) {
            t->col->n_parked--;
            list_add(batch, t);
        } else {
            list_add(&left, t);
        }
    }
    w->parked.head = left.head;
    w->parked.tail = left.head ? left.tail : &w->parked.head;
    w->parked.n = left.n;
    w->parked.items = left.items;
    if (!left.head) atomic_store(&w->has_parked, false);
}

/* Until when an empty queue is waited for. */
static int64_t wait_until(const struct writer *w)
{
    int64_t now = time_mono_ns(), until = now + 3600 * NS_PER_S;
    if (w->purge_due) return now;
    if (w->checkpoint_due) until = now + IDLE_MS * NS_PER_MS;
    if (w->parked.head) until = now + PARK_POLL_MS * NS_PER_MS;
    if (w->dirty && w->retry_ns < until) until = w->retry_ns;
    return until;
}

/* Sort one popped task: into the batch, parked, or held for after it. false: the batch is closed. */
static bool sort_task(struct writer *w, struct write_task *t, struct task_list *batch)
{
    if (t == &w->wake) {
        atomic_store(&w->nudged, false);
        return batch->n > 0; /* an empty batch goes back to look at the parked ones */
    }
    engine__work_begins(t->op);
    if (t->alone || (batch->n && batch->items + t->items > w->engine->cfg->write_commit_items)) {
        w->held = t;
        return false;
    }
    if (must_park(w, t))
        park(w, t);
    else
        list_add(batch, t);
    return true;
}

static void collect(struct writer *w, struct task_list *batch)
{
    unpark(w, batch);
    if (w->held) {
        struct write_task *t = w->held;
        w->held = NULL;
        if (must_park(w, t))
            park(w, t);
        else
            list_add(batch, t);
    }
    while (batch->n < BATCH_TASKS_MAX && batch->items < w->engine->cfg->write_commit_items) {
        enum queue_lane lane;
        struct queue_node *node = queue_pop_until(w->queue, batch->n ? 0 : wait_until(w), &lane);
        if (!node || !sort_task(w, container_of(node, struct write_task, node), batch)) return;
    }
}

/* ---- one transaction ---- */

/* ERR_OK: the transaction goes on, whether the task succeeded (t->err) or was undone. */
static enum err_code apply_task(struct writer *w, struct write_task *t, struct err *e)
{
    struct catalog *c = w->engine->catalog;
    t->err = ERR_INIT;
    if (t->col->deleted) {
        (void)err_set(
            &t->err, ERR_NOT_FOUND, "collection \"%.*s\" was deleted", STR_ARG(t->col->row.name));
        return ERR_OK;
    }
    if (!t->committed_part && engine__check_deadline(t->op, &t->err) != ERR_OK) return ERR_OK;
    TRY(catalog_savepoint(c, e));
    if (t->apply(t, w->arena, &t->err) == ERR_OK) return catalog_release(c, e);
    struct err undo = ERR_INIT;
    if (catalog_undo(c, &undo) == ERR_OK) return ERR_OK;
    if (e) *e = t->err; /* what broke the transaction, not what could not be undone then */
    return t->err.code;
}

static void tell_all(struct task_list *batch, const struct err *why)
{
    for (struct write_task *t = batch->head, *next; t; t = next) {
        next = t->next;
        const struct err *own = t->err.code != ERR_OK ? &t->err : why;
        t->finish(t, own);
    }
}

static void run_batch(struct writer *w, struct task_list *batch)
{
    struct catalog *c = w->engine->catalog;
    struct err why = ERR_INIT;
    int64_t started = time_mono_ns();

    for (struct write_task *t = batch->head; t; t = t->next)
        t->err = ERR_INIT;
    enum err_code code = catalog_begin(c, &why);
    for (struct write_task *t = batch->head; t && code == ERR_OK; t = t->next)
        code = apply_task(w, t, &why);
    if (code == ERR_OK)
        code = catalog_commit(c, &why);
    else
        catalog_rollback(c);

    if (code == ERR_OK) {
        metric_observe(
            &commit_seconds, NULL, (double)(time_mono_ns() - started) / (double)NS_PER_S);
        metric_add(&commits, NULL, 1);
        metric_add(&commit_tasks, NULL, (double)batch->n);
        w->checkpoint_due = true;
        for (struct write_task *t = batch->head; t; t = t->next)
            if (t->err.code == ERR_OK) t->publish(t);
    } else {
        metric_add(&commit_failures, NULL, 1);
        LOG(ERROR, "commit_failed", F_STR("code", err_name(code)), F_STR("error", why.msg));
    }
    tell_all(batch, code == ERR_OK ? NULL : &why);
    arena_clear(w->arena);
}

/* ---- the thread ---- */

static void run_alone(struct writer *w)
{
    struct write_task *t = w->held;
    w->held = NULL;
    t->alone(t);
}

static void idle(struct writer *w)
{
    struct err e = ERR_INIT;
    if (!w->checkpoint_due || w->parked.head) return;
    w->checkpoint_due = false;
    if (catalog_checkpoint(w->engine->catalog, &e) != ERR_OK)
        LOG(WARN, "checkpoint_failed", F_STR("error", e.msg));
}

/* One slice of what deleted collections held, between commits. */
static void purge(struct writer *w)
{
    struct err e = ERR_INIT;
    if (catalog_purge(w->engine->catalog, &w->purge_due, &e) == ERR_OK) return;
    w->purge_due = false; /* tried again at the next start, or with the next deletion */
    LOG(WARN, "purge_failed", F_STR("error", e.msg));
}

static void writer_main(void *arg)
{
    struct writer *w = arg;
    for (;;) {
        struct task_list batch;
        list_init(&batch);
        if (w->held && w->held->alone) run_alone(w);
        int64_t began = time_mono_ns();
        collect(w, &batch);
        if (batch.n)
            run_batch(w, &batch);
        else if (!w->held && atomic_load(&w->stop))
            return;
        else if (time_mono_ns() - began >= (IDLE_MS / 2) * NS_PER_MS)
            idle(w);
        if (w->dirty && time_mono_ns() >= w->retry_ns) writer__repair(w);
        if (w->purge_due) purge(w);
        engine__gauges(w->engine);
    }
}

void writer_push(struct writer *w, enum queue_lane lane, struct write_task *t)
{
    engine__wait_begins(t->op);
    t->lane = lane;
    t->node.cost = t->items;
    enum err_code code = queue_push(w->queue, lane, &t->node);
    ASSERT_BUG(code == ERR_OK); /* unbounded, and closed only when nothing is under way */
}

void writer_nudge(struct writer *w)
{
    if (!atomic_load(&w->has_parked) || atomic_exchange(&w->nudged, true)) return;
    if (queue_push(w->queue, LANE_INTERACTIVE, &w->wake.node) != ERR_OK)
        atomic_store(&w->nudged, false); /* the end has come */
}

enum err_code writer_start(struct writer *w, struct engine *g, struct err *e)
{
    list_init(&w->parked);
    w->queue = queue_new(SIZE_MAX, LANE_WEIGHT);
    w->arena = arena_new(ARENA_BYTES, 0);
    w->engine = g;
    w->purge_due = true;
    if (!w->queue || !w->arena) return err_set(e, ERR_NOMEM, "out of memory for the writer");
    return thread_start(&w->thread, "writer", writer_main, w, e);
}

void writer_stop(struct writer *w)
{
    atomic_store(&w->stop, true);
    if (w->queue) queue_close(w->queue);
    thread_join(&w->thread);
}

void writer_done(struct writer *w)
{
    if (w->queue) /* a late nudge */
        while (queue_pop_until(w->queue, 0, NULL)) {}
    for (struct collection *col = w->dirty, *next; col; col = next) {
        next = col->dirty_next;
        collection_unref(col);
    }
    w->dirty = NULL;
    arena_free(w->arena);
    queue_free(w->queue);
    w->arena = NULL;
    w->queue = NULL;
}
