/* One training process. It is not trusted: it may die, hang, or talk nonsense, and none of that costs more
 * than its run. Lines are read as they come; one that is too long or malformed is dropped and counted. */
#include "engine/trainer_child.h"

#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "engine/run_folder.h"
#include "engine/spawn.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

enum { TICK_MS = 100, SAVE_S = 10 };

static struct metric active = METRIC_GAUGE("kindred_run_active", "1 while a run trains.");
static struct metric step_gauge = METRIC_GAUGE("kindred_run_step", "Steps of the run that trains.");
static struct metric steps_gauge =
    METRIC_GAUGE("kindred_run_steps", "Steps that it will have when it is done.");
static struct metric starts =
    METRIC_COUNTER("kindred_trainer_starts_total", "Training processes started.");

/* One process being followed. */
struct follow {
    struct runs *r;
    struct run_entry *entry;
    struct catalog_run *row;
    struct trainer_result *ret;
    int64_t *best_step;
    struct child child;
    char line[RUN_LINE_MAX];
    size_t n_line;
    bool skip_line; /* too long: dropped up to its end */
    size_t bad_lines;
    bool has_decision, has_error, has_end, has_progress;
    int64_t sign_ns, saved_ns; /* last line; last time the row was written */
    int64_t kill_ns;           /* SIGKILL then; 0: it was not asked to end */
    bool killed, silent;
};

/* ---- arguments ---- */

static bool is_passed_on(const char *key)
{
    static const char *const keys[] = { "data", "models", "default_model", "simd", "log_level" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return strncmp(key, "learn.", 6) == 0 || strncmp(key, "limits.", 7) == 0;
}

static const char *flag(struct arena *a, const char *key, const char *value)
{
    char *ret = arena_printf(a, "--%s=%s", key, value);
    for (char *p = ret; p && *p && *p != '='; p++)
        if (*p == '.' || *p == '_') *p = '-';
    return ret;
}

static const char *number_flag(struct arena *a, const char *key, uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return flag(a, key, text);
}

const char *const *trainer_child_argv(const struct config *cfg, int64_t run, struct arena *a)
{
    enum {
#define OPT(type, field, key, env, def, min, max, help) COUNT_##field,
#include "engine/options.def"
#undef OPT
        OPTIONS
    };
    const char **argv = arena_zalloc(a, OPTIONS + 5, sizeof *argv), **to = argv;
    if (!argv) return NULL;
    *to++ = "kindred";
    *to++ = "train";
    *to++ = "--run";
    *to++ = arena_printf(a, "%lld", (long long)run);
#define FLAG_STR(key, value) flag(a, key, value)
#define FLAG_U64(key, value) number_flag(a, key, value)
#define FLAG_BOOL(key, value) flag(a, key, (value) ? "true" : "false")
#define OPT(type, field, key, env, def, min, max, help)                                            \
    if (is_passed_on(key)) *to++ = FLAG_##type(key, cfg->field);
#include "engine/options.def"
#undef OPT
    for (const char **at = argv; at < to; at++)
        if (!*at) return NULL;
    return argv;
}

/* ---- what it says ---- */

static void copy_text(char *to, size_t size, struct str from)
{
    (void)snprintf(to, size, "%.*s", STR_ARG(from));
}

static void take_metric(struct trainer_result *ret, const struct run_line *line)
{
    size_t i = 0;
    while (i < ret->n_metrics && !str_eq(ret->metrics[i].name, line->name))
        i++;
    if (i == RUN_METRICS_MAX) return;
    if (i == ret->n_metrics) {
        copy_text(ret->names[i], sizeof ret->names[i], line->name);
        ret->metrics[i].name = str_from(ret->names[i]);
        ret->n_metrics++;
    }
    ret->metrics[i].value = line->value;
}

static void save(struct follow *f, int64_t now_ns)
{
    f->saved_ns = now_ns;
    (void)runs__save(f->r, f->row, NULL);
}

static void take_phase(struct follow *f, enum run_status phase)
{
    /* A process that was started again and says "running" does not set an evaluation back. */
    if (phase <= f->row->status) return;
    f->row->status = phase;
    f->ret->progressed = true;
    runs__show(f->r, f->entry, f->row);
    save(f, time_mono_ns());
    LOG(INFO, "run_phase", F_INT("run", f->row->id), F_STR("status", run_status_name(phase)));
}

static void take_progress(struct follow *f, const struct run_line *line)
{
    f->has_progress = true;
    f->row->step = line->step;
    f->row->steps = line->steps;
    f->row->loss = line->value;
    if (line->step > *f->best_step) {
        *f->best_step = line->step;
        f->ret->progressed = true;
    }
    metric_set(&step_gauge, NULL, (double)line->step);
    metric_set(&steps_gauge, NULL, (double)line->steps);
    runs__show(f->r, f->entry, f->row);
    int64_t now = time_mono_ns();
    if (now - f->saved_ns >= SAVE_S * NS_PER_S) save(f, now);
}

static void take_line(struct follow *f, struct str text)
{
    struct run_line line;
    struct trainer_result *ret = f->ret;
    if (run_line_parse(text, &line, NULL) != ERR_OK) {
        f->bad_lines++;
        return;
    }
    f->sign_ns = time_mono_ns();
    switch (line.kind) {
    case LINE_PHASE: take_phase(f, line.phase); break;
    case LINE_PROGRESS: take_progress(f, &line); break;
    case LINE_DATA:
        copy_text(ret->data_hash, sizeof ret->data_hash, line.name);
        f->row->data_hash = str_from(ret->data_hash);
        break;
    case LINE_METRIC: take_metric(ret, &line); break;
    case LINE_WEIGHTS: copy_text(ret->weights_hash, sizeof ret->weights_hash, line.name); break;
    case LINE_DECISION:
        f->has_decision = true;
        ret->promote = line.promote;
        copy_text(ret->text, sizeof ret->text, line.text);
        break;
    case LINE_ERROR:
        f->has_error = true;
        ret->code = line.code;
        copy_text(ret->text, sizeof ret->text, line.text);
        break;
    case LINE_END: f->has_end = true; break;
    }
}

static void take_bytes(struct follow *f, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n') {
            if (!f->skip_line) take_line(f, (struct str){ f->line, f->n_line });
            f->n_line = 0;
            f->skip_line = false;
        } else if (f->n_line < sizeof f->line) {
            f->line[f->n_line++] = p[i];
        } else if (!f->skip_line) {
            f->skip_line = true;
            f->bad_lines++;
        }
    }
}

