/* Layer: core. May include: base.
 *
 * What a run learns from, in memory: every distinct text of the files as token
 * ids, and rows that refer to texts by number.
 *
 * Texts of the same tokens are one text, so that equality of texts is equality
 * of numbers. That includes texts that differ in what the tokenizer drops
 * (case, accents) or beyond max_tokens.
 *
 * A model that is served with prompts learns with them: anchors have the query's
 * before them, everything else the document's. A text that is an anchor here and
 * a positive there is then two texts.
 *
 * Threads: immutable once loaded.
 */
#pragma once

#include "core/learn/npy.h"
#include "core/learn/trainable.h"
#include "core/learn/trainer.h"

struct train_files {
    const struct train_file *pairs, *taught;
    size_t n_pairs, n_taught;
    double row_cap, row_power; /* of a file's share */
    size_t max_tokens;         /* of a text; 0: the model's */
};

/* Token ids of n texts: ids[starts[i]] … ids[starts[i + 1] - 1], at least one. */
struct train_texts {
    uint32_t *ids;
    size_t *starts; /* [n + 1] */
    size_t n;
};

/* Rows of one file. */
struct train_rows {
    size_t n;
    size_t *starts;  /* pairs: row i is texts[starts[i]] …: anchor, positive, hard negatives */
    uint32_t *texts; /* taught texts: row i is texts[i] */
    uint32_t *lines; /* taught texts: which row of `vectors` */
    struct npy *vectors; /* NULL: pairs */
    double share;        /* of the draws of its kind */
};

struct train_data {
    struct train_texts texts;
    struct train_rows *pairs, *taught; /* a file each */
    size_t n_pairs, n_taught;
    size_t pair_rows, taught_rows, skipped; /* rows kept; lines passed over */
    uint64_t
        hash; /* of the files' bytes, names left out, and of the prompts, where there are any */
};

/**
 * Read the files. Lines whose anchor, positive or taught text has no known token (of its own, beside a prompt's) are
 * passed over and counted, as empty lines are; hard negatives without one are left out.
 *
 * Errors: INVALID (a line that is not UTF-8 or has no TAB, or a file without a row, named; vectors of
 * another number than lines), NOT_FOUND, IO, NOMEM, LIMIT, and those of npy_open.
 */
MUST_USE enum err_code train_data_load(const struct train_files *files, const struct trainable *t,
    struct train_data **ret_data, struct err *e);
void train_data_free(struct train_data *d);
