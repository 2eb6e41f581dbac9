/* The steps of a promotion. Everything that outlives a crash is in the catalog, everything that serves hangs on
 * one pointer, and both change in one turn of the writer: before it the old generation serves, after it the
 * new one, and no write falls in between. */
#include "engine/promote_internal.h"

#include "base/log.h"
#include "engine/learned.h"
#include "engine/writer_call.h"

enum {
    ARENA_BYTES = 1 << 18,
    STALLED_ROUNDS = 3,
    GRAPH_POLL_MS = 50,
    GRAPH_STALLED_MS = 30000,
    LINK_SHARE = 3, /* against the generation that serves, if it cannot do without */
};

/* ---- the version and its generation ---- */

static enum err_code find_version(
    struct promotion *p, int64_t version, struct catalog_version *ret, struct err *e)
{
    struct catalog_version *rows;
    size_t n;
    TRY(catalog_versions(p->g->catalog, &p->col->row, p->arena, &rows, &n, e));
    for (size_t i = 0; i < n; i++) {
        if (rows[i].version != version || rows[i].state == VERSION_REMOVED) continue;
        *ret = rows[i];
        return ERR_OK;
    }
    return err_set(e, ERR_NOT_FOUND, "collection \"%.*s\" has no version %lld",
        STR_ARG(p->col->row.name), (long long)version);
}

/* What the catalog holds of the version; id 0: nothing. */
static enum err_code find_row(
    struct promotion *p, int64_t version, struct catalog_generation *ret, struct err *e)
{
    struct catalog_generation *rows;
    size_t n;
    *ret = (struct catalog_generation){ 0 };
    TRY(catalog_generations(p->g->catalog, &p->col->row, p->arena, &rows, &n, e));
    for (size_t i = 0; i < n; i++)
        if (rows[i].model_version == version) *ret = rows[i];
    return ERR_OK;
}

struct create {
    struct collection *col;
    struct catalog_generation *row;
};
static enum err_code create_row(struct engine *g, void *arg, struct err *e)
{
    struct create *c = arg;
    if (c->col->deleted) return err_set(e, ERR_NOT_FOUND, "the collection was deleted");
    return catalog_generation_create(g->catalog, &c->col->row, c->row, e);
}

/* The one kept in memory, if it is this one; another is given up, so that no more than two stand beside
 * each other. */
static struct generation *take_previous(
    struct collection *col, int64_t version, const struct model *m)
{
    struct generation *previous;
    AUTO_GENERATION struct generation *drop = NULL;
    AUTO_LOCK(&col->lock);
    previous = col->previous;
    if (previous && previous->row.model_version == version && previous->model == m) {
        generation_ref(previous);
        return previous;
    }
    if (previous) atomic_store(&previous->abandoned, true);
    drop = previous;
    col->previous = NULL;
    return NULL;
}

static enum err_code open_generation(
    struct promotion *p, const struct catalog_version *v, struct err *e)
{
    struct catalog_generation row;
    AUTO_MODEL struct model *m = NULL;
    TRY(learned_load(p->g, &p->col->row, v, &m, e));
    p->next = take_previous(p->col, v->version, m);
    if (p->next) return ERR_OK;
    TRY(find_row(p, v->version, &row, e));
    if (row.id == 0) {
        row = (struct catalog_generation){
            .model_name = m->name, .model_version = v->version, .dimensions = m->info->dimensions
        };
        TRY(writer_call(p->g, create_row, &(struct create){ p->col, &row }, e));
    }
    if (row.dimensions != m->info->dimensions)
        return err_set(e, ERR_UNPROCESSABLE,
            "model \"%.*s\" has %zu dimensions by now, the vectors of version %lld have %zu",
            STR_ARG(m->name), m->info->dimensions, (long long)v->version, row.dimensions);
    return generation_open(p->g, &p->col->row, &row, m, &p->next, e);
}

/* For whoever counts memory or deletes the collection. */
static void show_building(struct promotion *p, bool on)
{
    AUTO_GENERATION struct generation *drop = NULL;
    AUTO_LOCK(&p->col->lock);
    drop = p->col->building;
    p->col->building = on ? p->next : NULL;
    if (on) generation_ref(p->next);
}

/* ---- catching up ---- */

static enum err_code guess_total(struct promotion *p, struct err *e)
{
    size_t items;
    int64_t last;
    TRY(catalog_items_count(p->g->catalog, &p->col->row, &items, e));
    TRY(catalog_last_change(p->g->catalog, &p->col->row, &last, e));
    size_t behind = last > p->next->seq ? (size_t)(last - p->next->seq) : 0;
    atomic_store(&p->watch->done, 0);
    atomic_store(&p->watch->total, behind < items ? behind : items);
    return ERR_OK;
}

static enum err_code keep_to_rate(
    struct promotion *p, int64_t started_ns, size_t encoded, struct err *e)
{
    if (p->rate <= 0) return promote__go_on(p, e);
    double seconds = (double)encoded / p->rate;
    return promote__pause(p, started_ns + (int64_t)(seconds * (double)NS_PER_S), e);
}

