/* Gauges are sums over the collections and the gates; they are brought up to date by whoever changes much
 * (writer, link threads), a few times a second at most, and before a scrape. */
#include "base/metrics.h"
#include "engine/engine_internal.h"

enum { GAUGES_MS = 250 };

static struct metric collections_gauge = METRIC_GAUGE("kindred_collections", "Collections.");
static struct metric items_gauge =
    METRIC_GAUGE("kindred_items", "Items that a search can return, all collections.");
static struct metric pending_gauge = METRIC_GAUGE(
    "kindred_index_pending", "Items not yet linked into a graph: they are searched exactly.");
static struct metric deleted_gauge = METRIC_GAUGE("kindred_index_deleted",
    "Places of deleted and replaced vectors that are not free yet, in the indexes that serve.");
static struct metric vacant_gauge = METRIC_GAUGE(
    "kindred_index_vacant", "Free places that the next vectors take, in the indexes that serve.");
static struct metric repairs_gauge = METRIC_GAUGE("kindred_index_repairs",
    "Rounds in which graphs were freed of deleted vectors, of the indexes that serve.");
static struct metric index_bytes_gauge =
    METRIC_GAUGE("kindred_index_bytes", "Memory of the indexes.");
static struct metric catalog_bytes_gauge =
    METRIC_GAUGE("kindred_catalog_bytes", "Size of the catalog and its log on disk.");
static struct metric queue_gauge = METRIC_GAUGE("kindred_queue",
    "Work accepted and not finished: searches, items to be written, tokens to be encoded.");

void engine_metrics_refresh(struct engine *g)
{
    size_t items = 0, pending = 0, deleted = 0, vacant = 0, bytes = 0, n;
    uint64_t repairs = 0;
    rwlock_rdlock(&g->registry.lock);
    n = g->registry.n;
    for (size_t i = 0; i < n; i++) {
        struct index_stats stats;
        collection_index_stats(g->registry.rows[i], &stats);
        items += stats.live;
        pending += stats.pending;
        deleted += stats.deleted;
        vacant += stats.vacant;
        repairs += stats.repairs;
        bytes += stats.size_bytes;
    }
    rwlock_unlock(&g->registry.lock);
    metric_set(&collections_gauge, NULL, (double)n);
    metric_set(&items_gauge, NULL, (double)items);
    metric_set(&pending_gauge, NULL, (double)pending);
    metric_set(&deleted_gauge, NULL, (double)deleted);
    metric_set(&vacant_gauge, NULL, (double)vacant);
    metric_set(&repairs_gauge, NULL, (double)repairs);
    metric_set(&index_bytes_gauge, NULL, (double)bytes);
    metric_set(&catalog_bytes_gauge, NULL, (double)catalog_size_bytes(g->catalog));
    metric_set(&queue_gauge, "queue=\"search\"", (double)gate_used(&g->search_gate));
    metric_set(&queue_gauge, "queue=\"write\"", (double)gate_used(&g->write_gate));
    metric_set(&queue_gauge, "queue=\"encode\",lane=\"interactive\"",
        (double)gate_used(&g->encode_gate[LANE_INTERACTIVE]));
    metric_set(&queue_gauge, "queue=\"encode\",lane=\"bulk\"",
        (double)gate_used(&g->encode_gate[LANE_BULK]));
}

void engine__gauges(struct engine *g)
{
    long long now = time_mono_ns(), last = atomic_load(&g->gauges_at_ns);
    if (now - last < GAUGES_MS * NS_PER_MS) return;
    if (atomic_compare_exchange_strong(&g->gauges_at_ns, &last, now)) engine_metrics_refresh(g);
}
