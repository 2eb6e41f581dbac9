/* Layer: engine. May include: core, index, catalog, base.
 *
 * The encode queue: texts of all operations, packed into batches by token
 * budget, run on the encode threads.
 *
 * A request is cut into jobs of at most ENCODE_JOB_TEXTS texts, so that several
 * threads share a large one and small ones share a batch. The thread that ends
 * a request's last job calls `finished`; until then the request belongs to the
 * encode threads.
 */
#pragma once

#include "base/arena.h"
#include "base/queue.h"
#include "base/thread.h"
#include "engine/models.h"

#include <stdatomic.h>

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
    size_t batch_tokens; /* set once */
};

/** cfg->encode_threads threads. NOMEM, IO; encode_stop cleans up. */
MUST_USE enum err_code encode_start(struct encoders *x, const struct config *cfg, struct err *e);
/** Ends the threads; the queue must be empty. Accepts a zeroed struct. */
void encode_stop(struct encoders *x);

/** Free what threads keep for a model that was dropped from the table (model.dropped is set). The caller holds a
 * reference. */
void encode_forget(struct encoders *x, const struct model *m);

/** Guess of a text's tokens, for budgets. */
static inline size_t encode_cost(struct str text)
{
    return text.n / 4 + 2;
}
/** Allocates the jobs: NOMEM. */
MUST_USE enum err_code encode_prepare(struct encode_request *r, size_t batch_tokens, struct err *e);
/** Hand a prepared request over. Never refuses: permits were taken before. */
void encode_push(struct encoders *x, struct encode_request *r);
/** The first failure that is not the text's own fault (TIMEOUT, NOMEM, …), or NULL. */
const struct err *encode_fatal(const struct encode_request *r);
