/* Layer: tests. May include: libcheck, engine and below.
 *
 * Runs whose training process is a shell script of the test's: it speaks the protocol of run_lines.h, and may
 * die, hang or talk nonsense.
 */
#pragma once

#include "engine/learn.h"
#include "tests/engine/rig.h"

enum { RUNS_ITEMS = 300 }; /* enough to be learnt from */

/** An engine that is not open yet, with a program in place of the trainer, and short times. */
void runs_rig_init(struct rig *r);
/** Closes, puts the times back. */
void runs_rig_done(struct rig *r);
/**
 * What the program does: a piece of sh. It knows $run, $dir (the run's folder), $data, and calls
 *   start          phase running, a progress line and a data line
 *   model          the candidate: a copy of the tiny model
 *   judged WORD    weights, phase evaluating, metrics, the decision WORD and the end
 */
void runs_rig_behave(struct rig *r, const char *script);
/** Path of a run's file. */
char *runs_rig_file(const struct rig *r, int64_t run, const char *tail, char ret[400]);

/** Submit and wait for `done`; the op's code. */
enum err_code rig_run(struct rig *r, struct call *c, struct run_op *op);
/** Retrain a collection; fails the test if it is refused. Returns the run. */
int64_t rig_retrain(struct rig *r, const char *collection, enum run_promote promote);
enum err_code rig_cancel(struct rig *r, int64_t run);
/** Wait until the run has the status; fails the test after a while, or if it is another final one. */
void rig_wait_status(struct rig *r, int64_t run, enum run_status want);
/** The run's row, in the call's arena. */
struct catalog_run rig_run_get(struct rig *r, struct call *c, int64_t run);
double run_metric(const struct catalog_run *run, const char *name);
/** Wait until a file is there. */
void rig_wait_file(const char *path);
