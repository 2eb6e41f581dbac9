/* Labels come from the route table and from status codes, never from a client, so the number of series is
 * bounded by our own tables.
 */
#include "server/http_internal.h"

#include "base/log.h"
#include "base/metrics.h"

#include <stdio.h>

static struct metric requests =
    METRIC_COUNTER("kindred_http_requests_total", "Requests by route and status.");
static struct metric seconds = METRIC_HISTOGRAM(
    "kindred_http_request_seconds", "From the request line to the end of the answer.");
static struct metric received =
    METRIC_COUNTER("kindred_http_received_bytes_total", "Bytes of request bodies.");
static struct metric sent =
    METRIC_COUNTER("kindred_http_sent_bytes_total", "Bytes of answer bodies.");
static struct metric connections = METRIC_GAUGE("kindred_http_connections", "Open connections.");

enum { STATUS_CLIENT_LEFT = 499, LABEL_BYTES = 160, METHOD_BYTES = 16 };

static void count(const struct exchange *x, unsigned status, size_t out, int64_t total_ns)
{
    char labels[LABEL_BYTES];
    const char *method = x->route ? x->route->method : "", *space = x->route ? " " : "";
    const char *pattern = x->route ? x->route->pattern : "none";
    int n = snprintf(labels, sizeof labels, "route=\"%s%s%s\"", method, space, pattern);
    metric_observe(&seconds, labels, (double)total_ns / 1e9);
    if (n > 0 && (size_t)n < sizeof labels)
        (void)snprintf(labels + n, sizeof labels - (size_t)n, ",status=\"%u\"", status);
    metric_add(&requests, labels, 1);
    metric_add(&received, NULL, (double)x->body_received);
    metric_add(&sent, NULL, (double)out);
}

void exchange_log(struct exchange *x, bool completed, bool cut)
{
    int64_t total_ns = time_mono_ns() - x->start_ns;
    unsigned status = completed ? x->rs.status : cut ? 408 : STATUS_CLIENT_LEFT;
    size_t whole = x->rs.fixed.p ? x->rs.fixed.n : x->rs.body.n;
    size_t out = x->rs.feed.next ? x->feed_sent : completed ? whole : 0;
    const char *message = x->failure.msg, *code = x->failure_code;
    if (!completed) {
        code = cut ? "timeout" : "client_left";
        message = cut ? "the request did not arrive in time" : "the client left";
    }
    count(x, status, out, total_ns);

    char method[METHOD_BYTES];
    struct str m = x->method.p ? x->method : STR("-");
    (void)snprintf(method, sizeof method, "%.*s", STR_ARG(m));
    const struct log_field fields[] = { F_STR("id", x->id), F_STR("method", method),
        F_STR("route", x->route ? x->route->pattern : "none"), F_UINT("status", status),
        F_NUM("queue_ms", (double)x->queue_ns / 1e6), F_NUM("work_ms", (double)x->work_ns / 1e6),
        F_NUM("total_ms", (double)total_ns / 1e6), F_UINT("in", x->body_received),
        F_UINT("out", out), F_STR("error", code), F_STR("message", message) };
    enum log_level level = completed && status >= 500 ? LOG_ERROR : LOG_INFO;
    unsigned n = sizeof fields / sizeof fields[0];
    if (level >= log_get_level()) log_write(level, "request", fields, code ? n : n - 2);
}

void exchange_log_connections(int change)
{
    metric_add(&connections, NULL, change);
}
