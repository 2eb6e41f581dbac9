/* A training process around train_job_run: what it reads from the catalog, how it keeps out of the server's way,
 * and how it ends. Everything a server has to know goes to standard output as lines; a server that is gone is
 * noticed by the signal that was asked for, and by the pipe. */
#include "engine/train_job.h"

#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine/models.h"
#include "engine/run_folder.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* A sanitizer maps terabytes of addresses for itself. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { LOCK_WAIT_MS = 5000, LOCK_PAUSE_MS = 50, NICE = 19 };
/* From being asked to end to ending in the middle of a step: as long as a server waits before SIGKILL. Where the
 * server is gone, the next one's process waits for the folder meanwhile, and not for ever. */
enum { STOP_S = 5 };

static volatile sig_atomic_t stopped;

/* What a job borrows from the catalog and from the model folders. */
struct source {
    struct arena *arena;
    struct catalog *catalog;
    struct catalog_collection col;
    char *parent_dir,
        *base_dir; /* base_dir: NULL where the parent is the base, or the base is gone */
    size_t judged;
};

static void source_done(struct source *s)
{
    mem_free(s->parent_dir);
    mem_free(s->base_dir);
    catalog_close(s->catalog);
    arena_free(s->arena);
}

static enum err_code source_open(struct source *s, const struct config *cfg, struct err *e)
{
    AUTO_FREE char *path = path_join(cfg->data, "catalog.db");
    s->arena = arena_new(1 << 14, 0);
    if (!s->arena || !path) return err_set(e, ERR_NOMEM, "no memory to open the catalog");
    return catalog_open_reader(path, &s->catalog, e);
}

/* ---- the version it starts from ---- */

/* A base model, found as the server does. Nothing is loaded: there is memory for one model. */
static enum err_code find_base(const struct config *cfg, struct str name, struct str weights_hash,
    char **ret_dir, struct err *e)
{
    AUTO_FREE char *dir = NULL;
    struct model found = { .dir = NULL };

    TRY(models_find_folder(cfg, name, &dir, e));
    TRY(model_hash(dir, found.weights_hash, e));
    if (!model_is_same(&found, weights_hash))
        return err_set(e, ERR_UNPROCESSABLE,
            "model \"%.*s\" is another than the one that made the collection's vectors",
            STR_ARG(name));
    *ret_dir = steal_ptr(&dir);
    return ERR_OK;
}

/* That of a learned version. Where it is gone, falls are counted from the parent alone. */
static enum err_code find_base_of(struct source *s, const struct config *cfg,
    const struct catalog_version *rows, size_t n, struct err *e)
{
    struct err why = ERR_INIT;
    size_t i = 0;
    while (i < n && rows[i].run_id != 0)
        i++;
    if (i == n) return ERR_OK;
    enum err_code code =
        find_base(cfg, rows[i].base_model, rows[i].weights_hash, &s->base_dir, &why);
    return code == ERR_NOMEM ? err_set(e, code, "%s", why.msg) : ERR_OK;
}

static enum err_code find_parent(struct source *s, const struct config *cfg, int64_t version,
    struct str *ret_name, struct err *e)
{
    struct catalog_version *rows;
    size_t n, i = 0;
    const char *name;

    if (s->col.modality == MODALITY_VECTOR)
        return err_set(e, ERR_UNPROCESSABLE, "a collection of vectors has no model to train");
    TRY(catalog_versions(s->catalog, &s->col, s->arena, &rows, &n, e));
    while (i < n && rows[i].version != version)
        i++;
    if (i == n)
        return err_set(e, ERR_NOT_FOUND, "the collection has no version %lld", (long long)version);
    const struct str base = rows[i].base_model;
    if (rows[i].run_id == 0) {
        name = arena_printf(s->arena, "%.*s", STR_ARG(base));
        TRY(find_base(cfg, base, rows[i].weights_hash, &s->parent_dir, e));
    } else {
        name = arena_printf(
            s->arena, "%.*s/%.*s@%lld", STR_ARG(s->col.name), STR_ARG(base), (long long)version);
        s->parent_dir = run_path(cfg->data, rows[i].run_id, "model");
        TRY(find_base_of(s, cfg, rows, n, e));
    }
    if (!name || !s->parent_dir) return err_set(e, ERR_NOMEM, "no memory for a path");
    *ret_name = str_from(name);
    return catalog_runs_judged(s->catalog, s->col.id, &s->judged, e);
}

/* ---- keeping out of the way ---- */

static void on_signal(int number)
{
    stopped = number;
    (void)alarm(STOP_S);
}

/* Lowest priority of processor and disk, no more memory than allowed, and no life after the server's. What the
 * system refuses is not worth failing for. */
static void keep_back(const struct config *cfg, pid_t parent)
{
    const struct sched_param param = { .sched_priority = 0 };
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGALRM, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) on_signal(SIGTERM); /* it died before the signal was asked for */
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    (void)sched_setscheduler(0, SCHED_IDLE, &param);
    const rlim_t bytes = (rlim_t)cfg->learn_memory_mb << 20;
#ifdef SANITIZED /* a sanitizer reserves terabytes */
    (void)bytes;
