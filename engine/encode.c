/* Encode threads: pop a batch of jobs of one lane, tokenise, one packed forward pass for each model in it,
 * rows into the requests, then report.
 *
 * A bad text fails alone: its error goes into its own slot and its row is left out. So does one whose row
 * comes out without a direction: stored, it would be in the catalog and in no index. What is no text's fault
 * (no memory, the deadline) fails the job's texts and marks the request hopeless, so that its other jobs are
 * not encoded for nothing.
 *
 * Each thread keeps a workspace for each of the models that it used last, made at first use, and one row buffer
 * that grows. A model that was dropped from the table loses its workspaces at once (encode_forget), or, while
 * requests still use it, after each pass: a workspace points into the encoder, and no request holds the
 * encoder once its last job has ended.
 */
#include "engine/encode.h"

#include "base/mem.h"
#include "base/metrics.h"

#include <math.h>
#include <string.h>

enum { LANE_WEIGHT = 8, BATCH_JOBS_MAX = 256, WORKSPACES_MAX = 32 };

static struct metric encode_seconds =
    METRIC_HISTOGRAM("kindred_encode_seconds", "Time of one forward pass, tokenising included.");
static struct metric encode_wait =
    METRIC_HISTOGRAM("kindred_encode_queue_seconds", "Time a job waited for an encode thread.");
static struct metric encode_batches =
    METRIC_COUNTER("kindred_encode_batches_total", "Forward passes.");
static struct metric encode_texts = METRIC_COUNTER("kindred_encode_texts_total", "Texts encoded.");
static struct metric encode_tokens =
    METRIC_COUNTER("kindred_encode_tokens_total", "Tokens encoded.");

struct cached_workspace {
    const struct model *model;
    struct encoder_workspace *w;
};

struct encode_thread {
    struct encoders *x;
    struct thread thread;
    struct mutex lock;
    struct cached_workspace cache[WORKSPACES_MAX]; /* used last comes first; guarded by lock */
    size_t n_cached;                               /* guarded by lock */
    /* owner: the thread */
    struct encode_text **members; /* whose rows a forward pass makes */
    size_t members_cap;
    float *rows;
    size_t rows_cap;
    size_t units; /* that the pass takes */
};

static const struct err out_of_memory = { .code = ERR_NOMEM,
    .msg = "out of memory while encoding" };
static const struct err too_late = { .code = ERR_TIMEOUT,
    .msg =
        "a request's time (request.timeout_ms) was over before its texts were encoded: send fewer "
        "at a time, or items as NDJSON, which has no such limit" };
static const struct err no_direction = { .code = ERR_EMPTY,
    .msg = "the model's vector of the text has no direction" };

static struct encode_job *job_of(struct queue_node *n)
{
    return (struct encode_job *)((char *)n - offsetof(struct encode_job, node));
}

/* ---- outcome ---- */

static const struct err *keep_failure(
    struct encoders *x, struct encode_request *r, const struct err *e)
{
    AUTO_LOCK(&x->failure_lock);
    struct err *copy = arena_alloc(r->arena, 1, sizeof *copy);
    if (!copy) return &out_of_memory;
    *copy = *e;
    return copy;
}

static bool is_text_fault(enum err_code code)
{
    return code == ERR_INVALID || code == ERR_EMPTY || code == ERR_LIMIT;
}

static void fail_job(struct encode_job *job, const struct err *why)
{
    struct encode_request *r = job->request;
    atomic_store(&r->hopeless, why);
    for (size_t i = 0; i < job->n; i++)
        r->texts[job->first + i].failure = why;
}

static void fail_members(struct encode_thread *t, size_t n, const struct err *why)
{
    for (size_t i = 0; i < n; i++)
        t->members[i]->failure = why;
}

static void end_job(struct encode_job *job, int64_t started_ns)
{
    struct encode_request *r = job->request;
    if (atomic_fetch_sub_explicit(&r->jobs_left, 1, memory_order_acq_rel) != 1) return;
    r->queue_ns = started_ns - r->pushed_ns;
    r->work_ns = time_mono_ns() - started_ns;
    r->finished(r); /* the request may be gone */
}

