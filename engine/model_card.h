/* Layer: engine. May include: core, index, catalog, base.
 *
 * The README.md of a model that was trained here: what it started from, what it
 * learnt from, how, how good it is, how to open it. Markdown with the front
 * matter of Hugging Face model cards.
 *
 * Threads: any.
 */
#pragma once

#include "base/err.h"
#include "core/learn/trainer.h"

#include <stddef.h>

enum { CARD_HASH_CHARS = 64 };

/** A file that was learnt from. */
struct card_file {
    const char *name;
    size_t rows;
    double weight;
    bool taught;                    /* texts with a teacher's vectors; else pairs */
    char hash[CARD_HASH_CHARS + 1]; /* BLAKE2b-256, hex */
};

struct model_card {
    const char *parent; /* name or folder of the model it started from */
    const struct card_file *files;
    size_t n_files;
    const char *data_hash; /* of all files, hex */
    const struct trainer_options *options;
    const struct trainer_report *training;
    const char *metrics; /* Markdown: what was measured; NULL: nothing was */
};

/** Write (or replace) model_dir/README.md. Errors: FULL, IO, NOMEM. */
MUST_USE enum err_code model_card_write(
    const char *model_dir, const struct model_card *card, struct err *e);