/* ---- following it ---- */

static void kill_hard(struct follow *f)
{
    child_signal(&f->child, SIGKILL);
    f->killed = true;
}

/* Its priority is the lowest there is: where others take all cores it does not get to say anything, and is not dead. */
static bool is_starved(const struct follow *f, int64_t silent_ns)
{
    return silent_ns < runs__tuning.long_silence_ms * NS_PER_MS && child_is_runnable(&f->child);
}

static int64_t silence_ms(const struct follow *f)
{
    bool trains = f->row->status == RUN_RUNNING && f->has_progress && f->row->step < f->row->steps;
    return trains ? runs__tuning.silence_ms : runs__tuning.long_silence_ms;
}

/* Ask it to end when that is wanted; kill it when it does not. */
static void check(struct follow *f)
{
    int64_t now = time_mono_ns();
    if (f->killed) return;
    if (!f->kill_ns && (runs__is_cancelled(f->r, f->entry) || runs__is_stopping(f->r))) {
        child_signal(&f->child, SIGTERM);
        f->kill_ns = now + runs__tuning.term_ms * NS_PER_MS;
    }
    if (f->kill_ns && now >= f->kill_ns) kill_hard(f);
    if (!f->kill_ns && now - f->sign_ns > silence_ms(f) * NS_PER_MS &&
        !is_starved(f, now - f->sign_ns)) {
        f->silent = true;
        kill_hard(f);
    }
}

static void follow(struct follow *f)
{
    char bytes[4096];
    f->sign_ns = f->saved_ns = time_mono_ns();
    while (!child_has_ended(&f->child)) {
        size_t n = child_read(&f->child, bytes, sizeof bytes, TICK_MS);
        take_bytes(f, bytes, n);
        check(f);
        (void)runs__give_up(f->r, time_mono_ns());
    }
    /* What is left in the pipe, which a process it left behind may keep open. */
    child_signal(&f->child, SIGKILL);
    for (size_t n; (n = child_read(&f->child, bytes, sizeof bytes, 0)) > 0;)
        take_bytes(f, bytes, n);
}

/* ---- how it ended ---- */

