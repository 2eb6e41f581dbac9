/* Layer: core. May include: base.
 *
 * All that a run needs to go on, in one safetensors file: the model's tensors
 * and "run", the rest as bytes (layout: checkpoint.c).
 *
 * Threads: one at a time.
 */
#pragma once

#include "core/learn/train_batch.h"
#include "core/learn/train_log.h"

/* Sums since the latest line of the log. */
struct train_window {
    double seconds, loss, pair_loss, distill_loss, anchor_loss;
    int64_t n_steps, n_pair, n_distill, n_anchor, pairs;
};

struct train_state {
    int64_t step, steps; /* done, of */
    bool fitted;         /* steps was cut down to a time limit */
    double seconds;
    struct train_cursor cursor;
    struct train_window window;
};

/** Write atomically. fingerprint: of everything that decides the course of the run. FULL, IO, NOMEM. */
MUST_USE enum err_code checkpoint_write(const char *path, uint64_t fingerprint,
    const struct trainable *t, const struct train_state *state, const struct train_log *log,
    struct err *e);
/** Put everything back; log must be empty. Errors: NOT_FOUND, CORRUPT (damaged, of another run or another
 * version of the program; t, state and log are then not to be used), IO, NOMEM. */
MUST_USE enum err_code checkpoint_read(const char *path, uint64_t fingerprint, struct trainable *t,
    struct train_state *ret_state, struct train_log *ret_log, struct err *e);
/** Remove what writers that were killed left beside it. The caller keeps others away. */
void checkpoint_tidy(const char *path);
