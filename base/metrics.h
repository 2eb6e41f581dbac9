/* Layer: base. May include: libc, pthread.
 *
 * Counters, gauges and histograms in Prometheus' text exposition format 0.0.4.
 * Metrics are static variables that register themselves once; updates are
 * relaxed atomics. A family is one name with up to METRIC_SERIES_MAX label sets.
 *
 *   static struct metric encode_seconds = METRIC_HISTOGRAM(
 *       "kindred_encode_seconds", "Time to encode one batch.");
 *   metric_observe(&encode_seconds, NULL, seconds);
 *   metric_add(&http_requests, "route=\"/search\",status=\"200\"", 1);
 *
 * Threads: any.
 */
#pragma once

#include "base/buf.h"

#include <stdatomic.h>
#include <stdint.h>

enum { METRIC_SERIES_MAX = 256, METRIC_BUCKETS = 18 };
enum metric_type { METRIC_TYPE_COUNTER, METRIC_TYPE_GAUGE, METRIC_TYPE_HISTOGRAM };

struct metric_series; /* one label set */
struct metric {
    const char *name, *help;
    enum metric_type type;
    _Atomic(struct metric_series *) series; /* list, only ever prepended */
    struct metric *next;                    /* set once at registration */
    atomic_int registered;
};

#define METRIC_COUNTER(n, h)                                                                       \
    {                                                                                              \
        .name = (n), .help = (h), .type = METRIC_TYPE_COUNTER                                      \
    }
#define METRIC_GAUGE(n, h)                                                                         \
    {                                                                                              \
        .name = (n), .help = (h), .type = METRIC_TYPE_GAUGE                                        \
    }
/** Buckets in seconds: 50 us doubling up to about 6.5 s. */
#define METRIC_HISTOGRAM(n, h)                                                                     \
    {                                                                                              \
        .name = (n), .help = (h), .type = METRIC_TYPE_HISTOGRAM                                    \
    }

/** labels: NULL or `a="b",c="d"` with values already escaped; from our own tables, never from a
 * client. Beyond METRIC_SERIES_MAX label sets updates are dropped. */
void metric_add(struct metric *m, const char *labels, double by);
void metric_set(struct metric *m, const char *labels, double to);
void metric_observe(struct metric *m, const char *labels, double seconds);
/** Current value of a counter or gauge series (0 if it never was updated); for tests. */
double metric_value(struct metric *m, const char *labels);

/** All registered metrics and the process's own (resident bytes, CPU seconds, open descriptors). */
MUST_USE enum err_code metrics_render(struct buf *out, struct err *e);
