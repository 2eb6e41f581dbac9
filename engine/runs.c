/* The table of runs that are not final, its two threads, and the operations that wait for a run's end.
 *
 * Nothing here is lost by a crash: the table is made anew from the catalog at every start. The lock is a leaf,
 * held for moments, never while the catalog is asked. */
#include "engine/runs.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "engine/runs_internal.h"

#include <stdio.h>

enum { END_RETRY_MS = 1000, IDLE_S = 3600 };

struct runs_tuning runs__tuning = {
    .silence_ms = 120000,
    .long_silence_ms = 1800000,
    .term_ms = 5000,
    .retry_ms = 1000,
    .attempts = 3,
};

static struct metric runs_total = METRIC_COUNTER("kindred_runs_total", "Runs that ended.");
static struct metric runs_open = METRIC_GAUGE("kindred_runs_open", "Runs that have not ended.");

const char *run_status_name(enum run_status s)
{
    static const char *const names[] = {
        [RUN_QUEUED] = "queued",
        [RUN_RUNNING] = "running",
        [RUN_EVALUATING] = "evaluating",
        [RUN_PROMOTING] = "promoting",
        [RUN_SUCCEEDED] = "succeeded",
        [RUN_REJECTED] = "rejected",
        [RUN_FAILED] = "failed",
        [RUN_CANCELLED] = "cancelled",
    };
    return names[s];
}

const char *run_kind_name(enum run_kind k)
{
    static const char *const names[] = {
        [RUN_TRAIN] = "train",
        [RUN_PROMOTE] = "promote",
        [RUN_ROLLBACK] = "rollback",
    };
    return names[k];
}

/* ---- the table ---- */

struct run_entry *runs__find(struct runs *r, int64_t id)
{
    struct run_entry *e = r->open;
    while (e && e->id != id)
        e = e->next;
    return e;
}

struct run_entry *runs__of_collection(struct runs *r, int64_t collection_id)
{
    struct run_entry *newest = NULL; /* an older one has ended, and is about to leave the table */
    for (struct run_entry *e = r->open; e; e = e->next)
        if (e->collection_id == collection_id) newest = e;
    return newest;
}

static void changed(struct runs *r, struct run_entry *entry)
{
    entry->change = ++r->changes;
    cond_broadcast(&r->changed);
}

void runs__add(struct runs *r, struct run_entry *entry)
{
    struct run_entry **at = &r->open;
    while (*at && (*at)->id < entry->id)
        at = &(*at)->next;
    entry->next = *at;
    *at = entry;
    r->n_open++;
    metric_set(&runs_open, NULL, (double)r->n_open);
    changed(r, entry);
}

static bool is_for(const struct run_entry *entry, bool promoter)
{
    return promoter == (entry->kind != RUN_TRAIN || entry->status == RUN_PROMOTING);
}

static struct run_entry *choose(struct runs *r, bool promoter)
{
    struct run_entry *oldest = NULL;
    for (struct run_entry *e = r->open; e; e = e->next) {
        if (e->taken || !is_for(e, promoter)) continue;
        if (e->kind == RUN_ROLLBACK) return e;
        if (!oldest) oldest = e;
    }
    return oldest;
}

static uint64_t count_changes(struct runs *r)
{
    AUTO_LOCK(&r->lock);
    return r->changes;
}

struct run_entry *runs__take(struct runs *r, bool promoter)
{
    struct run_entry *entry = NULL;
    for (;;) {
        int64_t until = time_mono_ns() + IDLE_S * NS_PER_S;
        uint64_t seen = count_changes(r); /* who begins to wait after it is not in `until` */
        if (!promoter) {
            until = runs__give_up(r, time_mono_ns());
            runs__sweep(r);
        }
        AUTO_LOCK(&r->lock);
        if (r->stopping) return NULL;
        if ((entry = choose(r, promoter))) {
            entry->taken = true;
            return entry;
        }
        bool news = r->sweep_due || r->changes != seen;
        if (promoter || !news) (void)cond_wait_until(&r->changed, &r->lock, until);
    }
}

