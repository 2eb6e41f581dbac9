/* Layer: core. May include: base.
 *
 * The linear layer and attention for inference: weights that stay the same are
 * laid out once as the inner loop reads them, and what follows the product (bias,
 * activation, residual) is done while a tile is at hand. f32 only, one thread a call.
 *
 * BLAS repacks weights at every call, and knows no epilogue. A table an
 * instruction set, chosen at run time (packed_ops), so that the layout fits.
 *
 * A row of the result does not depend, bit for bit, on the other rows of the call:
 * each value is one sum in the order of the inputs, whatever the tile.
 *
 * Threads: any number, each on outputs and work space of its own.
 */
#pragma once

#include "core/nn/activation.h"
#include "core/nn/attention.h"

#include <stdbool.h>
#include <stddef.h>

/* Weights [O,I] in panels; owned by whoever allocated `panels`. */
struct packed_linear {
    size_t I, O;
    float *panels;     /* packed_floats(k, I, O) values, 64-byte aligned */
    const float *bias; /* [O] or NULL; borrowed */
};

/* What is done to a product before it is stored. */
struct packed_after {
    enum activation f;     /* after the bias */
    const float *residual; /* [N,O], added last, or NULL; may be y */
};

struct packed_ops {
    const char *name; /* "baseline", "avx2", "avx512" */
    size_t tile_rows, tile_columns;
    /** y [N,O] = f(x [N,I] w' + bias) + residual. y must not overlap x. */
    void (*linear)(float *y, const float *x, size_t N, const struct packed_linear *w,
        const struct packed_after *after);
    /** out [T,C] from qkv [T,3C] as attention_forward makes it; the queries are scaled already if `scaled`.
     * work: packed_attention_floats. */
    void (*attention)(float *restrict out, float *restrict work, const float *restrict qkv,
        const struct attention_shape *s, bool scaled);
};

/** The best table this CPU can run. */
const struct packed_ops *packed_ops(void);
/** All that it can run, slowest first, NULL at the end: for tests and benches. */
const struct packed_ops *const *packed_ops_all(void);

/** floats of `panels`; 0 if too large for memory. */
size_t packed_floats(const struct packed_ops *k, size_t I, size_t O);
/** Lay w [O,I] out. */
void packed_fill(const struct packed_ops *k, struct packed_linear *p, const float *w);
/** floats of work space for sequences of at most n tokens, D values a head. */
size_t packed_attention_floats(const struct packed_ops *k, size_t n, size_t D);
