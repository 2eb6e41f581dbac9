#include "bench/peer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void start_child(struct peer *p, const char *const argv[])
{
    int to[2], from[2];

    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) die("pipe");
    p->pid = fork();
    if (p->pid < 0) die("fork");
    if (p->pid == 0) {
        if (dup2(to[0], STDIN_FILENO) < 0 || dup2(from[1], STDOUT_FILENO) < 0) _exit(127);
        execvp(argv[0], (char *const *)argv);
        printf("no %s\n", argv[0]);
        (void)fflush(stdout);
        _exit(127);
    }
    (void)close(to[0]);
    (void)close(from[1]);
    p->to = fdopen(to[1], "w");
    p->from = fdopen(from[0], "r");
    if (!p->to || !p->from) die("fdopen");
}

bool peer_start(struct peer *p, const char *const argv[])
{
    char line[256] = "";

    (void)signal(SIGPIPE, SIG_IGN);
    start_child(p, argv);
    if (fgets(line, sizeof line, p->from) &&
        sscanf(line, "ready %39s %39s", p->name, p->version) == 2)
        return true;
    line[strcspn(line, "\n")] = 0;
    fprintf(stderr, "skipped: %s: %s\n", argv[1] ? argv[1] : argv[0],
        *line ? line : "it ended without a word");
    peer_stop(p);
    return false;
}

void peer_ask(struct peer *p, char *reply, size_t size, const char *request, ...)
{
    va_list args;

    va_start(args, request);
    (void)vfprintf(p->to, request, args);
    va_end(args);
    (void)putc('\n', p->to);
    if (fflush(p->to) != 0 || !fgets(reply, (int)size, p->from)) {
        fprintf(stderr, "%s %s has died\n", p->name, p->version);
        exit(1);
    }
    reply[strcspn(reply, "\n")] = 0;
}

void peer_stop(struct peer *p)
{
    if (p->to) (void)fclose(p->to);
    if (p->from) (void)fclose(p->from);
    if (p->pid > 0) (void)waitpid(p->pid, NULL, 0);
    *p = (struct peer){ 0 };
}