const struct err *encode_fatal(const struct encode_request *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->texts[i].failure && !is_text_fault(r->texts[i].failure->code))
            return r->texts[i].failure;
    return NULL;
}

/* ---- one batch ---- */

static bool reserve_members(struct encode_thread *t, size_t n)
{
    if (n <= t->members_cap) return true;
    struct encode_text **grown = mem_realloc(t->members, 2 * n, sizeof *grown);
    if (!grown) return false;
    t->members = grown;
    t->members_cap = 2 * n;
    return true;
}

static bool reserve_rows(struct encode_thread *t, size_t n, size_t dim)
{
    size_t floats;
    if (!mem_mul(n, dim, &floats)) return false;
    if (floats <= t->rows_cap) return true;
    float *grown = mem_realloc(t->rows, floats, sizeof *grown);
    if (!grown) return false;
    t->rows = grown;
    t->rows_cap = floats;
    return true;
}

/* Tokenise a job's texts into the workspace; *n counts the members. */
static void add_job(struct encode_thread *t, struct encoder_workspace *w, struct encode_job *job,
    size_t *n, int64_t now)
{
    struct encode_request *r = job->request;
    metric_observe(&encode_wait, NULL, (double)(now - r->pushed_ns) / (double)NS_PER_S);
    if (r->deadline_ns && now > r->deadline_ns) {
        fail_job(job, &too_late);
        return;
    }
    const struct err *hopeless = atomic_load(&r->hopeless);
    if (hopeless) {
        fail_job(job, hopeless);
        return;
    }
    if (!reserve_members(t, *n + job->n)) {
        fail_job(job, &out_of_memory);
        return;
    }
    t->units += job->node.cost;
    for (size_t i = job->first; i < job->first + job->n; i++) {
        struct encode_text *text = &r->texts[i];
        struct err e = ERR_INIT;
        enum err_code code =
            encoder_batch_add_text(w, text->text, r->kind, r->truncate, &text->tokens, &e);
        if (code == ERR_OK)
            t->members[(*n)++] = text;
        else
            text->failure = keep_failure(t->x, r, &e);
    }
}

/* Every value finite, and not all of them zero: tokens may cancel each other out. */
static bool has_direction(const float *row, size_t dim)
{
    double sum = 0;
    for (size_t d = 0; d < dim; d++)
        sum += (double)row[d] * (double)row[d];
    return sum > 0 && isfinite(sum);
}

static void forward(
    struct encode_thread *t, const struct model *m, struct encoder_workspace *w, size_t n)
{
    size_t dim = m->info->dimensions;
    if (n == 0) return;
    if (!reserve_rows(t, n, dim) || encoder_batch_forward(w, t->rows, NULL) != ERR_OK) {
        fail_members(t, n, &out_of_memory); /* memory is all that a forward pass can lack */
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const float *row = t->rows + i * dim;
        memcpy(t->members[i]->out, row, dim * sizeof *row);
        if (!has_direction(row, dim)) t->members[i]->failure = &no_direction;
    }
    metric_add(&encode_batches, NULL, 1);
    metric_add(&encode_texts, NULL, (double)n);
    metric_add(&encode_tokens, NULL, (double)encoder_batch_tokens(w));
}

/* ---- speed ---- */

/* A moving average. Two threads at once may lose one's share of it, which is no harm. */
static void note_speed(struct encoders *x, size_t units, int64_t ns)
{
    enum { MEMORY = 8 };
    if (units == 0) return;
    long long now = (long long)((double)ns * 1000 / (double)units);
    long long before = atomic_load_explicit(&x->unit_ps, memory_order_relaxed);
    atomic_store_explicit(
        &x->unit_ps, before ? before + (now - before) / MEMORY : now + 1, memory_order_relaxed);
}

