/* Layer: server. May include: engine, base.
 *
 * `kindred train` has several modes, one a source: what is learnt from decides (cmd_train.c has the
 * table). This is what they share: progress on standard error, and stopping by a signal.
 *
 * Threads: one training at a time in the process; all from its main thread.
 */
#pragma once

#include "engine/train_files.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/** `kindred train --pairs FILE … --taught …`: files. argv as for a subcommand, all of it. */
int cmd_train_files(int argc, char **argv);

/** `kindred train --collection C --data DIR …` and `kindred train --run N --data DIR`: a collection. */
int cmd_train_run(int argc, char **argv);

/** Let the first SIGINT or SIGTERM set the flag that is returned (to the signal's number); a second one ends
 * the process as if nobody had listened. */
const volatile sig_atomic_t *cmd_train_stop(void);

/** State of the progress shown; zeroed to begin with. */
struct cmd_train_display {
    bool terminal, began, shown; /* shown: a bar stands on the last line */
    int64_t shown_ns;
};
/** For trainer_options.progress: `arg` is a struct cmd_train_display. A bar on a terminal, else a line every few
 * seconds. */
void cmd_train_progress(void *arg, const struct trainer_progress *p);
/** End the line of the bar, if there is one. */
void cmd_train_progress_end(struct cmd_train_display *d);
