#include "bench/index_entry.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, REPLY_BYTES = 256, K = TRUTH_K };

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_index: %s\n", what);
    exit(1);
}

/* ---- settings ---- */
static void read_spec(struct entry *l, const struct entry_defaults *d, char *spec)
{
    l->m = d->m;
    l->ef_construction = d->ef_construction;
    snprintf(l->spec, sizeof l->spec, "%s", spec);
    char *rest = strchr(spec, ':'), *state;
    if (rest) *rest++ = 0;
    for (char *p = rest ? strtok_r(rest, "+", &state) : NULL; p; p = strtok_r(NULL, "+", &state)) {
        size_t at = strlen(l->options);
        if (strncmp(p, "m=", 2) == 0)
            l->m = strtoul(p + 2, NULL, 10);
        else if (strncmp(p, "efc=", 4) == 0)
            l->ef_construction = strtoul(p + 4, NULL, 10);
        else
            snprintf(l->options + at, sizeof l->options - at, " %s", p);
    }
}

size_t entries_read(
    struct entry *entries, size_t max, const struct entry_defaults *d, const char *list)
{
    size_t n = 0;
    char *names = mem_strdup(list), *state;
    if (!names) die("out of memory");
    for (char *p = strtok_r(names, ", ", &state); p; p = strtok_r(NULL, ", ", &state)) {
        if (n == max) die("too many libraries");
        read_spec(&entries[n++], d, p);
    }
    mem_free(names);
    return n;
}

/* ---- processes ---- */
static bool is_python(const char *name)
{
    static const char *const names[] = { "faiss", "usearch", "svs" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

/* Kindred asks for huge pages by itself; the others get theirs by their malloc. */
static bool start_peer(struct peer *p, const char *const argv[])
{
    static const char name[] = "GLIBC_TUNABLES";
    bool was_set = getenv(name) != NULL;
    if (!was_set) (void)setenv(name, "glibc.malloc.hugetlb=1", 1);
    bool started = peer_start(p, argv);
    if (!was_set) (void)unsetenv(name);
    return started;
}

static bool start(struct entry *l, const struct entry_defaults *d)
{
    char path[PATH_BYTES + 80], name[40];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(l->spec, ":"), l->spec);
    if (strcmp(name, "kindred") == 0) {
        const char *const argv[] = { d->self, "--worker", NULL };
        return peer_start(&l->peer, argv);
    }
    if (is_python(name)) {
        const char *const argv[] = { d->python, "bench/peers/index_python.py", name, NULL };
        if (start_peer(&l->peer, argv)) return true;
        fprintf(stderr, "skipped: %s\n", name);
        return false;
    }
    snprintf(
        path, sizeof path, "%.*s/index_%s", (int)(strrchr(d->self, '/') - d->self), d->self, name);
    const char *const argv[] = { path, NULL };
    if (access(path, X_OK) == 0) return start_peer(&l->peer, argv);
    fprintf(stderr, "skipped: %s: there is no %s\n", name, path);
    return false;
}

static bool ask(struct entry *l, char reply[REPLY_BYTES], const char *request)
{
    peer_ask(&l->peer, reply, REPLY_BYTES, "%s", request);
    if (strncmp(reply, "ok", 2) == 0) return true;
    fprintf(stderr, "skipped: %s: %s: %s\n", l->spec, request, reply);
    return false;
}

bool entry_start(struct entry *l, const struct entry_defaults *d, const struct index_set *set)
{
    char request[3 * PATH_BYTES], reply[REPLY_BYTES];
    if (!start(l, d)) return false;
    snprintf(request, sizeof request, "load %s %s %s", set->base, set->query, set->metric);
    l->alive = ask(l, reply, request);
    if (!l->alive) entry_stop(l);
    return l->alive;
}

bool entry_build(struct entry *l, size_t threads, size_t ef_construction)
{
    char request[REPLY_BYTES], reply[REPLY_BYTES];
    snprintf(
        request, sizeof request, "build %zu %zu %zu%s", threads, l->m, ef_construction, l->options);
    if (!ask(l, reply, request)) return false;
    if (sscanf(reply, "ok %lf %zu %zu", &l->build_s, &l->kib, &l->huge_kib) != 3)
        die("an answer is not understood");
    l->built_efc = ef_construction;
    fprintf(stderr, "%s efc=%zu: built in %.1f s, %.1f MB (%s)\n", l->spec, ef_construction,
        l->build_s, (double)l->kib / 1024, strrchr(reply, ' ') + 1);
    return true;
}

double entry_search(struct entry *l, size_t ef, size_t threads)
{
    char request[64], reply[REPLY_BYTES];
    double seconds;
    snprintf(request, sizeof request, "search %zu %zu %d", ef, threads, K);
    if (!ask(l, reply, request) || sscanf(reply, "ok %lf", &seconds) != 1)
        die("an answer is not understood");
    return seconds;
}

double entry_recall(struct entry *l, const struct truth *t)
{
    char path[] = "/tmp/bench_index_XXXXXX", request[64], reply[REPLY_BYTES];
    size_t n = t->query->n * K;
    uint32_t *ids = mem_alloc(n, sizeof *ids);
    int fd = mkstemp(path);
    if (fd < 0 || !ids) die("results");
    snprintf(request, sizeof request, "results %s", path);
    if (!ask(l, reply, request) || read(fd, ids, n * sizeof *ids) != (ssize_t)(n * sizeof *ids))
        die("results");
    double sum = 0;
    for (size_t i = 0; i < t->query->n; i++)
        sum += truth_recall(t, i, ids + i * K, K);
    (void)close(fd);
    (void)unlink(path);
    mem_free(ids);
    return sum / (double)t->query->n;
}

void entry_stop(struct entry *l)
{
    peer_stop(&l->peer);
    l->alive = false;
}
