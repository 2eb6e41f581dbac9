#include "tests/engine/runs_rig.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/runs_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { WAIT_S = 40, STEP_MS = 5 };

static struct runs_tuning as_built;
static char program[TMPDIR_PATH_BYTES];

static const char frame[] =
    "#!/bin/sh\n"
    "[ \"$1\" = train ] || exit 2\n"
    "while [ $# -gt 0 ]; do\n"
    "    case $1 in --run) run=$2; shift;; --data=*) data=${1#--data=};; esac\n"
    "    shift\n"
    "done\n"
    "dir=$data/runs/$run\n"
    "start() { echo 'phase running'; echo 'progress 10 100 0.5'; echo 'data d1d1'; }\n"
    "model() { mkdir -p \"$dir/model\" && cp \"$data/../models/tiny/\"* \"$dir/model/\"; }\n"
    "judged() {\n"
    "    echo 'weights beef'; echo 'phase evaluating'\n"
    "    echo 'metric before.recall_at_10 0.5'; echo 'metric after.recall_at_10 0.625'\n"
    "    echo 'metric gate.tested 1'; echo \"decision $1 the gain is 0.125\"; echo end\n"
    "}\n"
    ". \"$data/../behave.sh\"\n";

static void sleep_a_little(void)
{
    (void)nanosleep(&(struct timespec){ .tv_nsec = STEP_MS * 1000000 }, NULL);
}

void runs_rig_init(struct rig *r)
{
    struct err e = ERR_INIT;
    rig_init(r);
    as_built = runs__tuning;
    tmpdir_file(&r->dir, "trainer.sh", program);
    ck_assert_ok(file_write_atomic(program, frame, sizeof frame - 1, &e), &e);
    ck_assert_int_eq(chmod(program, 0700), 0);
    runs__tuning.program = program;
    runs__tuning.term_ms = 300;
    runs__tuning.retry_ms = 10;
    runs_rig_behave(r, "start; model; judged promote");
}

void runs_rig_done(struct rig *r)
{
    rig_done(r);
    runs__tuning = as_built;
}

void runs_rig_behave(struct rig *r, const char *script)
{
    struct err e = ERR_INIT;
    char path[TMPDIR_PATH_BYTES];
    tmpdir_file(&r->dir, "behave.sh", path);
    ck_assert_ok(file_write_atomic(path, script, strlen(script), &e), &e);
}

char *runs_rig_file(const struct rig *r, int64_t run, const char *tail, char ret[400])
{
    (void)snprintf(ret, 400, "%s/runs/%lld/%s", r->cfg.data, (long long)run, tail);
    return ret;
}

enum err_code rig_run(struct rig *r, struct call *c, struct run_op *op)
{
    struct err e = ERR_INIT;
    call_begin(c, &op->op);
    enum err_code code = engine_run_submit(r->g, op, &e);
    return call_wait(c, &op->op, code, &e);
}

int64_t rig_retrain(struct rig *r, const char *collection, enum run_promote promote)
{
    CALL c;
    call_init(&c);
    struct run_op op = { .action = RUN_DO_RETRAIN,
        .retrain = { .collection = str_from(collection), .promote = promote } };
    ck_assert_ok(rig_run(r, &c, &op), &op.op.err);
    ck_assert_int_gt(op.info.id, 0);
    ck_assert(str_is(op.info.collection, collection));
    return op.info.id;
}

enum err_code rig_cancel(struct rig *r, int64_t run)
{
    CALL c;
    call_init(&c);
    struct run_op op = { .action = RUN_DO_CANCEL, .run = run };
    return rig_run(r, &c, &op);
}

struct catalog_run rig_run_get(struct rig *r, struct call *c, int64_t run)
{
    struct err e = ERR_INIT;
    struct catalog_run ret;
    ck_assert_ok(engine_run_get(r->g, run, c->arena, &ret, &e), &e);
    return ret;
}

void rig_wait_status(struct rig *r, int64_t run, enum run_status want)
{
    int64_t until = time_mono_ns() + WAIT_S * NS_PER_S * (test_is_slow_run() ? 4 : 1);
    for (;;) {
        CALL c;
        call_init(&c);
        struct catalog_run row = rig_run_get(r, &c, run);
        struct run_progress p;
        /* Final: gone from memory too. */
        if (row.status == want && run_is_final(want) == !engine_run_progress(r->g, run, &p)) return;
        ck_assert_msg(!run_is_final(row.status) || row.status == want,
            "run %lld is %s, not %s: %.*s%.*s", (long long)run, run_status_name(row.status),
            run_status_name(want), STR_ARG(row.error), STR_ARG(row.decision));
        ck_assert_msg(time_mono_ns() < until, "run %lld is still %s, not %s", (long long)run,
            run_status_name(row.status), run_status_name(want));
        sleep_a_little();
    }
}

double run_metric(const struct catalog_run *run, const char *name)
{
    for (size_t i = 0; i < run->n_metrics; i++)
        if (str_is(run->metrics[i].name, name)) return run->metrics[i].value;
    return NAN;
}

void rig_wait_file(const char *path)
{
    int64_t until = time_mono_ns() + WAIT_S * NS_PER_S;
    while (!file_exists(path)) {
        ck_assert_msg(time_mono_ns() < until, "%s does not come", path);
        sleep_a_little();
    }
}
