/* Layer: core. May include: base.
 *
 * Which rows a step learns from, and their texts packed for a forward pass.
 * All that is drawn comes from the cursor, so a cursor that is put back draws
 * the same again.
 *
 * Threads: one at a time.
 */
#pragma once

#include "base/rng.h"
#include "core/learn/train_data.h"

/* Where the draws are. Plain data, for the checkpoint. */
struct train_cursor {
    struct rng rng;
    struct rng epoch;  /* one file of pairs: rng as it was when the epoch began */
    uint64_t epoch_at; /* batches taken of this epoch */
};

struct train_batch {
    size_t n;        /* anchors, or taught texts */
    uint32_t *texts; /* [n_texts] anchors, their positives, hard negatives; or taught texts */
    size_t n_texts;
    float *teacher; /* taught: [n, teacher_dim] unit rows; else NULL or unused */
    size_t teacher_dim;
    struct packed_batch packed; /* the texts, tokens dropped */
    struct packed_batch whole;  /* the texts as they are, if asked for */

    /* private */
    const struct train_data *data;
    uint32_t *order; /* the epoch's, [rows of the only file] */
    bool has_order;
    uint32_t *drawn;           /* [batch] */
    uint32_t *ids, *whole_ids; /* what packed and whole point to */
    size_t *starts;
    size_t texts_cap, teacher_cap, ids_cap, starts_cap;
};

struct train_draw {
    size_t batch;         /* rows, before rows drawn twice are counted once; ≥ 1 */
    double token_dropout; /* share of a text's tokens left out; one stays always */
    bool whole;           /* fill train_batch.whole, too */
    bool
        keep_ends; /* the first and the last token stay: they are the tokenizer's, not the text's */
};

/** data is borrowed until train_batch_done. NOMEM. */
MUST_USE enum err_code train_batch_init(
    struct train_batch *b, const struct train_data *data, struct err *e);
void train_batch_done(struct train_batch *b);

/**
 * Pairs. From several files: one by its share, then rows of it with replacement, each counted once. From a
 * single one: the next of the batches into which a shuffled epoch is cut evenly, so that an epoch takes every
 * row exactly once. NOMEM.
 */
MUST_USE enum err_code train_batch_pairs(
    struct train_batch *b, const struct train_draw *draw, struct train_cursor *c, struct err *e);
/** Taught texts of one file and their vectors; drawn as from several files of pairs. NOMEM. */
MUST_USE enum err_code train_batch_taught(
    struct train_batch *b, const struct train_draw *draw, struct train_cursor *c, struct err *e);
/** Batches into which a file of `rows` pairs is cut. */
size_t train_batch_per_epoch(size_t rows, size_t batch);
