/* Layer: bench. May include: base, core.
 *
 * Rounds of Kindred's encoder on several threads, each with a workspace of its
 * own, that share the batches as a server's threads do; and what the machine
 * can do at most: matrix products and reading memory. Failures end the program.
 */
#pragma once

#include "bench/workload.h"
#include "core/model/encoder.h"

#include <stdbool.h>

enum { ENCODE_THREADS_MAX = 64 };

/** Count each thread's CPU time, and have peers that are started later do so; else the time that passes. */
void encode_run_clock(bool cpu);

struct encode_round {
    double tokens_per_s; /* of all threads together */
    double ms;           /* median call */
};

/** All of w's texts in one call, again and again for `seconds`, tokenised before. */
void encode_run_fixed(const struct encoder *enc, const struct workload *w, unsigned threads,
    double seconds, struct encode_round *ret);

struct encode_texts_options {
    size_t budget; /* tokens of a batch at most; a longer text is a batch of its own */
    size_t part, parts;
    bool tokenising; /* count its time, too */
    unsigned threads;
};
/** Every batch of one part of w once, packed in the order of the texts. */
void encode_run_texts(const struct encoder *enc, const struct workload *w,
    const struct encode_texts_options *o, struct encode_round *ret);

/** GFLOP/s of OpenBLAS's [2048,384] × [384,1536], a product a thread. */
double encode_run_sgemm(unsigned threads, double seconds);
/** GB/s of reading memory that no cache holds. */
double encode_run_stream(unsigned threads, double seconds);
