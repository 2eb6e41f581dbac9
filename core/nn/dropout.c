/* The mask is a hash of the place under two keys that come from the seed: no state, so any part of it can be made
 * by itself, and in vectors. The place is counted in 32 bits; beyond that the keys change. */
#include "core/nn/dropout.h"

#include "base/err.h"
#include "core/nn/kernels.h"

#include <string.h>

static const size_t BLOCK = (size_t)1 << 31;

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static struct nn_dropout mask_of(real_t p, uint64_t seed, size_t block)
{
    uint64_t keys = mix(mix(seed) + block);
    return (struct nn_dropout){ .key1 = (uint32_t)keys,
        .key2 = (uint32_t)(keys >> 32),
        .below = (uint32_t)((double)p * 0x1p32),
        .scale = (real_t)(1 / (1 - (double)p)) };
}

void dropout_forward(real_t *y, const real_t *x, size_t n, real_t p, uint64_t seed)
{
    ASSERT_BUG(p >= 0 && p < 1);
    if (p == 0) {
        if (y != x) memcpy(y, x, n * sizeof *y);
        return;
    }
    for (size_t block = 0; block * BLOCK < n; block++) {
        size_t first = block * BLOCK, here = n - first < BLOCK ? n - first : BLOCK;
        const struct nn_dropout d = mask_of(p, seed, block);
        nn_kernels()->dropout(y + first, x + first, here, &d);
    }
}

void dropout_backward(
    real_t *restrict dx, const real_t *restrict dy, size_t n, real_t p, uint64_t seed)
{
    ASSERT_BUG(p >= 0 && p < 1);
    if (p == 0) {
        nn_kernels()->axpy(dx, 1, dy, n);
        return;
    }
    for (size_t block = 0; block * BLOCK < n; block++) {
        size_t first = block * BLOCK, here = n - first < BLOCK ? n - first : BLOCK;
        const struct nn_dropout d = mask_of(p, seed, block);
        nn_kernels()->dropout_back(dx + first, dy + first, here, &d);
    }
}