unsigned encode_seconds_for(const struct encoders *x, size_t units)
{
    enum { LEAST_S = 1, MOST_S = 60 };
    double unit_s = (double)atomic_load_explicit(&x->unit_ps, memory_order_relaxed) * 1e-12;
    double s = ceil((double)units * unit_s / (double)(x->n_threads ? x->n_threads : 1));
    return s < LEAST_S ? LEAST_S : s > MOST_S ? MOST_S : (unsigned)s;
}

/* ---- workspaces ---- */

/* Under the lock: take the model's entry out; NULL: it has none. */
static struct encoder_workspace *uncache(struct encode_thread *t, const struct model *m)
{
    for (size_t i = 0; i < t->n_cached; i++) {
        if (t->cache[i].model != m) continue;
        struct encoder_workspace *w = t->cache[i].w;
        t->n_cached--;
        memmove(&t->cache[i], &t->cache[i + 1], (t->n_cached - i) * sizeof *t->cache);
        return w;
    }
    return NULL;
}

/* The workspace belongs to the thread until it is given back; NULL: no memory. */
static struct encoder_workspace *take_workspace(struct encode_thread *t, const struct model *m)
{
    mutex_lock(&t->lock);
    struct encoder_workspace *w = uncache(t, m);
    mutex_unlock(&t->lock);
    if (!w && encoder_workspace_new(m->encoder, &w, NULL) != ERR_OK) return NULL;
    return w;
}

/* While a request still holds the model. */
static void give_workspace(
    struct encode_thread *t, const struct model *m, struct encoder_workspace *w)
{
    struct encoder_workspace *oldest = NULL;
    mutex_lock(&t->lock);
    if (atomic_load(&m->dropped)) {
        oldest = w;
    } else {
        if (t->n_cached == WORKSPACES_MAX) oldest = t->cache[--t->n_cached].w;
        memmove(&t->cache[1], &t->cache[0], t->n_cached * sizeof *t->cache);
        t->cache[0] = (struct cached_workspace){ m, w };
        t->n_cached++;
    }
    mutex_unlock(&t->lock);
    encoder_workspace_free(oldest);
}

void encode_forget(struct encoders *x, const struct model *m)
{
    for (size_t i = 0; i < x->n_threads; i++) {
        struct encode_thread *t = &x->threads[i];
        mutex_lock(&t->lock);
        struct encoder_workspace *w = uncache(t, m);
        mutex_unlock(&t->lock);
        encoder_workspace_free(w);
    }
}

/* ---- the thread ---- */

/* All jobs of the first one's model; returns the list of the others. */
static struct queue_node *run_model(struct encode_thread *t, struct queue_node *list)
{
    const struct model *m = job_of(list)->request->model;
    struct encoder_workspace *w = take_workspace(t, m);
    struct queue_node *mine = NULL, **mine_tail = &mine, *others = NULL, **others_tail = &others;
    int64_t started = time_mono_ns();
    size_t n = 0;

    t->units = 0;
    if (w) encoder_batch_begin(w);
    for (struct queue_node *node = list, *next; node; node = next) {
        next = node->next;
        node->next = NULL;
        if (job_of(node)->request->model != m) {
            *others_tail = node;
            others_tail = &node->next;
            continue;
        }
        *mine_tail = node;
        mine_tail = &node->next;
        if (w)
            add_job(t, w, job_of(node), &n, started);
        else
            fail_job(job_of(node), &out_of_memory);
    }
    if (w) {
        forward(t, m, w, n);
        note_speed(t->x, t->units, time_mono_ns() - started);
        give_workspace(t, m, w);
    }
    metric_observe(&encode_seconds, NULL, (double)(time_mono_ns() - started) / (double)NS_PER_S);
    for (struct queue_node *node = mine, *next; node; node = next) {
        next = node->next; /* the job may be gone after end_job */
        end_job(job_of(node), started);
    }
    return others;
}

