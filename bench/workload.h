/* Layer: bench. May include: base, core.
 *
 * Texts and their tokens, the same for Kindred and for the peers of a bench.
 * Whatever fails ends the program.
 */
#pragma once

#include "base/str.h"
#include "core/text/tokenizer.h"

#include <stddef.h>
#include <stdint.h>

struct workload {
    char name[40];
    char path
        [64]; /* its token ids in a file, as bench/peers/worker.py reads them; removed by workload_done */
    char *bytes;       /* what the texts lie in */
    struct str *texts; /* [n] */
    uint32_t *ids;     /* [starts[n]], special tokens included */
    size_t *starts;    /* [n + 1] */
    size_t n;
};

/** n texts of `tokens` tokens each, of words that are one piece of the vocabulary. */
void workload_make(
    struct workload *w, const struct tokenizer *t, size_t n, size_t tokens, uint64_t seed);
/** n lines of a file, evenly spread, in their order; longer ones are cut to max_tokens. */
void workload_read(
    struct workload *w, const struct tokenizer *t, const char *path, size_t n, size_t max_tokens);
/** Accepts a zeroed struct. */
void workload_done(struct workload *w);

/* What a BERT folder's config.json says of its layers. */
struct bench_shape {
    size_t layers, hidden, intermediate;
};
void bench_shape_read(struct bench_shape *ret, const char *model_dir);

size_t workload_tokens(const struct workload *w);
/** Multiplications and additions of the layers' products and attention, for texts without padding. */
double workload_flops(const struct workload *w, size_t layers, size_t hidden, size_t intermediate);
