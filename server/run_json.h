/* Layer: server. May include: engine, base.
 *
 * Runs and versions as JSON.
 *
 * Threads: any.
 */
#pragma once

#include "engine/learn.h"
#include "server/json_write.h"

/** {"before": {"recall_at_10": …}, …}: the name's first part is the group. Sorted by name, as the catalog gives
 * them. */
void run_json_metrics(struct json_write *w, const struct run_metric *m, size_t n);
/** The run as one object. progress: 0…1. */
void run_json(struct json_write *w, const struct catalog_run *r, double progress);
/** What changes while it runs, as one object. */
void run_json_progress(struct json_write *w, int64_t run, const struct run_progress *p);
/** A version as one object. */
void run_json_version(struct json_write *w, const struct version_info *v);