void runs__release(struct runs *r, struct run_entry *entry)
{
    AUTO_LOCK(&r->lock);
    entry->taken = false;
    changed(r, entry);
}

void runs__show(struct runs *r, struct run_entry *entry, const struct catalog_run *row)
{
    AUTO_LOCK(&r->lock);
    entry->status = row->status;
    entry->step = row->step;
    entry->steps = row->steps;
    entry->loss = row->loss;
    changed(r, entry);
}

bool runs__is_cancelled(struct runs *r, const struct run_entry *entry)
{
    AUTO_LOCK(&r->lock);
    return entry->cancel;
}

bool runs__is_stopping(struct runs *r)
{
    AUTO_LOCK(&r->lock);
    return r->stopping;
}

void runs__pause(struct runs *r, const struct run_entry *entry, int64_t ms)
{
    int64_t until = time_mono_ns() + ms * NS_PER_MS;
    AUTO_LOCK(&r->lock);
    while (!r->stopping && !entry->cancel && time_mono_ns() < until)
        (void)cond_wait_until(&r->changed, &r->lock, until);
}

bool engine_run_progress(struct engine *g, int64_t run, struct run_progress *ret)
{
    /* Shares of the whole: training, judging, the rest is the promotion. */
    const double trained = 0.75, judged = 0.85;
    struct runs *r = g->runs;
    AUTO_LOCK(&r->lock);
    const struct run_entry *e = runs__find(r, run);
    if (!e) return false;
    double done = (double)atomic_load(&e->watch.done), total = (double)atomic_load(&e->watch.total);
    double caught_up = total > 0 ? done / total : 0;
    double part = e->steps > 0 ? (double)e->step / (double)e->steps : 0;
    if (caught_up > 1) caught_up = 1;
    if (part > 1) part = 1;
    double progress = trained * part;
    if (e->status == RUN_EVALUATING) progress = trained;
    if (e->status == RUN_PROMOTING) progress = judged + (1 - judged) * caught_up;
    if (e->kind != RUN_TRAIN) progress = caught_up;
    *ret = (struct run_progress){
        .change = e->change + atomic_load(&e->watch.done),
        .status = e->status,
        .step = e->step,
        .steps = e->steps,
        .loss = e->loss,
        .progress = progress,
    };
    return true;
}

/* ---- operations that wait ---- */

/* With the run as it is now, final or not. */
static void answer(struct engine *g, struct run_state *s)
{
    struct err e = ERR_INIT;
    struct run_op *op = s->op;
    enum err_code code = runs__read(g, op->info.id, op->op.arena, &op->info, &e);
    engine__finish(&op->op, code == ERR_OK ? NULL : &e);
}

static void answer_all(struct engine *g, struct run_state *list)
{
    for (struct run_state *s = list, *next; s; s = next) {
        next = s->next;
        answer(g, s);
    }
}

/* Take out those whose time is over; all: everybody. *until: when the next one's is. The lock is held. */
static struct run_state *take_waiting(struct runs *r, int64_t now_ns, bool all, int64_t *until)
{
    struct run_state *ret = NULL;
    for (struct run_entry *e = r->open; e; e = e->next) {
        struct run_state **at = &e->waiting;
        while (*at) {
            struct run_state *s = *at;
            if (all || (s->give_up_ns && s->give_up_ns <= now_ns)) {
                *at = s->next;
                s->next = ret;
                ret = s;
                continue;
            }
            if (s->give_up_ns && s->give_up_ns < *until) *until = s->give_up_ns;
            at = &s->next;
        }
    }
    return ret;
}

int64_t runs__give_up(struct runs *r, int64_t now_ns)
{
    int64_t until = now_ns + IDLE_S * NS_PER_S;
    mutex_lock(&r->lock);
    struct run_state *list = take_waiting(r, now_ns, r->stopping, &until);
    mutex_unlock(&r->lock);
    answer_all(r->engine, list);
    return until;
}

