/* See server_proc.h. The server logs the address that it listens on, with the port that the system chose;
 * that line is read from the log. */
#include "tests/support/server_proc.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/thread.h"
#include "tests/support/http_client.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_WAIT_S = 90, STOP_WAIT_S = 60, ARGS_MAX = 40, LOG_MAX = 1 << 28 };

/* Where it is missing, a tiny one with random rows stands in. */
#define SHIPPED_MODEL "models/text-small"

static void pause_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

char *server_log(const struct server_proc *s)
{
    char path[TMPDIR_PATH_BYTES];
    char *p = NULL;
    size_t n;
    ck_assert_ok(file_read(tmpdir_file(&s->dir, "log", path), LOG_MAX, &p, &n, NULL));
    return p;
}

_Noreturn static void run_server(const struct server_proc *s, const char *const *args)
{
    char data[TMPDIR_PATH_BYTES], log[TMPDIR_PATH_BYTES], models[TMPDIR_PATH_BYTES];
    const char *bin = getenv("KINDRED_BIN");
    const char *argv[ARGS_MAX + 1] = { bin, "serve", "--data", tmpdir_file(&s->dir, "data", data),
        "--listen", "127.0.0.1:0", "--drain-seconds", "0" };
    size_t n = 8;

    if (!getenv("KINDRED_MODELS")) {
        argv[n++] = "--models";
        argv[n++] = file_exists(SHIPPED_MODEL "/config.json")
            ? "models"
            : tmpdir_file(&s->dir, "models", models);
    }
    for (size_t i = 0; args && args[i] && n < ARGS_MAX; i++)
        argv[n++] = args[i];

    int fd = open(tmpdir_file(&s->dir, "log", log), O_WRONLY | O_CREAT | O_APPEND, 0600);
    int null = open("/dev/null", O_RDWR);
    if (fd < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(fd, 2) < 0) _exit(120);
    /* Never outlive the runner, whatever becomes of it. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv(bin, (char *const *)(uintptr_t)argv);
    _exit(121);
}

/* The port in the last "event=listening … addr=…:PORT" of the log; 0 if it is not there yet. */
static uint16_t logged_port(const struct server_proc *s, size_t skip)
{
    char *log = server_log(s);
    long port = 0;
    const char *at = strlen(log) >= skip ? strstr(log + skip, "event=listening") : NULL;
    const char *end = at ? strchr(at, '\n') : NULL;
    if (end && (at = memmem(at, (size_t)(end - at), "addr=", 5))) {
        size_t n = strcspn(at, " \n");
        const char *colon = memrchr(at, ':', n);
        if (colon) port = strtol(colon + 1, NULL, 10);
    }
    mem_free(log);
    return (uint16_t)port;
}

static bool is_ready(uint16_t port)
{
    struct http_client c;
    struct http_reply r;
    http_reply_init(&r);
    bool ok = http_try_open(&c, port) &&
        http_try_call(&c, &(struct http_call){ .method = "GET", .path = "/readyz" }, &r) &&
        r.status == 200;
    http_close(&c);
    http_reply_done(&r);
    return ok;
}

static void fail_with_log(struct server_proc *s, const char *what)
{
    char *log = server_log(s);
    size_t n = strlen(log);
    fprintf(stderr, "%s; the end of its log:\n%s\n", what, n > 3000 ? log + n - 3000 : log);
    mem_free(log);
    server_remove(s);
    ck_abort_msg("%s", what);
}

static void spawn(struct server_proc *s, const char *const *args)
{
    ck_assert_msg(getenv("KINDRED_BIN") != NULL, "KINDRED_BIN is not set: run the tests by make");
    char path[TMPDIR_PATH_BYTES];
    int fd = open(tmpdir_file(&s->dir, "log", path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert(fd >= 0);
    size_t skip = (size_t)lseek(fd, 0, SEEK_END);
    close(fd);

    int64_t deadline = time_mono_ns() + START_WAIT_S * NS_PER_S;
    s->port = 0;
    s->pid = fork();
    ck_assert(s->pid >= 0);
    if (s->pid == 0) run_server(s, args);
    while (!(s->port = logged_port(s, skip)) || !is_ready(s->port)) {
        if (waitpid(s->pid, NULL, WNOHANG) != 0) {
            s->pid = 0;
            fail_with_log(s, "the server ended while it started");
        }
        if (time_mono_ns() > deadline) fail_with_log(s, "the server is not ready in time");
        pause_ms(10);
    }
}

void server_start(struct server_proc *s, const char *const *args)
{
    *s = (struct server_proc){ 0 };
    tmpdir_make(&s->dir);
    char models[TMPDIR_PATH_BYTES];
    if (!getenv("KINDRED_MODELS") && !file_exists(SHIPPED_MODEL "/config.json"))
        tiny_model_write(tmpdir_file(&s->dir, "models", models), "text-small", 64, 1);
    spawn(s, args);
}

void server_restart(struct server_proc *s, const char *const *args)
{
    ck_assert(s->pid == 0);
    spawn(s, args);
}

void server_stop(struct server_proc *s)
{
    int status = 0;
    int64_t deadline = time_mono_ns() + STOP_WAIT_S * NS_PER_S;

    ck_assert(s->pid > 0);
    ck_assert_int_eq(kill(s->pid, SIGTERM), 0);
    while (waitpid(s->pid, &status, WNOHANG) == 0) {
        if (time_mono_ns() > deadline) fail_with_log(s, "the server does not stop on SIGTERM");
        pause_ms(5);
    }
    s->pid = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_with_log(s, "the server did not exit with status 0");
}

void server_kill(struct server_proc *s)
{
    if (s->pid <= 0) return;
    kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

void server_remove(struct server_proc *s)
{
    server_kill(s);
    tmpdir_remove(&s->dir);
}
