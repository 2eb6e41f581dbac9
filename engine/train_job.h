/* Layer: engine. May include: core, index, catalog, base.
 *
 * What the training process does: read the collection, train, judge, say the
 * result. It runs beside a server (`kindred train --run N`, which the server starts)
 * or alone (`kindred train --collection C`), reads the catalog and writes only into
 * the run's folder.
 *
 * Everything is in files between the steps, so a process that died is simply
 * started again: pairs that are written are not drawn anew, training goes on from its
 * checkpoint, a candidate that is complete is only judged. Beside what run_folder.h
 * names, the folder holds, while the run is open,
 *
 *   pairs.txt      the pairs_report; written after train.tsv and heldout.tsv
 *   earlier.txt    attempts that forgot too much of general sentences: then the rate is halved
 *   trained.txt    the trainer_report; written after model/
 *
 * Threads: one at a time in a process.
 */
#pragma once

#include "core/eval/gate.h"
#include "core/learn/trainer.h"
#include "engine/config.h"
#include "engine/pairs.h"
#include "engine/run_lines.h"

struct train_job {
    const struct config *cfg; /* learn.* */
    const char *folder;       /* the run's */
    const char *parent_dir;   /* model folder of the version it starts from */
    struct str parent_name;   /* "words/text-small@2", for the card */
    const char *base_dir;     /* of the base model that the parent comes from; NULL: parent_dir */
    const struct catalog_collection *col;
    struct catalog *catalog;
    const struct catalog_run *run; /* what was asked for: pairs, labels, seed, steps, seconds */
    size_t test; /* the gate's: judged runs of this collection, this one counted */
    const struct gate_options *gate; /* NULL: GATE_OPTIONS_DEFAULTS; its `test` is the one above */
    const volatile sig_atomic_t *stop;
    void (*say)(void *arg, const struct run_line *line);
    void *arg;
};
struct train_job_report {
    struct pairs_report pairs;
    struct trainer_report training;
    struct gate_report gate;
    char weights_hash[65]; /* model_hash of the candidate */
};
/** All lines but `error` and `end` are said on the way. Errors: pairs_write's, trainer_run's, evaluate_gate's.
 * CANCELLED: `stop`; call again to go on. */
MUST_USE enum err_code train_job_run(
    const struct train_job *job, struct train_job_report *ret, struct err *e);

/** How such pairs are learnt from this parent: everything but files, folders and callbacks. Errors:
 * trainable_open's. */
MUST_USE enum err_code train_job_options(const struct train_job *job, const struct pairs_report *p,
    struct trainer_options *ret, struct err *e);

/** `kindred train --run N --data DIR`: everything from opening the catalog to the exit status; lines go to
 * standard output. The run's folder must be there. Takes its lock, lowers its own priority and memory limit, ends with the process that
 * started it. Returns 0 (a decision was said), RUN_EXIT_RESUMABLE, or 1 (an error was said). */
int train_job_process(const struct config *cfg, int64_t run);

struct train_job_by_hand {
    const struct config *cfg; /* data, models, learn.* */
    const char *collection;   /* its name */
    const char *folder; /* for the files; made if missing, and gone on with if they are there */
    const struct catalog_run *run;   /* as in train_job */
    const struct gate_options *gate; /* as in train_job */
    const volatile sig_atomic_t *stop;
    void (*say)(void *arg, const struct run_line *line);
    void *arg;
};
/** The same for a collection without a run: nothing is promoted, nothing written into the catalog. A server may be
 * running. Errors: as train_job_run, NOT_FOUND (collection, its version, its model), UNPROCESSABLE (a
 * collection of vectors). */
MUST_USE enum err_code train_job_collection(
    const struct train_job_by_hand *o, struct train_job_report *ret, struct err *e);
