/* Metrics.
 *
 * No locks: the list of metrics and each metric's list of series only ever grow at the front, by
 * compare-and-swap, and what is on them is never freed. A metric registers itself with its first update.
 * Finding a series is a walk with string comparison, short because label sets come from our own tables.
 * Values are doubles updated by compare-and-swap; a histogram's count is the sum of its buckets, so that
 * count and buckets of one scrape always agree.
 */
#include "base/metrics.h"

#include "base/mem.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct metric_series {
    struct metric_series *next; /* set before it is published */
    _Atomic double value;       /* counter, gauge; histogram: sum */
    atomic_uint_least64_t buckets[METRIC_BUCKETS + 1];
    char labels[];
};

static _Atomic(struct metric *) all_metrics;

/* Upper bound of bucket i in seconds. */
static double bound(int i)
{
    return 50e-6 * (double)(1u << i);
}

static void register_once(struct metric *m)
{
    int no = 0;
    if (atomic_load_explicit(&m->registered, memory_order_relaxed)) return;
    if (!atomic_compare_exchange_strong(&m->registered, &no, 1)) return;
    struct metric *head = atomic_load_explicit(&all_metrics, memory_order_relaxed);
    do
        m->next = head;
    while (!atomic_compare_exchange_weak_explicit(
        &all_metrics, &head, m, memory_order_release, memory_order_relaxed));
}

/* The series with these labels from `from` up to, not including, `to`; counts what it passes. */
static struct metric_series *find(
    struct metric_series *from, const struct metric_series *to, const char *labels, int *count)
{
    for (; from != to; from = from->next) {
        if (strcmp(from->labels, labels) == 0) return from;
        ++*count;
    }
    return NULL;
}

/* The series, made if there is none; NULL: too many, or no memory. */
static struct metric_series *series_of(struct metric *m, const char *labels)
{
    int count = 0;
    if (!labels) labels = "";
    register_once(m);
    struct metric_series *head = atomic_load_explicit(&m->series, memory_order_acquire);
    struct metric_series *s = find(head, NULL, labels, &count);
    if (s) return s;

    size_t n = strlen(labels) + 1;
    struct metric_series *made = mem_zalloc(1, sizeof *made + n);
    if (!made) return NULL;
    memcpy(made->labels, labels, n);
    while (count < METRIC_SERIES_MAX) {
        made->next = head;
        if (atomic_compare_exchange_strong_explicit(
                &m->series, &head, made, memory_order_release, memory_order_acquire))
            return made;
        /* Others were faster: look only at what they put in front. */
        s = find(head, made->next, labels, &count);
        if (s) break;
    }
    mem_free(made);
    return s;
}

static void add_double(_Atomic double *to, double by)
{
    double old = atomic_load_explicit(to, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(
        to, &old, old + by, memory_order_relaxed, memory_order_relaxed)) {}
}

void metric_add(struct metric *m, const char *labels, double by)
{
    struct metric_series *s = series_of(m, labels);
    if (s) add_double(&s->value, by);
}

void metric_set(struct metric *m, const char *labels, double to)
{
    struct metric_series *s = series_of(m, labels);
    if (s) atomic_store_explicit(&s->value, to, memory_order_relaxed);
}

void metric_observe(struct metric *m, const char *labels, double seconds)
{
    struct metric_series *s = series_of(m, labels);
    if (!s) return;
    int i = 0;
    while (i < METRIC_BUCKETS && !(seconds <= bound(i)))
        i++;
    atomic_fetch_add_explicit(&s->buckets[i], 1, memory_order_relaxed);
    add_double(&s->value, seconds);
}

double metric_value(struct metric *m, const char *labels)
{
    int count = 0;
    struct metric_series *s = find(
        atomic_load_explicit(&m->series, memory_order_acquire), NULL, labels ? labels : "", &count);
    return s ? atomic_load_explicit(&s->value, memory_order_relaxed) : 0.0;
}

/* ---- exposition ---- */

static void put_sample(struct buf *out, const char *name, const char *suffix, const char *labels,
    const char *le, double value)
{
    const char *comma = *labels && *le ? "," : "";
    buf_printf(out, "%s%s", name, suffix);
    if (*labels || *le) buf_printf(out, "{%s%s%s}", labels, comma, le);
    buf_printf(out, " %.15g\n", value);
}

static void put_histogram(struct buf *out, const struct metric *m, const struct metric_series *s)
{
    char le[40];
    double sum = atomic_load_explicit(&s->value, memory_order_relaxed);
    uint64_t count = 0;
    for (int i = 0; i <= METRIC_BUCKETS; i++) {
        count += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        if (i < METRIC_BUCKETS)
            snprintf(le, sizeof le, "le=\"%g\"", bound(i));
        else
            snprintf(le, sizeof le, "le=\"+Inf\"");
        put_sample(out, m->name, "_bucket", s->labels, le, (double)count);
    }
    put_sample(out, m->name, "_sum", s->labels, "", sum);
    put_sample(out, m->name, "_count", s->labels, "", (double)count);
}

/* Of the series those whose labels come next after `after` (NULL: the first). */
static struct metric_series *next_series(struct metric_series *list, const char *after)
{
    struct metric_series *best = NULL;
    for (; list; list = list->next)
        if ((!after || strcmp(list->labels, after) > 0) &&
            (!best || strcmp(list->labels, best->labels) < 0))
            best = list;
    return best;
}

static void put_header(struct buf *out, const char *name, const char *help, const char *type)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_metric(struct buf *out, const struct metric *m)
{
    static const char *const types[] = { "counter", "gauge", "histogram" };
    put_header(out, m->name, m->help, types[m->type]);
    struct metric_series *list = atomic_load_explicit(&m->series, memory_order_acquire);
    for (struct metric_series *s = next_series(list, NULL); s; s = next_series(list, s->labels)) {
        if (m->type == METRIC_TYPE_HISTOGRAM)
            put_histogram(out, m, s);
        else
            put_sample(out, m->name, "", s->labels, "",
                atomic_load_explicit(&s->value, memory_order_relaxed));
    }
}

static void put_process(struct buf *out)
{
    unsigned long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        if (fscanf(f, "%lu %lu", &pages, &resident) == 2) {
            put_header(out, "process_resident_memory_bytes", "Resident memory.", "gauge");
            put_sample(out, "process_resident_memory_bytes", "", "", "",
                (double)resident * (double)sysconf(_SC_PAGESIZE));
        }
        fclose(f);
    }
    struct timespec cpu;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0) {
        put_header(out, "process_cpu_seconds_total", "User and system CPU time.", "counter");
        put_sample(out, "process_cpu_seconds_total", "", "", "",
            (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec);
    }
    DIR *fds = opendir("/proc/self/fd");
    if (fds) {
        long n = 0;
        while (readdir(fds))
            n++;
        closedir(fds);
        put_header(out, "process_open_fds", "Open file descriptors.", "gauge");
        /* Not ".", "..", nor the one of this listing. */
        put_sample(out, "process_open_fds", "", "", "", (double)(n - 3));
    }
}

enum err_code metrics_render(struct buf *out, struct err *e)
{
    struct metric *list = atomic_load_explicit(&all_metrics, memory_order_acquire);
    const char *after = NULL;
    for (;;) {
        struct metric *best = NULL;
        for (struct metric *m = list; m; m = m->next)
            if ((!after || strcmp(m->name, after) > 0) &&
                (!best || strcmp(m->name, best->name) < 0))
                best = m;
        if (!best) break;
        put_metric(out, best);
        after = best->name;
    }
    put_process(out);
    return buf_check(out, e);
}
