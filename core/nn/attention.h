/* Layer: core. May include: base.
 *
 * Multi-head self-attention over packed sequences: texts of any length lie one
 * after the other, and each attends to itself alone; nothing is padded.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>

/* Sequence s is tokens starts[s] … starts[s+1]-1, at least one; T = starts[count]. */
struct attention_shape {
    const size_t *starts; /* [count + 1]; starts[0] is 0 */
    size_t count;
    size_t H, D; /* heads, values a head; C = H*D */
};

/** Values of `saved`: the probabilities, H n² of each sequence of n tokens. */
size_t attention_saved(const struct attention_shape *s);
/** Values of `work`, for both directions. */
size_t attention_workspace(const struct attention_shape *s);

/** out [T,C]; qkv [T,3C]: a token's query, key and value beside each other, each with its heads side by side.
 * Source: Vaswani et al. 2017, section 3.2; the scale is 1/√D. */
void attention_forward(real_t *restrict out, real_t *restrict saved, real_t *restrict work,
    const real_t *restrict qkv, const struct attention_shape *s);
/** Adds to dqkv [T,3C], given dout [T,C] and forward's qkv and saved. */
void attention_backward(real_t *restrict dqkv, real_t *restrict work, const real_t *restrict dout,
    const real_t *restrict saved, const real_t *restrict qkv, const struct attention_shape *s);