/* ---- writing a run's row ---- */

static enum err_code update_row(struct engine *g, void *arg, struct err *e)
{
    return catalog_run_update(g->catalog, arg, e);
}

enum err_code runs__save(struct runs *r, const struct catalog_run *row, struct err *e)
{
    struct err why = ERR_INIT;
    struct catalog_run copy = *row;
    enum err_code code = writer_call(r->engine, update_row, &copy, &why);
    if (code == ERR_OK) return ERR_OK;
    LOG(WARN, "run_not_saved", F_INT("run", row->id), F_STR("code", err_name(code)),
        F_STR("error", why.msg));
    if (e) *e = why;
    return code;
}

void runs__set_failed(struct catalog_run *row, const struct err *why, struct arena *a)
{
    const char *text = arena_strndup(a, why->msg, strlen(why->msg));
    row->status = why->code == ERR_CANCELLED ? RUN_CANCELLED : RUN_FAILED;
    row->error_code = str_from(err_name(why->code));
    row->error = str_from(text ? text : "out of memory");
}

static bool may_pass(enum err_code code)
{
    return code == ERR_FULL || code == ERR_IO || code == ERR_BUSY || code == ERR_NOMEM;
}

void runs__end(struct runs *r, struct run_entry *entry, struct catalog_run *row)
{
    if (row->finished_ms == 0) row->finished_ms = time_unix_ms();
    for (;;) {
        enum err_code code = runs__save(r, row, NULL);
        if (code == ERR_DRAINING || (may_pass(code) && runs__is_stopping(r)))
            return;                 /* the next start goes on from what the catalog knows */
        if (!may_pass(code)) break; /* OK, or it is final already */
        AUTO_LOCK(&r->lock);
        if (!r->stopping)
            (void)cond_wait_until(&r->changed, &r->lock, time_mono_ns() + END_RETRY_MS * NS_PER_MS);
    }
    runs__close(r, entry, row);
    if (row->kind == RUN_TRAIN) runs__tidy(r, row);
}

void runs__end_cancelled(
    struct runs *r, struct run_entry *entry, struct catalog_run *row, struct arena *a)
{
    struct err why = ERR_INIT;
    mutex_lock(&r->lock);
    bool deleted = entry->deleted;
    mutex_unlock(&r->lock);
    (void)err_set(
        &why, ERR_CANCELLED, "%s", deleted ? "the collection was deleted" : "cancelled on request");
    runs__set_failed(row, &why, a);
    runs__end(r, entry, row);
}

bool runs__read_row(
    struct runs *r, struct run_entry *entry, struct arena *a, struct catalog_run *ret)
{
    struct err why = ERR_INIT;
    if (catalog_run_get(r->engine->catalog, entry->id, a, ret, &why) == ERR_OK) return true;
    LOG(ERROR, "run_not_read", F_INT("run", entry->id), F_STR("error", why.msg));
    *ret = (struct catalog_run){
        .id = entry->id, .collection_id = entry->collection_id, .kind = entry->kind
    };
    runs__set_failed(ret, &why, a);
    runs__end(r, entry, ret);
    return false;
}

static void note_end(const struct catalog_run *row)
{
    char labels[64];
    (void)snprintf(labels, sizeof labels, "kind=\"%s\",status=\"%s\"", run_kind_name(row->kind),
        run_status_name(row->status));
    metric_add(&runs_total, labels, 1);
    char why[ERR_MSG_BYTES];
    const struct str said = row->error.n ? row->error : row->decision;
    (void)snprintf(why, sizeof why, "%.*s", STR_ARG(said));
    char name[CATALOG_NAME_MAX + 1];
    (void)snprintf(name, sizeof name, "%.*s", STR_ARG(row->collection));
    LOG(INFO, "run_ended", F_INT("run", row->id), F_STR("collection", name),
        F_STR("kind", run_kind_name(row->kind)), F_STR("status", run_status_name(row->status)),
        F_INT("to_version", row->to_version), F_STR("why", why),
        F_NUM("seconds", (double)(row->finished_ms - row->created_ms) / 1000));
}

