/* Layer: engine. May include: core, index, catalog, base.
 *
 * The encode queue: texts of all operations, packed into batches by token
 * budget, run on the encode threads.
 *
 * A request is cut into jobs of at most ENCODE_JOB_TEXTS texts and a quarter of a batch (one text at least), so
 * that several threads share a large one and small ones share a batch. Budgets count units of work, not tokens:
 * what is waited for is time, and a token of one model costs a thousand times that of another. The thread that
 * ends a request's last job calls `finished`; until then the request belongs to the encode threads.
 */
#pragma once

#include "base/arena.h"
#include "base/queue.h"
#include "base/thread.h"
#include "engine/models.h"

#include <stdatomic.h>
#include <string.h>

enum { ENCODE_JOB_TEXTS = 64 };

struct encode_text {
    struct str text;           /* in */
    float *out;                /* in: [dimensions] */
    const struct err *failure; /* out: in the arena, or static; NULL: `out` is written */
    size_t tokens;             /* out */
};

struct encode_request;
struct encode_job {
    struct queue_node node;
    struct encode_request *request;
    size_t first, n; /* into request->texts */
};

struct encode_request {
    /* in */
    const struct model *model; /* a reference of the request's owner, until `finished` */
    enum encode_kind kind;
    bool truncate; /* false: a text over the model's limit fails */
    enum queue_lane lane;
    int64_t deadline_ns; /* 0: none; jobs past it are not encoded and fail with TIMEOUT */
    struct arena *arena; /* for jobs and failures; not used by others until `finished` */
    struct encode_text *texts;
    size_t n; /* ≥ 1 */
    void (*finished)(struct encode_request *r);
    /* out */
    int64_t queue_ns, work_ns; /* of the last job */
    /* private */
    int64_t pushed_ns;
    struct encode_job *jobs;
    size_t n_jobs;
    atomic_size_t jobs_left;
    _Atomic(const struct err *) hopeless; /* static: out of time or memory, the rest is skipped */
};

struct encode_thread;
struct encoders {
    struct queue *queue;
    struct mutex failure_lock; /* arenas of requests, where several threads may report at once */
    struct encode_thread *threads;
    size_t n_threads;
    size_t batch_units;   /* set once */
    atomic_llong unit_ps; /* picoseconds of a thread for a unit of work, of late; 0: not known */
};

/** cfg->encode_threads threads. NOMEM, IO; encode_stop cleans up. */
MUST_USE enum err_code encode_start(struct encoders *x, const struct config *cfg, struct err *e);
/** Ends the threads; the queue must be empty. Accepts a zeroed struct. */
void encode_stop(struct encoders *x);

/** Seconds that `units` of work take all threads, by what the last passes took; 1 to 60. Any thread. */
unsigned encode_seconds_for(const struct encoders *x, size_t units);

/** Free what threads keep for a model that was dropped from the table (model.dropped is set). The caller holds
 * a reference. */
void encode_forget(struct encoders *x, const struct model *m);

/** What one token of the model counts for in budgets: a unit for each 2^20 floating-point operations, 1 at
 * least. So a batch of 4,096 units is 4,096 tokens of a static model, and about 200 of one with six layers of
 * 384. */
static inline size_t encode_token_cost(const struct model *m)
{
    size_t units = m->info->flops_per_token >> 20;
    return units ? units : 1;
}
/** Guess of what a text costs, in units, with the model's prompt for this kind. m may be NULL: a model that is
 * not there. */
static inline size_t encode_cost(const struct model *m, enum encode_kind kind, struct str text)
{
    if (!m) return text.n / 4 + 2;
    size_t tokens = (text.n + strlen(m->info->prompts[kind])) / 4 + 2;
    if (m->info->max_tokens && tokens > m->info->max_tokens) tokens = m->info->max_tokens;
    return tokens * encode_token_cost(m);
}
/** Allocates the jobs: NOMEM. */
MUST_USE enum err_code encode_prepare(struct encode_request *r, size_t batch_units, struct err *e);
/** Let a request that was pushed end soon: what is not in a batch yet fails with `why`, which is static. Any
 * thread, until `finished`. */
void encode_abandon(struct encode_request *r, const struct err *why);
/** Hand a prepared request over. Never refuses: permits were taken before. */
void encode_push(struct encoders *x, struct encode_request *r);
/** The first failure that is not the text's own fault (TIMEOUT, NOMEM, …), or NULL. */
const struct err *encode_fatal(const struct encode_request *r);
