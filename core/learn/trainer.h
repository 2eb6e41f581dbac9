/* Layer: core. May include: base.
 *
 * The training loop: draws batches from files, runs losses and optimiser, logs,
 * checkpoints, and writes the candidate's folder. It knows nothing of
 * collections; what it learns from are files, so a run can be repeated by hand.
 *
 * The work folder holds
 *   log.csv            a line every log_every steps: step,seconds,rate,loss,pair_loss,distill_loss,anchor_loss,pairs_per_s;
 *                      a value that no step had is empty
 *   loss.svg           the curve, written with every checkpoint and at the end
 *   checkpoint         weights, moments, random state, position in the data, averages: resuming gives, bit
 *                      for bit, what going on would have given (one thread, same machine)
 *   lock               keeps a second run out
 *
 * Files. Pairs are UTF-8 TSV, a line an anchor TAB a positive, and any number of hard negatives, each after
 * a TAB. Taught texts are a text a line, with the teacher's vectors beside it in NumPy's format (f4 or f2,
 * [lines, T], C order), which are scaled to unit length. Lines whose anchor, positive or taught text holds no
 * known token are passed over and counted; hard negatives without one are left out. Texts count as equal if
 * their tokens are, the first max_tokens of them.
 *
 * A single file of pairs is learned by epochs, each row once in each; from several files, one is drawn for a
 * step by its weight, then rows of it. Taught texts are always drawn in the second way.
 *
 * Threads: one run at a time in a process.
 */
#pragma once

#include "base/err.h"
#include "core/learn/trainable.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trainer_progress;

struct train_file {
    const char *path;
    const char *vectors; /* taught texts: the .npy; NULL for pairs */
    double weight;       /* how often it is drawn: weight * min(rows, row_cap) ^ row_power */
};

struct trainer_options {
    const char *model_dir; /* the parent: where training starts */
    const char *work_dir;  /* made if missing */
    const char *out_dir;   /* the candidate's folder; must not be there */
    const struct train_file *pairs;
    size_t n_pairs; /* files */
    const struct train_file *taught;
    size_t n_taught;

    size_t batch; /* pairs a step, from one file */
    int64_t
        steps; /* 0: as many as `epochs` over all pairs need, those with taught texts on top; at least min_steps */
    double epochs;
    int64_t min_steps;
    double
        max_seconds; /* 0: no limit; else `steps` shrinks after the first steps have been timed, so that
                           the rate still falls to its end; what it became is in the checkpoint */
    double rate;     /* peak learning rate; 0: what suits architecture and method */
    double rate_floor; /* share of the peak at the end */
    double warmup;     /* share of the steps */
    double temperature;
    double
        token_dropout; /* share of tokens left out of a text, never all, and none that the tokenizer puts around
                             it; 0 is used where trainable_keeps_texts */
    double distill_share; /* share of the steps that learn from taught texts */
    double anchor_weight; /* pull of both sides' vectors towards the parent's; 0: none */
    bool symmetric;
    bool mask_equal; /* equal anchors or equal positives are no negatives of each other */
    double
        mask_above; /* nor are candidates whose cosine, by the parent, to the positive is above this; 1: off */
    double row_cap, row_power;
    uint64_t seed;
    unsigned threads;               /* of matrix products, or that share a batch */
    struct trainable_options model; /* its `threads` is not used, the one above is */
    size_t max_tokens;              /* of a text while training; 0: the model's */

    double checkpoint_seconds;
    int64_t log_every;
    bool resume; /* go on from work_dir's checkpoint if there is one */
    /** After every log line, and every few seconds before the first step; may be NULL. */
    void (*progress)(void *arg, const struct trainer_progress *p);
    void *arg;
    /** Set by a signal handler: checkpoint, then return CANCELLED. May be NULL. */
    const volatile sig_atomic_t *stop;
};
/* For tuning a model on the data of a collection. */
#define TRAINER_OPTIONS_DEFAULTS                                                                   \
    {                                                                                              \
        .batch = 512, .epochs = 10, .min_steps = 200, .rate = 1e-3, .warmup = 0.05,                \
        .temperature = 0.05, .token_dropout = 0.1, .anchor_weight = 0.1, .symmetric = true,        \
        .mask_equal = true, .mask_above = 1, .row_cap = 60000, .row_power = 0.75, .seed = 1,       \
        .threads = 1, .model = TRAINABLE_OPTIONS_DEFAULTS, .max_tokens = 256,                      \
        .checkpoint_seconds = 20, .log_every = 20                                                  \
    }

struct trainer_progress {
    int64_t step, steps; /* done, of */
    double seconds;      /* of training, earlier parts of a resumed run counted */
    double loss, pair_loss, distill_loss,
        anchor_loss; /* means since the last line; NAN: no such step */
    double rate, pairs_per_second;
    size_t
        texts; /* before the first step, when there is no loss yet: of which frozen parts are computed */
};

struct trainer_report {
    int64_t steps;
    double seconds, final_loss; /* seconds: what is kept of texts ahead of the steps is counted */
    enum train_method method;   /* never AUTO */
    double rate;
    size_t pairs, taught, skipped; /* lines read; without a known token */
    bool resumed;
};

/**
 * Train. When the candidate's folder is there, the run is done and its checkpoint of no more use; a run whose
 * checkpoint is at the last step goes on to write the folder.
 *
 * Errors: INVALID (an option; a line of a file, named), NOT_FOUND, UNPROCESSABLE (model; a loss that is not
 * finite), CORRUPT (checkpoint of another run, or damaged), CONFLICT (out_dir is there; the work folder is in
 * use), CANCELLED (`stop` was set: resume goes on), LIMIT, FULL, IO, NOMEM.
 */
MUST_USE enum err_code trainer_run(
    const struct trainer_options *o, struct trainer_report *ret, struct err *e);