/* All changes that there are when it begins. *ret_n: how many it found. */
static enum err_code round_of_pages(struct promotion *p, size_t *ret_n, struct err *e)
{
    int64_t last, started = time_mono_ns();
    size_t before = p->report.encoded, n = 1;
    TRY(catalog_last_change(p->g->catalog, &p->col->row, &last, e));
    *ret_n = 0;
    while (p->next->seq < last && n > 0) {
        TRY(promote__page(p, &n, e));
        *ret_n += n;
        TRY(keep_to_rate(p, started, p->report.encoded - before, e));
    }
    return promote__go_on(p, e);
}

/* As much is linked as searches are used to. */
static bool graph_is_ready(struct promotion *p, size_t *ret_pending)
{
    AUTO_GENERATION struct generation *serving = collection_generation(p->col);
    struct index_stats old, next;
    index_stats(serving->index, &old);
    index_stats(p->next->index, &next);
    *ret_pending = next.pending;
    return next.pending <= PROMOTE_PENDING || next.pending <= old.pending;
}

/* Threads that take only what time is left have none: those that link what serves take it on, and in larger slices,
 * since an import that never ends would else keep the two apart for ever. */
static void hurry_when_stalled(struct promotion *p, size_t pending)
{
    int64_t now = time_mono_ns();
    if (p->looked_ns && now - p->looked_ns < GRAPH_STALLED_MS * NS_PER_MS) return;
    if (p->looked_ns && pending > p->pending_then - p->pending_then / 20) {
        atomic_store(&p->next->patient, false);
        atomic_store(&p->next->link_share, LINK_SHARE);
        linker_schedule(&p->g->linker, p->next);
    }
    p->looked_ns = now;
    p->pending_then = pending;
}

/* Until little is left, or until it shows that more is not to be had: writes come as fast. */
static enum err_code approach(struct promotion *p, struct err *e)
{
    size_t before = SIZE_MAX, n, pending;
    int stalled = 0;
    for (;;) {
        TRY(round_of_pages(p, &n, e));
        stalled = n > before - before / 4 ? stalled + 1 : 0;
        before = n;
        if (n > PROMOTE_HOLD_CHANGES && stalled < STALLED_ROUNDS) continue;
        if (graph_is_ready(p, &pending)) return ERR_OK;
        hurry_when_stalled(p, pending);
        TRY(promote__pause(p, time_mono_ns() + GRAPH_POLL_MS * NS_PER_MS, e));
    }
}

/* ---- the swap: writer thread ---- */

static enum err_code hold(struct engine *g, void *arg, struct err *e)
{
    struct promotion *p = arg;
    (void)g;
    if (p->col->deleted) return err_set(e, ERR_NOT_FOUND, "the collection was deleted");
    p->col->hold_until_ns = time_mono_ns() + PROMOTE_HOLD_MS * NS_PER_MS;
    return ERR_OK;
}

static enum err_code let_go(struct engine *g, void *arg, struct err *e)
{
    struct collection *col = arg;
    (void)g;
    (void)e;
    col->hold_until_ns = 0;
    return ERR_OK;
}

/* The pointer. Searches that took the old one before finish on it. */
static void put_in_place(struct engine *g, struct promotion *p, int64_t seq)
{
    struct collection *col = p->col;
    struct generation *old = col->generation, *next = p->next;
    AUTO_GENERATION struct generation *older = NULL, *dropped = NULL, *building = NULL;
    struct index_stats stats;
    index_stats(next->index, &stats);
    next->backlog = stats.pending;
    atomic_store(&next->patient, false);
    atomic_store(&next->link_share, 1);
    old->seq = seq;
    generation_ref(next);
    AUTO_LOCK(&col->lock);
    older = col->previous;
    building = col->building;
    col->generation = next;
    col->building = NULL;
    col->previous = g->cfg->learn_previous_in_memory ? old : NULL;
    if (!col->previous) dropped = old;
    if (dropped) atomic_store(&dropped->abandoned, true);
    if (older && older != next) atomic_store(&older->abandoned, true);
}

struct swap {
    struct promotion *p;
    bool done; /* false, and no error: not yet, try again */
};

static enum err_code try_swap(struct engine *g, struct swap *s, struct err *e)
{
    struct promotion *p = s->p;
    struct collection *col = p->col;
    int64_t last, seq;
    struct err why = ERR_INIT;
    if (col->deleted) return err_set(e, ERR_NOT_FOUND, "the collection was deleted");
    if (col->index_dirty && writer__repair_index(&g->writer, col, &why) != ERR_OK)
        return ERR_OK; /* or what it lacks would be lacking in what is kept to go back to */
    TRY(catalog_last_change(g->catalog, &col->row, &last, e));
    if (last > p->next->seq) return ERR_OK;
    TRY(catalog_generation_serve(g->catalog, &col->row, &p->next->row, p->run_id, &seq, e));
    put_in_place(g, p, seq);
    linker_schedule(&g->linker, p->next);
    g->writer.checkpoint_due = true;
    s->done = true;
    return ERR_OK;
}