#else
    (void)setrlimit(RLIMIT_AS, &(struct rlimit){ bytes, bytes });
#endif
}

/* The process before this one may still be on its way out. */
static enum err_code lock_folder(const char *path, int *ret_fd, struct err *e)
{
    int64_t give_up_ns = time_mono_ns() + LOCK_WAIT_MS * NS_PER_MS;
    for (;;) {
        enum err_code code = file_lock(path, ret_fd, e);
        if (code != ERR_CONFLICT || stopped || time_mono_ns() >= give_up_ns) return code;
        (void)poll(NULL, 0, LOCK_PAUSE_MS);
    }
}

/* ---- saying ---- */

static void say(void *arg, const struct run_line *line)
{
    struct buf *b = arg;

    buf_clear(b);
    if (run_line_write(b, line, NULL) != ERR_OK) return;
    for (size_t at = 0; at < b->n;) {
        ssize_t n = write(STDOUT_FILENO, b->p + at, b->n - at);
        if (n > 0) {
            at += (size_t)n;
        } else if (errno != EINTR) {
            if (!stopped) on_signal(SIGPIPE); /* nobody listens */
            return;
        }
    }
}

/* ---- a run of the server ---- */

static enum err_code open_run(struct source *s, const struct config *cfg, int64_t id,
    struct catalog_run *run, struct str *ret_parent, struct err *e)
{
    TRY(source_open(s, cfg, e));
    TRY(catalog_run_get(s->catalog, id, s->arena, run, e));
    if (run->kind != RUN_TRAIN || run_is_final(run->status))
        return err_set(e, ERR_CONFLICT, "run %lld is not one to train", (long long)id);
    TRY(catalog_collection_find(s->catalog, run->collection_id, STR(""), s->arena, &s->col, e));
    return find_parent(s, cfg, run->from_version, ret_parent, e);
}

static enum err_code run_job(
    const struct config *cfg, int64_t id, const char *folder, struct buf *line, struct err *e)
{
    AUTO(source_done) struct source s = { .arena = NULL };
    struct train_job_report report;
    struct catalog_run run;
    struct train_job job = { .cfg = cfg,
        .folder = folder,
        .col = &s.col,
        .run = &run,
        .stop = &stopped,
        .say = say,
        .arg = line };

    TRY(open_run(&s, cfg, id, &run, &job.parent_name, e));
    job.parent_dir = s.parent_dir;
    job.base_dir = s.base_dir;
    job.catalog = s.catalog;
    job.test = s.judged + 1;
    return train_job_run(&job, &report, e);
}

static enum err_code run_locked(
    const struct config *cfg, int64_t id, struct buf *line, bool *ret_busy, struct err *e)
{
    AUTO_FREE char *folder = run_path(cfg->data, id, "");
    AUTO_FREE char *lock = run_path(cfg->data, id, "lock");
    int fd;

    if (!folder || !lock) return err_set(e, ERR_NOMEM, "no memory for a path");
    if (!dir_exists(folder)) /* the server makes it */
        return err_set(e, ERR_NOT_FOUND, "there is no folder %s of such a run", folder);
    enum err_code code = lock_folder(lock, &fd, e);
    *ret_busy = code == ERR_CONFLICT;
    if (*ret_busy) LOG(WARN, "run_folder_busy", F_INT("run", id), F_STR("folder", folder));
    if (code != ERR_OK) return code;
    code = run_job(cfg, id, folder, line, e);
    close(fd);
    return code;
}

int train_job_process(const struct config *cfg, int64_t run)
{
    pid_t parent = getppid();
    struct buf line = BUF_INIT(0);
    struct err e = ERR_INIT;
    bool busy = false;

    keep_back(cfg, parent);
    enum err_code code = run_locked(cfg, run, &line, &busy, &e);
    int status = code == ERR_OK ? 0 : 1;
    if (code == ERR_CANCELLED || stopped || busy) {
        status = RUN_EXIT_RESUMABLE;
    } else {
        if (code != ERR_OK)
            say(&line,
                &(struct run_line){ .kind = LINE_ERROR, .code = code, .text = str_from(e.msg) });
        say(&line, &(struct run_line){ .kind = LINE_END });
    }
    buf_done(&line);
    return status;
}

/* ---- by hand ---- */

enum err_code train_job_collection(
    const struct train_job_by_hand *o, struct train_job_report *ret, struct err *e)
{
    AUTO(source_done) struct source s = { .arena = NULL };
    struct train_job job = { .cfg = o->cfg,
        .folder = o->folder,
        .col = &s.col,
        .run = o->run,
        .gate = o->gate,
        .stop = o->stop,
        .say = o->say,
        .arg = o->arg };

    TRY(source_open(&s, o->cfg, e));
    TRY(catalog_collection_find(s.catalog, 0, str_from(o->collection), s.arena, &s.col, e));
    TRY(find_parent(&s, o->cfg, s.col.serving.model_version, &job.parent_name, e));
    job.parent_dir = s.parent_dir;
    job.base_dir = s.base_dir;
    job.catalog = s.catalog;
    job.test = s.judged + 1;
    return train_job_run(&job, ret, e);
}
