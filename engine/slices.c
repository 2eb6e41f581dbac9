#include "engine/slices.h"

#include "base/mem.h"
#include "base/thread.h"

#include <stdio.h>

struct slice {
    struct thread thread;
    slice_fn *fn;
    void *arg;
    size_t from, to;
    enum err_code code;
    struct err why;
};

static void slice_main(void *arg)
{
    struct slice *s = arg;
    s->code = s->fn(s->arg, s->from, s->to, &s->why);
}

static enum err_code worst(const struct slice *slices, size_t n, struct err *e)
{
    const struct slice *failed = NULL;
    for (size_t i = 0; i < n; i++)
        if (slices[i].code != ERR_OK &&
            (!failed || (failed->code == ERR_CANCELLED && slices[i].code != ERR_CANCELLED)))
            failed = &slices[i];
    return failed ? err_set(e, failed->code, "%s", failed->why.msg) : ERR_OK;
}

enum err_code slices_run(unsigned threads, size_t n, slice_fn *fn, void *arg, struct err *e)
{
    size_t n_slices = threads < 1 ? 1 : threads;
    if (n == 0) return ERR_OK;
    if (n_slices > n) n_slices = n;
    AUTO_FREE struct slice *slices = mem_zalloc(n_slices, sizeof *slices);
    if (!slices) return err_set(e, ERR_NOMEM, "no memory for %zu threads", n_slices);
    for (size_t i = 0; i < n_slices; i++) {
        struct slice *s = &slices[i];
        *s = (struct slice){ .fn = fn, .arg = arg, .from = i ? slices[i - 1].to : 0 };
        s->to = s->from + n / n_slices + (i < n % n_slices);
    }
    for (size_t i = 1; i < n_slices; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "slice %zu", i % 1000);
        if (thread_start(&slices[i].thread, name, slice_main, &slices[i], NULL) != ERR_OK)
            slice_main(&slices[i]);
    }
    slice_main(&slices[0]);
    for (size_t i = 1; i < n_slices; i++)
        thread_join(&slices[i].thread);
    return worst(slices, n_slices, e);
}