void runs__close(struct runs *r, struct run_entry *entry, const struct catalog_run *row)
{
    note_end(row);
    mutex_lock(&r->lock);
    for (struct run_entry **at = &r->open; *at; at = &(*at)->next) {
        if (*at != entry) continue;
        *at = entry->next;
        break;
    }
    r->n_open--;
    r->sweep_due = true;
    metric_set(&runs_open, NULL, (double)r->n_open);
    struct run_state *list = entry->waiting;
    r->changes++;
    cond_broadcast(&r->changed);
    mutex_unlock(&r->lock);
    mem_free(entry);
    answer_all(r->engine, list);
}

/* ---- start and end ---- */

struct collection *runs__collection(struct engine *g, int64_t collection_id)
{
    struct collection *ret = NULL;
    rwlock_rdlock(&g->registry.lock);
    for (size_t i = 0; i < g->registry.n && !ret; i++)
        if (g->registry.rows[i]->row.id == collection_id) ret = g->registry.rows[i];
    if (ret) collection_ref(ret);
    rwlock_unlock(&g->registry.lock);
    return ret;
}

static enum err_code load(struct runs *r, struct arena *a, struct err *e)
{
    struct catalog_run *rows;
    size_t n;
    TRY(catalog_runs_open(r->engine->catalog, a, &rows, &n, e));
    for (size_t i = 0; i < n; i++) {
        struct run_entry *entry = mem_zalloc(1, sizeof *entry);
        if (!entry) return err_set(e, ERR_NOMEM, "out of memory for the runs");
        AUTO_COLLECTION struct collection *col = runs__collection(r->engine, rows[i].collection_id);
        *entry = (struct run_entry){
            .id = rows[i].id,
            .collection_id = rows[i].collection_id,
            .kind = rows[i].kind,
            .status = rows[i].status,
            .step = rows[i].step,
            .steps = rows[i].steps,
            .loss = rows[i].loss,
            .cancel = !col,
            .deleted = !col,
        };
        atomic_store(&entry->watch.cancel, !col);
        AUTO_LOCK(&r->lock);
        runs__add(r, entry);
    }
    if (n) LOG(INFO, "runs_go_on", F_UINT("runs", n));
    return ERR_OK;
}

enum err_code runs_start(struct engine *g, struct err *e)
{
    struct runs *r = mem_zalloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_NOMEM, "out of memory for the runs");
    r->engine = g;
    mutex_init(&r->lock, RANK_QUEUE);
    cond_init(&r->changed);
    r->sweep_due = true;
    g->runs = r;
    struct arena *a = arena_new(1 << 14, 0);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory for the runs");
    enum err_code code = load(r, a, e);
    arena_free(a);
    if (code != ERR_OK) return code;
    TRY(thread_start(&r->trainer, "trainer", runs__trainer_main, r, e));
    return thread_start(&r->promoter, "promoter", runs__promoter_main, r, e);
}

void runs_drain(struct engine *g)
{
    struct runs *r = g->runs;
    if (!r) return;
    AUTO_LOCK(&r->lock);
    r->stopping = true;
    for (struct run_entry *e = r->open; e; e = e->next)
        atomic_store(&e->watch.cancel, true);
    cond_broadcast(&r->changed);
}

void runs_stop(struct engine *g)
{
    if (!g->runs) return;
    runs_drain(g);
    thread_join(&g->runs->trainer);
    thread_join(&g->runs->promoter);
    (void)runs__give_up(g->runs, 0); /* nobody begins to wait after runs_drain */
}

void runs_done(struct engine *g)
{
    struct runs *r = g->runs;
    if (!r) return;
    for (struct run_entry *e = r->open, *next; e; e = next) {
        next = e->next;
        mem_free(e);
    }
    cond_done(&r->changed);
    mutex_done(&r->lock);
    mem_free(r);
    g->runs = NULL;
}
