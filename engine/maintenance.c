#include "engine/maintenance.h"

#include "base/log.h"
#include "base/mem.h"
#include "catalog/learning.h"
#include "engine/engine_internal.h"
#include "engine/snapshots.h"
#include "engine/writer_call.h"

enum {
    MAINTENANCE_NICE = 10,
    LOOK_MS = 1000,
    REPAIR_NODES = 256, /* looked at in one call */
    REPAIR_SLICE_MS = 50,
    SAVE_SHARE = 20,  /* a snapshot is worth it when one in so many has changed */
    SAVE_ANYWAY = 12, /* or when it is so many times as old */
    MEASURE_LIVE = 1000,
    MEASURE_PENDING = 100, /* at most one in so many may wait to be linked */
    MEASURE_AGAIN_S = 60,  /* after a failure */
};

enum role { ROLE_SERVING, ROLE_PREVIOUS, ROLE_BUILDING };

/* A generation as it was when the writer looked; with references. */
struct maintenance_view {
    struct collection *col;
    struct generation *gen;
    enum role role;
    struct index_stats stats;
};

/* ---- looking: writer thread ---- */

static enum err_code add_view(struct maintenance *m, struct collection *col, struct generation *gen,
    enum role role, struct err *e)
{
    if (!gen) return ERR_OK;
    if (m->n_views == m->cap_views) {
        size_t cap = m->cap_views ? 2 * m->cap_views : 16;
        struct maintenance_view *p = mem_realloc(m->views, cap, sizeof *p);
        if (!p) return err_set(e, ERR_NOMEM, "out of memory for maintenance");
        m->views = p;
        m->cap_views = cap;
    }
    collection_ref(col);
    generation_ref(gen);
    m->views[m->n_views++] = (struct maintenance_view){ .col = col, .gen = gen, .role = role };
    return ERR_OK;
}

static enum err_code view_collection(struct maintenance *m, struct collection *col, struct err *e)
{
    AUTO_LOCK(&col->lock);
    TRY(add_view(m, col, col->generation, ROLE_SERVING, e));
    if (col->previous && col->previous != col->building)
        TRY(add_view(m, col, col->previous, ROLE_PREVIOUS, e));
    return add_view(m, col, col->building, ROLE_BUILDING, e);
}

/* What upkeep has moved waits to be linked. Generations that do not serve are left to this thread: their ring's lock is
 * held by threads that may not run for long. */
static enum err_code look(struct engine *g, void *arg, struct err *e)
{
    struct maintenance *m = arg;
    enum err_code code = ERR_OK;
    rwlock_rdlock(&g->registry.lock);
    for (size_t i = 0; i < g->registry.n && code == ERR_OK; i++)
        code = view_collection(m, g->registry.rows[i], e);
    rwlock_unlock(&g->registry.lock);
    for (size_t i = 0; i < m->n_views; i++) {
        struct maintenance_view *v = &m->views[i];
        index_stats(v->gen->index, &v->stats);
        if (v->stats.pending && !atomic_load(&v->gen->patient) && !atomic_load(&v->gen->abandoned))
            linker_schedule(&g->linker, v->gen);
    }
    return code;
}

static void forget_views(struct maintenance *m)
{
    for (size_t i = 0; i < m->n_views; i++) {
        generation_unref(m->views[i].gen);
        collection_unref(m->views[i].col);
    }
    m->n_views = 0;
}

/* ---- repair ---- */

/* One slice; true: there is more to do. It asks also where nothing is dead: something may be left to be given back. */
static bool repair(struct maintenance *m, const struct maintenance_view *v)
{
    int64_t until = time_mono_ns() + REPAIR_SLICE_MS * NS_PER_MS;
    struct err e = ERR_INIT;
    size_t worked = 1;
    while (worked && time_mono_ns() < until && !atomic_load(&m->calm))
        if (index_maintain(v->gen->index, REPAIR_NODES, false, m->scratch, &worked, &e) != ERR_OK) {
            LOG(WARN, "index_repair_failed", F_STR("collection", v->col->row.name.p),
                F_STR("error", e.msg));
            return false;
        }
    return worked > 0;
}

/* ---- snapshots ---- */

struct mark_call {
    const struct maintenance_view *view;
    struct snapshot_mark mark;
    size_t unsaved; /* taken off the generation's */
};