static enum err_code swap(struct engine *g, void *arg, struct err *e)
{
    struct swap *s = arg;
    enum err_code code = try_swap(g, s, e);
    s->p->col->hold_until_ns = 0;
    return code;
}

/* Catch up with the rest while nothing is written, then swap. */
static enum err_code finish_held(
    struct promotion *p, int64_t until_ns, bool *ret_done, struct err *e)
{
    struct swap s = { .p = p };
    size_t n = 1;
    while (n > 0 && time_mono_ns() < until_ns) {
        TRY(promote__go_on(p, e));
        TRY(promote__page(p, &n, e));
    }
    TRY(writer_call(p->g, swap, &s, e));
    *ret_done = s.done;
    return ERR_OK;
}

static enum err_code hold_and_swap(struct promotion *p, bool *ret_done, struct err *e)
{
    TRY(writer_call(p->g, hold, p, e));
    int64_t began = time_mono_ns();
    p->held = true;
    enum err_code code = finish_held(p, began + PROMOTE_HOLD_MS * NS_PER_MS, ret_done, e);
    p->held = false;
    if (code != ERR_OK && writer_call(p->g, let_go, p->col, NULL) != ERR_OK)
        LOG(WARN, "hold_left"); /* it ends by itself */
    p->report.hold_seconds += (double)(time_mono_ns() - began) / (double)NS_PER_S;
    return code;
}

/* ---- all of it ---- */

static enum err_code check(struct promotion *p, int64_t version, struct err *e)
{
    AUTO_GENERATION struct generation *serving = collection_generation(p->col);
    if (serving->row.model_version == version && p->col->row.modality != MODALITY_VECTOR)
        return err_set(e, ERR_CONFLICT, "version %lld of collection \"%.*s\" serves already",
            (long long)version, STR_ARG(p->col->row.name));
    return promote__go_on(p, e);
}

static enum err_code build_and_swap(struct promotion *p, struct err *e)
{
    bool done = false;
    TRY(guess_total(p, e));
    atomic_store(&p->next->abandoned, false);
    atomic_store(&p->next->patient, true);
    linker_schedule(&p->g->linker, p->next);
    TRY(approach(p, e));
    for (;;) {
        TRY(hold_and_swap(p, &done, e));
        if (done) return ERR_OK;
        int64_t until = time_mono_ns() + PROMOTE_GAP_MS * NS_PER_MS;
        for (size_t n = 1; n > 0 && time_mono_ns() < until;) {
            TRY(promote__go_on(p, e));
            TRY(promote__page(p, &n, e));
        }
        TRY(promote__pause(p, until, e));
    }
}

/* What nobody will come back to is not linked any further. */
static void clean_up(struct promotion *p, enum err_code code)
{
    struct collection *col = p->col;
    if (code != ERR_OK) learned_settle(p->g, col);
    if (!p->next) return;
    show_building(p, false);
    if (code != ERR_OK) {
        AUTO_GENERATION struct generation *torn = NULL;
        AUTO_LOCK(&col->lock);
        if (col->previous == p->next && p->torn) {
            torn = col->previous;
            col->previous = NULL;
        }
        if (col->previous != p->next) atomic_store(&p->next->abandoned, true);
        atomic_store(&p->next->patient, true);
        atomic_store(&p->next->link_share, 1);
    }
    generation_unref(p->next);
}

static enum err_code promote(struct promotion *p, int64_t version, struct err *e)
{
    struct catalog_version v;
    TRY(check(p, version, e));
    TRY(find_version(p, version, &v, e));
    TRY(open_generation(p, &v, e));
    show_building(p, true);
    return build_and_swap(p, e);
}

enum err_code promote_version(struct engine *g, struct collection *col, int64_t version,
    int64_t run_id, double rate, struct promote_watch *watch, struct promote_report *ret,
    struct err *e)
{
    int64_t began = time_mono_ns();
    struct promotion p = { .g = g, .col = col, .run_id = run_id, .rate = rate, .watch = watch };
    p.arena = arena_new(ARENA_BYTES, 0);
    if (!p.arena) return err_set(e, ERR_NOMEM, "out of memory for a promotion");
    enum err_code code = promote(&p, version, e);
    clean_up(&p, code);
    arena_free(p.arena);
    if (code != ERR_OK) return code;
    p.report.seconds = (double)(time_mono_ns() - began) / (double)NS_PER_S;
    LOG(INFO, "generation_swapped", F_STR("collection", col->row.name.p), F_INT("version", version),
        F_UINT("replayed", p.report.replayed), F_UINT("encoded", p.report.encoded),
        F_NUM("seconds", p.report.seconds), F_NUM("hold_seconds", p.report.hold_seconds));
    if (p.report.without_vector)
        LOG(WARN, "items_without_vector", F_STR("collection", col->row.name.p),
            F_INT("version", version), F_UINT("items", p.report.without_vector));
    *ret = p.report;
    return ERR_OK;
}
