/* A call is a task of its own for the writer, on the caller's stack: the caller waits until it is done, so nothing
 * has to be allocated and it cannot fail for lack of memory. */
#include "engine/writer_call.h"

#include "engine/engine_internal.h"

struct call {
    struct write_task task;
    struct engine_op op; /* the writer notes waiting times in it */
    enum err_code (*run)(struct engine *g, void *arg, struct err *e);
    void *arg;
    struct err *e;
    enum err_code code;
    struct mutex lock;
    struct cond ended;
    bool done; /* guarded by lock */
};

static void run_alone(struct write_task *t)
{
    struct call *c = container_of(t, struct call, task);
    c->code = c->run(c->op.engine, c->arg, c->e);
    AUTO_LOCK(&c->lock);
    c->done = true;
    cond_signal(&c->ended);
}

enum err_code writer_call(struct engine *g,
    enum err_code (*call)(struct engine *g, void *arg, struct err *e), void *arg, struct err *e)
{
    struct call c = { .run = call, .arg = arg, .e = e, .op.engine = g };
    c.task = (struct write_task){ .op = &c.op, .items = 1, .alone = run_alone };
    mutex_init(&c.lock, RANK_QUEUE);
    cond_init(&c.ended);
    writer_push(&g->writer, LANE_INTERACTIVE, &c.task);
    mutex_lock(&c.lock);
    while (!c.done)
        cond_wait(&c.ended, &c.lock);
    mutex_unlock(&c.lock);
    cond_done(&c.ended);
    mutex_done(&c.lock);
    return c.code;
}