/* The change up to which it has all. CONFLICT: not now, it lacks something, or somebody works on it. */
static enum err_code known_change(
    struct engine *g, const struct maintenance_view *v, int64_t *ret_seq, struct err *e)
{
    struct collection *col = v->col;
    mutex_lock(&col->lock);
    bool serves = col->generation == v->gen && !col->index_dirty;
    bool rests = col->previous == v->gen && col->building != v->gen;
    mutex_unlock(&col->lock);
    if (col->deleted || !(serves || rests)) return err_set(e, ERR_CONFLICT, "not now");
    if (serves) return catalog_last_change(g->catalog, &col->row, ret_seq, e);
    *ret_seq = v->gen->seq;
    return ERR_OK;
}

/* Writer thread, where all that is committed has been published. */
static enum err_code take_mark(struct engine *g, void *arg, struct err *e)
{
    struct mark_call *c = arg;
    const struct maintenance_view *v = c->view;
    int64_t seq;
    TRY(known_change(g, v, &seq, e));
    TRY(snapshot_mark_make(g, &v->col->row, &v->gen->row, seq, &c->mark, e));
    c->unsaved = atomic_exchange(&v->gen->unsaved, 0);
    return ERR_OK;
}

static void save(struct maintenance *m, const struct maintenance_view *v)
{
    struct mark_call c = { .view = v };
    struct err e = ERR_INIT;
    enum err_code code = writer_call(m->engine, take_mark, &c, &e);
    if (code == ERR_CONFLICT) return;
    if (code == ERR_OK) {
        code = snapshot_save(m->engine, &v->col->row, v->gen, &c.mark, &e);
        if (code != ERR_OK) atomic_fetch_add(&v->gen->unsaved, c.unsaved);
    }
    v->gen->upkeep.saved_ns = time_mono_ns();
    if (code == ERR_OK)
        v->gen->upkeep.repairs_saved = v->stats.repairs;
    else
        LOG(WARN, "snapshot_failed", F_STR("collection", v->col->row.name.p),
            F_INT("generation", v->gen->row.id), F_STR("code", err_name(code)),
            F_STR("error", e.msg));
}

static bool may_save(const struct maintenance *m, const struct maintenance_view *v)
{
    return m->engine->cfg->snapshots && v->role != ROLE_BUILDING &&
        !atomic_load(&v->gen->abandoned) &&
        (atomic_load(&v->gen->unsaved) > 0 || v->stats.repairs != v->gen->upkeep.repairs_saved);
}

static bool save_is_due(const struct maintenance *m, const struct maintenance_view *v)
{
    int64_t period = (int64_t)m->engine->cfg->snapshot_seconds * NS_PER_S;
    int64_t age = time_mono_ns() - v->gen->upkeep.saved_ns;
    if (!period || age < period || !may_save(m, v)) return false;
    return atomic_load(&v->gen->unsaved) >= v->stats.live / SAVE_SHARE ||
        age >= SAVE_ANYWAY * period;
}

static void save_all(struct maintenance *m)
{
    struct err e = ERR_INIT;
    if (writer_call(m->engine, look, m, &e) != ERR_OK)
        LOG(WARN, "snapshot_failed", F_STR("error", e.msg));
    for (size_t i = 0; i < m->n_views; i++)
        if (may_save(m, &m->views[i])) save(m, &m->views[i]);
    forget_views(m);
}

static enum err_code ask_catalog(struct engine *g, void *arg, struct err *e)
{
    return snapshots_known(g, arg, e);
}

static void sweep_if_due(struct maintenance *m)
{
    struct err e = ERR_INIT;
    if (!atomic_exchange(&m->sweep, false)) return;
    struct snapshots_known known = { .arena = arena_new(1 << 14, 0) };
    enum err_code code = known.arena ? writer_call(m->engine, ask_catalog, &known, &e)
                                     : err_set(&e, ERR_NOMEM, "out of memory for maintenance");
    if (code == ERR_OK)
        snapshots_sweep(m->engine, &known);
    else
        LOG(WARN, "snapshots_not_swept", F_STR("error", e.msg));
    arena_free(known.arena);
}

/* ---- the curve ---- */

