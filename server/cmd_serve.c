/* `kindred serve`: settings, engine, HTTP, and then this thread only waits for signals.
 *
 * Signals are blocked before our threads start, so that all inherit the mask and only sigwait here sees
 * them; one that comes to a thread of a library (OpenBLAS has some before main) is passed on. After SIGTERM: /readyz says no while everything is served, for drain_seconds, so that a balancer
 * takes us out; then no connection is accepted, requests under way finish; a long import that is still going
 * is refused its next batch, so that its answer can say how far it came; then the threads end. A second signal
 * shortens the first wait.
 */
#include "base/log.h"
#include "base/thread.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "server/auth.h"
#include "server/cmd.h"
#include "server/http_server.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { FINISH_MS = 10000 };

static int usage_error(const struct err *e)
{
    fprintf(stderr, "kindred serve: %s; see kindred serve --help\n", e->msg);
    return 2;
}

static void print_usage(void)
{
    puts(
        "usage: kindred serve [--data DIR] [--listen ADDR:PORT] [--config FILE] [--insecure] "
        "[FLAG...]\n"
        "\n"
        "Serve embeddings and searches over HTTP. Every flag can also be a line of the file or an\n"
        "environment variable; a flag wins over the environment, and that over the file.\n");
    config_print_help(stdout);
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    }
    return false;
}

static enum err_code read_settings(struct config *cfg, int argc, char **argv, struct err *e)
{
    int next = 0;
    const char *file = config_find_file(argc, argv);
    if (file) TRY(config_read_file(cfg, file, e));
    TRY(config_read_env(cfg, e));
    TRY(config_read_args(cfg, argc, argv, &next, e));
    if (next < argc) return err_set(e, ERR_INVALID, "unexpected argument \"%.64s\"", argv[next]);

    static const char *const levels[] = { "debug", "info", "warn", "error", "off" };
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (strcmp(cfg->log_level, levels[i]) != 0) continue;
        log_set_level((enum log_level)i);
        return ERR_OK;
    }
    return err_set(e, ERR_INVALID, "log_level needs debug, info, warn, error or off, got \"%s\"",
        cfg->log_level);
}

/* ---- signals ---- */

static pthread_t main_thread;

/* Threads that a library started before main did not inherit the mask. */
static void pass_on(int number)
{
    (void)pthread_kill(main_thread, number);
}

static sigset_t block_signals(void)
{
    struct sigaction action = { .sa_handler = pass_on, .sa_flags = SA_RESTART };
    sigset_t set;
    main_thread = pthread_self();
    (void)sigemptyset(&action.sa_mask);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return set;
}

static void wait_for_signal(const sigset_t *set)
{
    int number = 0;
    while (sigwait(set, &number) != 0) {}
    LOG(INFO, "signal", F_STR("name", strsignal(number)));
}

static void wait_seconds(const sigset_t *set, uint64_t seconds)
{
    int64_t end_ns = time_mono_ns() + (int64_t)seconds * NS_PER_S;
    for (int64_t left_ns = end_ns - time_mono_ns(); left_ns > 0;
         left_ns = end_ns - time_mono_ns()) {
        const struct timespec left = { .tv_sec = left_ns / NS_PER_S,
            .tv_nsec = left_ns % NS_PER_S };
        if (sigtimedwait(set, NULL, &left) > 0) return;
    }
}

/* ---- running ---- */

static enum err_code serve(const struct config *cfg, const sigset_t *signals, struct engine *g,
    const struct auth *auth, struct err *e)
{
    const struct http_server_opts o = {
        .cfg = cfg, .engine = g, .auth = auth, .router = { routes, n_routes }
    };
    struct http_server *s = NULL;
    TRY(http_server_start(&o, &s, e));
    LOG(INFO, "listening", F_STR("addr", http_server_address(s)));

    wait_for_signal(signals);
    LOG(INFO, "draining", F_UINT("seconds", cfg->drain_seconds));
    http_server_drain(s);
    wait_seconds(signals, cfg->drain_seconds);
    (void)http_server_quiesce(s, FINISH_MS);
    engine_drain(g);
    http_server_stop(s, FINISH_MS);
    return ERR_OK;
}

static enum err_code run(const struct config *cfg, const sigset_t *signals, struct err *e)
{
    struct auth *auth = NULL;
    struct engine *g = NULL;
    TRY(auth_open(cfg, &auth, e));
    enum err_code code = http_server_check_listen(cfg, auth, e);
    if (code == ERR_OK) code = engine_open(cfg, &g, e);
    if (code == ERR_OK) code = serve(cfg, signals, g, auth, e);
    engine_close(g);
    auth_close(auth);
    return code;
}

/* Models and indexes come and go whole. Left to itself the allocator would take their blocks from its heaps after the first
 * was freed, and keep them. */
static void give_memory_back(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
}

int cmd_serve(int argc, char **argv)
{
    struct config cfg;
    struct err e = ERR_INIT;
    if (wants_help(argc, argv)) {
        print_usage();
        return 0;
    }
    give_memory_back();
    json_init();
    if (config_init(&cfg, &e) != ERR_OK) {
        fprintf(stderr, "kindred serve: %s\n", e.msg);
        return 1;
    }
    int status = 0;
    if (read_settings(&cfg, argc, argv, &e) != ERR_OK) {
        status = usage_error(&e);
    } else {
        sigset_t signals = block_signals();
        if (run(&cfg, &signals, &e) != ERR_OK) {
            fprintf(stderr, "kindred serve: %s\n", e.msg);
            status = 1;
        } else {
            LOG(INFO, "stopped");
        }
    }
    config_done(&cfg);
    return status;
}
