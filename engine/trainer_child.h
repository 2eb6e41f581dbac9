/* Layer: engine. May include: core, index, catalog, base.
 *
 * One training process, from its start to its end: what it said, and how it ended.
 */
#pragma once

#include "engine/run_lines.h"
#include "engine/runs_internal.h"

enum { RUN_METRICS_MAX = 64 };

enum trainer_end {
    TRAINER_TOLD,      /* it said a decision and that this is all */
    TRAINER_FAILED,    /* it said why, or starting it again would not help; `code` and `text` */
    TRAINER_DIED,      /* it may be started again; `text` says how it died */
    TRAINER_SILENT,    /* killed, since it gave no sign of life; `text` */
    TRAINER_CANCELLED, /* by cancel */
    TRAINER_STOPPED,   /* the server stops */
};

struct trainer_result {
    enum trainer_end end;
    bool promote;
    enum err_code code;
    char text[RUN_LINE_MAX]; /* of the decision, or the reason */
    char data_hash[RUN_HASH_MAX + 1], weights_hash[RUN_HASH_MAX + 1];
    char names[RUN_METRICS_MAX][RUN_NAME_MAX + 1]; /* what metrics' names point to */
    struct run_metric metrics[RUN_METRICS_MAX];
    size_t n_metrics;
    bool progressed; /* beyond `best_step`, or into another phase */
};

/**
 * Start `train --run N` for the run and follow it. Its status, step, steps and loss are kept in *row, shown, and
 * saved now and then. best_step: the furthest step of earlier processes, brought up to date.
 * Threads: the trainer's only; it calls runs__give_up meanwhile.
 */
void trainer_child_run(struct runs *r, struct run_entry *entry, struct catalog_run *row,
    int64_t *best_step, struct trainer_result *ret);

/** The arguments of the process: an array ended by NULL in the arena. NULL: no memory. */
const char *const *trainer_child_argv(const struct config *cfg, int64_t run, struct arena *a);