static bool measure_is_due(const struct maintenance_view *v)
{
    const struct generation_upkeep *u = &v->gen->upkeep;
    const struct index_stats *s = &v->stats;
    if (v->role != ROLE_SERVING || s->live < MEASURE_LIVE ||
        s->pending > s->live / MEASURE_PENDING || time_mono_ns() < u->measure_ns)
        return false;
    bool better = u->n_queries == UPKEEP_QUERIES && !u->curve_of_queries;
    return !s->has_curve || better || s->live >= s->curve_at_live + s->curve_at_live / 2;
}

static bool go_on(void *arg)
{
    const struct maintenance *m = arg;
    return !atomic_load(&m->calm);
}

static void measure(struct maintenance *m, const struct maintenance_view *v)
{
    struct generation_upkeep *u = &v->gen->upkeep;
    struct err e = ERR_INIT;
    int64_t began = time_mono_ns();
    bool asked = u->n_queries == UPKEEP_QUERIES;
    enum err_code code = index_measure(
        v->gen->index, asked ? u->queries : NULL, UPKEEP_QUERIES, go_on, m, m->scratch, &e);
    if (code != ERR_OK) {
        u->measure_ns = time_mono_ns() + MEASURE_AGAIN_S * NS_PER_S;
        LOG(DEBUG, "curve_not_measured", F_STR("collection", v->col->row.name.p),
            F_STR("error", e.msg));
        return;
    }
    u->curve_of_queries = asked;
    atomic_fetch_add(&v->gen->unsaved, 1);
    LOG(INFO, "curve_measured", F_STR("collection", v->col->row.name.p),
        F_UINT("vectors", v->stats.live), F_STR("queries", asked ? "asked" : "stored"),
        F_NUM("seconds", (double)(time_mono_ns() - began) / (double)NS_PER_S));
}

/* ---- the thread ---- */

/* One look at everything; true: something is to be gone on with at once. */
static bool round_of_upkeep(struct maintenance *m)
{
    bool more = false;
    recall_check(m->engine, m->scratch);
    (void)!writer_call(m->engine, look, m, NULL); /* what could be seen is dealt with */
    for (size_t i = 0; i < m->n_views && !atomic_load(&m->calm); i++) {
        struct maintenance_view *v = &m->views[i];
        v->gen->upkeep.live = v->stats.live;
        if (atomic_load(&v->gen->abandoned)) continue;
        if (v->stats.pending && atomic_load(&v->gen->patient))
            linker_schedule(&m->engine->linker, v->gen);
        more |= repair(m, v);
        if (save_is_due(m, v)) save(m, v);
        if (measure_is_due(v)) measure(m, v);
    }
    forget_views(m);
    sweep_if_due(m);
    return more;
}

static bool wait_a_little(struct maintenance *m, bool more)
{
    int64_t until = time_mono_ns() + LOOK_MS * NS_PER_MS;
    AUTO_LOCK(&m->lock);
    while (!m->stop && !more && cond_wait_until(&m->wake, &m->lock, until)) {}
    return !m->stop;
}

static void maintenance_main(void *arg)
{
    struct maintenance *m = arg;
    bool more = false;
    thread_nice(MAINTENANCE_NICE);
    while (wait_a_little(m, more))
        more = !atomic_load(&m->calm) && round_of_upkeep(m);
    save_all(m);
    index_scratch_free(m->scratch);
    mem_free(m->views);
}

enum err_code maintenance_start(struct maintenance *m, struct engine *g, struct err *e)
{
    mutex_init(&m->lock, RANK_QUEUE);
    cond_init(&m->wake);
    m->engine = g;
    m->scratch = index_scratch_new();
    if (!m->scratch) return err_set(e, ERR_NOMEM, "out of memory for maintenance");
    return thread_start(&m->thread, "maintenance", maintenance_main, m, e);
}

void maintenance_drain(struct maintenance *m)
{
    atomic_store(&m->calm, true);
}

void maintenance_stop(struct maintenance *m)
{
    if (!m->engine) return;
    mutex_lock(&m->lock);
    m->stop = true;
    cond_signal(&m->wake);
    mutex_unlock(&m->lock);
    if (m->thread.started)
        thread_join(&m->thread);
    else
        index_scratch_free(m->scratch);
    cond_done(&m->wake);
    mutex_done(&m->lock);
    *m = (struct maintenance){ 0 };
}

void maintenance_sweep(struct maintenance *m)
{
    atomic_store(&m->sweep, true);
}