static void say_death(struct follow *f, int status)
{
    char *to = f->ret->text;
    const size_t size = sizeof f->ret->text;
    unsigned long long mb = f->r->engine->cfg->learn_memory_mb;
    if (WIFSIGNALED(status))
        (void)snprintf(to, size,
            "the training process was killed by signal %d (%s); learn.memory_mb allows it %llu MiB",
            WTERMSIG(status), strsignal(WTERMSIG(status)), mb);
    else
        (void)snprintf(to, size,
            "the training process ended with status %d and without a result; runs/%lld/log.txt has "
            "what it wrote",
            WEXITSTATUS(status), (long long)f->row->id);
}

static void judge(struct follow *f, int status)
{
    struct trainer_result *ret = f->ret;
    bool exited = WIFEXITED(status);
    bool again = !exited || WEXITSTATUS(status) == RUN_EXIT_RESUMABLE || WEXITSTATUS(status) == 0;
    bool cancelled = runs__is_cancelled(f->r, f->entry);
    if (cancelled) {
        ret->end = TRAINER_CANCELLED;
    } else if (f->has_end && f->has_decision && exited && WEXITSTATUS(status) == 0) {
        ret->end = TRAINER_TOLD;
    } else if (f->silent) {
        ret->end = TRAINER_SILENT;
        ret->code = ERR_TIMEOUT;
        (void)snprintf(ret->text, sizeof ret->text,
            "the training process gave no sign of life for %lld seconds and was killed",
            (long long)(silence_ms(f) / 1000));
    } else if (runs__is_stopping(f->r)) {
        ret->end = TRAINER_STOPPED;
    } else if (f->has_error && exited && WEXITSTATUS(status) != RUN_EXIT_RESUMABLE) {
        ret->end = TRAINER_FAILED;
    } else {
        ret->end = again ? TRAINER_DIED : TRAINER_FAILED;
        ret->code = ERR_INTERNAL;
        say_death(f, status);
    }
}

static enum err_code start(struct follow *f, struct arena *a, struct err *e)
{
    const struct config *cfg = f->r->engine->cfg;
    const char *threads = arena_printf(a, "%llu", (unsigned long long)cfg->learn_threads);
    const char *env[] = { threads ? arena_printf(a, "OPENBLAS_NUM_THREADS=%s", threads) : NULL,
        threads ? arena_printf(a, "OMP_NUM_THREADS=%s", threads) : NULL, NULL };
    const char *const *argv = trainer_child_argv(cfg, f->row->id, a);
    AUTO_FREE char *folder = run_path(cfg->data, f->row->id, "");
    AUTO_FREE char *log = run_path(cfg->data, f->row->id, "log.txt");
    if (!argv || !env[0] || !env[1] || !folder || !log)
        return err_set(e, ERR_NOMEM, "out of memory for starting the training process");
    TRY(dir_make(folder, e));
    const struct spawn_options o = {
        .program = runs__tuning.program ? runs__tuning.program : "/proc/self/exe",
        .argv = argv,
        .stderr_path = log,
        .env = env,
    };
    TRY(child_start(&o, &f->child, e));
    metric_add(&starts, NULL, 1);
    LOG(INFO, "trainer_started", F_INT("run", f->row->id), F_INT("attempt", f->row->attempts),
        F_INT("pid", f->child.pid));
    return ERR_OK;
}

void trainer_child_run(struct runs *r, struct run_entry *entry, struct catalog_run *row,
    int64_t *best_step, struct trainer_result *ret)
{
    struct follow f = {
        .r = r, .entry = entry, .row = row, .ret = ret, .best_step = best_step, .child = CHILD_INIT
    };
    struct err e = ERR_INIT;
    char data_hash[sizeof ret
                       ->data_hash]; /* of an earlier process; row->data_hash may lie in *ret */
    copy_text(data_hash, sizeof data_hash, row->data_hash);
    *ret = (struct trainer_result){ .end = TRAINER_FAILED, .code = ERR_NOMEM };
    memcpy(ret->data_hash, data_hash, sizeof data_hash);
    row->data_hash = str_from(ret->data_hash);
    struct arena *a = arena_new(1 << 12, 0);
    enum err_code code =
        a ? start(&f, a, &e) : err_set(&e, ERR_NOMEM, "out of memory for the training process");
    if (code == ERR_OK) {
        metric_set(&active, NULL, 1);
        follow(&f);
        judge(&f, child_reap(&f.child));
        metric_set(&active, NULL, 0);
    } else {
        ret->code = code;
        copy_text(ret->text, sizeof ret->text, str_from(e.msg));
    }
    if (f.bad_lines)
        LOG(WARN, "trainer_bad_lines", F_INT("run", row->id), F_UINT("lines", f.bad_lines));
    arena_free(a);
}
