/* posix_spawn, never fork: this process has threads. The child's program is loaded before child_start returns, so
 * an error of exec is an error here. */
#include "engine/spawn.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STDERR_MAX_BYTES = 1 << 20 };

extern char **environ;

/* ---- environment ---- */

static bool is_secret(const char *entry)
{
    static const char prefix[] = "KINDRED_API_KEY";
    return strncmp(entry, prefix, sizeof prefix - 1) == 0;
}

static bool is_replaced(const char *entry, const char *const *env)
{
    size_t n = strcspn(entry, "=");
    for (; env && *env; env++)
        if (strncmp(*env, entry, n) == 0 && (*env)[n] == '=') return true;
    return false;
}

char **spawn_environment(const char *const *env)
{
    size_t n = 1;
    for (char **at = environ; at && *at; at++)
        n++;
    for (const char *const *at = env; at && *at; at++)
        n++;
    char **ret = mem_zalloc(n, sizeof *ret), **to = ret;
    if (!ret) return NULL;
    for (char **at = environ; at && *at; at++)
        if (!is_secret(*at) && !is_replaced(*at, env)) *to++ = *at;
    for (const char *const *at = env; at && *at; at++)
        *to++ = (char *)(uintptr_t)*at; /* posix_spawn's type; it does not write there */
    return ret;
}

/* ---- start ---- */

/* What the child shall have as descriptors 0, 1, 2, and nothing else. */
static int set_files(
    posix_spawn_file_actions_t *files, const struct spawn_options *o, int stdout_fd)
{
    int bad = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!bad) bad = posix_spawn_file_actions_adddup2(files, stdout_fd, STDOUT_FILENO);
    if (!bad)
        bad = posix_spawn_file_actions_addopen(
            files, STDERR_FILENO, o->stderr_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (!bad) bad = posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
    return bad;
}

static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int bad = posix_spawnattr_setsigmask(attr, &none);
    if (!bad) bad = posix_spawnattr_setsigdefault(attr, &all);
    if (!bad)
        bad = posix_spawnattr_setflags(
            attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return bad;
}

static int spawn(const struct spawn_options *o, char *const *env, int stdout_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    int bad = posix_spawn_file_actions_init(&files);
    if (bad) return bad;
    bad = posix_spawnattr_init(&attr);
    if (!bad) {
        bad = set_files(&files, o, stdout_fd);
        if (!bad) bad = set_attributes(&attr);
        if (!bad)
            bad = posix_spawn(
                ret_pid, o->program, &files, &attr, (char *const *)(uintptr_t)o->argv, env);
        (void)posix_spawnattr_destroy(&attr);
    }
    (void)posix_spawn_file_actions_destroy(&files);
    return bad;
}

static void bound_stderr(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && st.st_size > STDERR_MAX_BYTES && truncate(path, 0) != 0)
        return; /* it grows on; opening it will fail for the same reason, or nothing is wrong */
}

enum err_code child_start(const struct spawn_options *o, struct child *ret, struct err *e)
{
    int fds[2];
    pid_t pid = 0;
    AUTO_FREE char **env = spawn_environment(o->env);
    if (!env) return err_set(e, ERR_NOMEM, "out of memory for a process's environment");
    bound_stderr(o->stderr_path);
    if (pipe2(fds, O_CLOEXEC) != 0) return err_errno(e, ERR_IO, errno, "a pipe cannot be made");
    int bad = fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 ? spawn(o, env, fds[1], &pid) : errno;
    (void)close(fds[1]);
    if (bad) {
        (void)close(fds[0]);
        return err_errno(
            e, bad == ENOENT ? ERR_NOT_FOUND : ERR_IO, bad, "%s cannot be started", o->program);
    }
    *ret = (struct child){ .pid = pid, .out = fds[0] };
    return ERR_OK;
}

/* ---- life and end ---- */

void child_signal(const struct child *c, int signal_number)
{
    if (c->pid > 0) (void)kill(-c->pid, signal_number);
}

bool child_has_ended(const struct child *c)
{
    siginfo_t info = { 0 };
    if (c->pid <= 0) return true;
    /* Whoever started this program may have had SIGCHLD ignored: then nothing is left to wait for. */
    if (waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        return errno == ECHILD;
    return info.si_pid == c->pid;
}

static void close_out(struct child *c)
{
    if (c->out >= 0) (void)close(c->out);
    c->out = -1;
}

bool child_is_runnable(const struct child *c)
{
    char path[64], text[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)c->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *after = strrchr(text, ')'); /* the name before it may hold anything */
    return after && after[1] == ' ' && (after[2] == 'R' || after[2] == 'D');
}

size_t child_read(struct child *c, char *buf, size_t n, int timeout_ms)
{
    struct pollfd p = { .fd = c->out, .events = POLLIN };
    if (poll(&p, c->out >= 0, timeout_ms) <= 0) return 0;
    ssize_t got = read(c->out, buf, n);
    if (got > 0) return (size_t)got;
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) close_out(c);
    return 0;
}

int child_reap(struct child *c)
{
    int status = 0;
    if (c->pid <= 0) return 0;
    /* Not reaped yet, so the number of the group cannot be another's by now. */
    child_signal(c, SIGKILL);
    close_out(c);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {}
    c->pid = 0;
    return status;
}
