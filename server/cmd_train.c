/* Which mode of `kindred train` is meant, and what all modes need. */
#include "server/cmd_train.h"

#include "base/thread.h"
#include "server/cmd.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_CHARS = 32, LINE_SECONDS = 5, SECONDS_PER_MINUTE = 60 };

/* The first of these flags that is there decides; without any it is files, whose usage is then shown. */
static const struct mode {
    const char *flag;
    int (*run)(int argc, char **argv); /* gets all arguments */
} modes[] = {
    { "--pairs", cmd_train_files },
    { "--taught", cmd_train_files },
    { "--run", cmd_train_run },
    { "--collection", cmd_train_run },
};

static bool is_flag(const char *arg, const char *flag)
{
    size_t n = strlen(flag);

    return strncmp(arg, flag, n) == 0 && (arg[n] == '\0' || arg[n] == '=');
}

int cmd_train(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
            if (is_flag(argv[i], modes[m].flag)) return modes[m].run(argc, argv);
    return cmd_train_files(argc, argv);
}

/* ---- stopping ---- */

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    stop = number;
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
}

const volatile sig_atomic_t *cmd_train_stop(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

    stop = 0;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    return &stop;
}

/* ---- progress ---- */

static void show_bar(const struct trainer_progress *p, double part)
{
    char bar[BAR_CHARS + 1];
    double left = part > 0 ? p->seconds * (1 - part) / part : 0;
    int minutes = (int)(left / SECONDS_PER_MINUTE);

    memset(bar, ' ', BAR_CHARS);
    memset(bar, '#', (size_t)(part * BAR_CHARS));
    bar[BAR_CHARS] = '\0';
    fprintf(stderr, "\r[%s] %3d%%  step %lld  loss %.3f  %.0f pairs/s  %d:%02d left  ", bar,
        (int)(part * 100), (long long)p->step, p->loss, p->pairs_per_second, minutes,
        (int)left - minutes * SECONDS_PER_MINUTE);
    fflush(stderr);
}

static void show_line(const struct trainer_progress *p)
{
    if (p->texts) {
        fprintf(stderr, "%zu texts through the layers that do not learn\n", p->texts);
        return;
    }
    fprintf(stderr, "step %lld of %lld, %.0f s: loss %.3f", (long long)p->step, (long long)p->steps,
        p->seconds, p->loss);
    if (isfinite(p->pair_loss) && p->pair_loss > 0) fprintf(stderr, ", pairs %.3f", p->pair_loss);
    if (isfinite(p->distill_loss) && p->distill_loss > 0)
        fprintf(stderr, ", teacher %.3f", p->distill_loss);
    if (isfinite(p->anchor_loss) && p->anchor_loss > 0)
        fprintf(stderr, ", start %.3f", p->anchor_loss);
    fprintf(stderr, ", rate %.3g, %.0f pairs/s\n", p->rate, p->pairs_per_second);
}

void cmd_train_progress(void *arg, const struct trainer_progress *p)
{
    struct cmd_train_display *d = arg;
    int64_t now = time_mono_ns();
    double part = p->steps > 0 ? (double)p->step / (double)p->steps : 0;

    if (!d->began) d->terminal = isatty(STDERR_FILENO) != 0;
    if (!d->terminal && d->began && p->step < p->steps &&
        now - d->shown_ns < LINE_SECONDS * NS_PER_S)
        return;
    d->began = true;
    d->shown_ns = now;
    if (part > 1) part = 1;
    if (d->terminal && p->texts) {
        fprintf(stderr, "\r%zu texts through the layers that do not learn  ", p->texts);
        d->shown = true;
    } else if (d->terminal) {
        show_bar(p, part);
        d->shown = true;
    } else {
        show_line(p);
    }
}

void cmd_train_progress_end(struct cmd_train_display *d)
{
    if (d->shown) fputc('\n', stderr);
    d->shown = false;
}
