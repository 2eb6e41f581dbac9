/* Layer: engine. May include: core, index, catalog, base.
 *
 * What the training process does: read the collection, train, judge, say the
 * result. It runs beside a server (`kindred train --run N`, which the server starts)
 * or alone (`kindred train --collection C`), reads the catalog and writes only into
 * the run's folder.
 *
 * Everything is in files between the steps, so a process that died is simply
 * started again: pairs that are written are not drawn anew, training goes on from its
 * checkpoint, a candidate that is complete is only judged.
 */
#pragma once

#include "core/eval/gate.h"
#include "core/learn/trainer.h"
#include "engine/config.h"
#include "engine/pairs.h"
#include "engine/run_lines.h"

struct train_job {
    const struct config *cfg; /* data, models, learn.* */
    const char *folder;       /* the run's */
    const char *parent_dir;   /* model folder of the version it starts from */
    struct str parent_name;   /* "words/text-small@2", for the card */
    const struct catalog_collection *col;
    struct catalog *catalog;
    const struct catalog_run *run; /* what was asked for; seed, steps, seconds */
    size_t test;                   /* the gate's: judged runs of this collection, this one counted */
    const volatile sig_atomic_t *stop;
    void (*say)(void *arg, const struct run_line *line);
    void *arg;
};
struct train_job_report {
    struct pairs_report pairs;
    struct trainer_report training;
    struct gate_report gate;
    char weights_hash[65]; /* BLAKE2b-256 of model.safetensors, hex */
};
/** Errors: pairs_write's, trainer_run's, encoder_load's. CANCELLED: `stop`; call again to go on. */
MUST_USE enum err_code train_job_run(
    const struct train_job *job, struct train_job_report *ret, struct err *e);

/** `kindred train --run N --data DIR`: everything from opening the catalog to the exit status; lines go to
 * standard output. Takes the folder's lock, lowers its own priority and memory limit. */
int train_job_process(const struct config *cfg, int64_t run);