static void encode_main(void *arg)
{
    struct encode_thread *t = arg;
    enum queue_lane lane;
    for (;;) {
        struct queue_node *list =
            queue_pop_batch(t->x->queue, t->x->batch_units, BATCH_JOBS_MAX, &lane);
        if (!list) return;
        while (list)
            list = run_model(t, list);
    }
}

/* ---- requests ---- */

/* One past the last text of the job that begins at `first`; *ret_cost: its guessed cost. */
static size_t job_end(
    const struct encode_request *r, size_t first, size_t slice_units, size_t *ret_cost)
{
    size_t end = first, cost = 0;
    do {
        cost += encode_cost(r->model, r->kind, r->texts[end++].text);
    } while (end < r->n && end - first < ENCODE_JOB_TEXTS && cost < slice_units);
    *ret_cost = cost;
    return end;
}

enum err_code encode_prepare(struct encode_request *r, size_t batch_units, struct err *e)
{
    size_t slice = batch_units / 4 + 1, n = 0, cost;
    for (size_t at = 0; at < r->n; n++)
        at = job_end(r, at, slice, &cost);
    r->jobs = arena_alloc(r->arena, n, sizeof *r->jobs);
    if (!r->jobs) return err_set(e, ERR_NOMEM, "out of memory for an encode request");
    r->n_jobs = n;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t end = job_end(r, at, slice, &cost);
        r->jobs[i] = (struct encode_job){ .request = r, .first = at, .n = end - at };
        r->jobs[i].node.cost = cost;
        at = end;
    }
    for (size_t i = 0; i < r->n; i++)
        r->texts[i].failure = NULL;
    return ERR_OK;
}

void encode_push(struct encoders *x, struct encode_request *r)
{
    /* The last push gives the request away: everything needed is read before. */
    size_t n = r->n_jobs;
    struct encode_job *jobs = r->jobs;
    enum queue_lane lane = r->lane;
    atomic_init(&r->jobs_left, n);
    atomic_init(&r->hopeless, NULL);
    r->pushed_ns = time_mono_ns();
    for (size_t i = 0; i < n; i++) {
        enum err_code code = queue_push(x->queue, lane, &jobs[i].node);
        ASSERT_BUG(code == ERR_OK); /* unbounded, and closed only when nothing is under way */
    }
}

void encode_abandon(struct encode_request *r, const struct err *why)
{
    atomic_store(&r->hopeless, why);
}

/* ---- life cycle ---- */

enum err_code encode_start(struct encoders *x, const struct config *cfg, struct err *e)
{
    mutex_init(&x->failure_lock, RANK_ENGINE);
    x->batch_units = cfg->encode_batch_tokens;
    x->queue = queue_new(SIZE_MAX, LANE_WEIGHT);
    size_t n = cfg->encode_threads ? cfg->encode_threads : thread_cores();
    x->threads = mem_zalloc(n, sizeof *x->threads);
    if (!x->queue || !x->threads) return err_set(e, ERR_NOMEM, "out of memory for encode threads");
    for (; x->n_threads < n; x->n_threads++) {
        struct encode_thread *t = &x->threads[x->n_threads];
        t->x = x;
        mutex_init(&t->lock, RANK_QUEUE);
        enum err_code code = thread_start(&t->thread, "encode", encode_main, t, e);
        if (code != ERR_OK) {
            mutex_done(&t->lock);
            return code;
        }
    }
    return ERR_OK;
}

void encode_stop(struct encoders *x)
{
    if (x->queue) queue_close(x->queue);
    for (size_t i = 0; i < x->n_threads; i++) {
        struct encode_thread *t = &x->threads[i];
        thread_join(&t->thread);
        for (size_t m = 0; m < t->n_cached; m++)
            encoder_workspace_free(t->cache[m].w);
        mutex_done(&t->lock);
        mem_free(t->members);
        mem_free(t->rows);
    }
    if (x->batch_units) mutex_done(&x->failure_lock); /* it was started */
    mem_free(x->threads);
    queue_free(x->queue);
    *x = (struct encoders){ 0 };
}
