/* Layer: core. May include: base.
 *
 * One step: vectors of a batch, losses, gradients, optimiser.
 *
 * Threads: one at a time.
 */
#pragma once

#include "core/learn/train_batch.h"

struct train_step; /* buffers, the model being trained, the parent */

/** What the losses were; NAN: not part of the step. */
struct train_losses {
    double pair, distill, anchor;
};

/** All arguments are borrowed until train_step_free. Opens the parent a second time if the options need
 * its vectors and the model does not know them itself; these are kept for the texts seen, where a quarter of the model's memory_bytes holds all texts'. Errors: as trainable_open. */
MUST_USE enum err_code train_step_new(const struct trainer_options *o, struct trainable *model,
    struct train_step **ret_s, struct err *e);
void train_step_free(struct train_step *s);
/** Does a pair step need train_batch.whole? */
bool train_step_wants_whole(const struct train_step *s);

/** Make ahead what is kept of texts first … first + n - 1 of the data: of the model's frozen part, and the parent's
 * vectors. Steps would make it when they meet a text; ahead of them, steps take the same time each. NOMEM. */
MUST_USE enum err_code train_step_keep(
    struct train_step *s, const struct train_data *data, size_t first, size_t n, struct err *e);

/**
 * In-batch InfoNCE, and the anchor term if it has a weight. No negatives of anchor i are, with mask_equal, the
 * positives of equal anchors, candidates equal to its positive, and its own text; with mask_above < 1 those that
 * the parent finds nearer to the positive than that.
 * step counts from 1. Errors: NOMEM, UNPROCESSABLE (a loss that is not finite; nothing was changed).
 */
MUST_USE enum err_code train_step_pairs(struct train_step *s, const struct train_batch *b,
    int64_t step, double rate, struct train_losses *ret, struct err *e);
/** Similarity distillation of taught texts. Errors as above. */
MUST_USE enum err_code train_step_taught(struct train_step *s, const struct train_batch *b,
    int64_t step, double rate, struct train_losses *ret, struct err *e);
