/* Layer: base. May include: libc.
 *
 * Seedable pseudo-random numbers: xoshiro256** seeded by splitmix64
 * (Blackman & Vigna 2018). Not for secrets. The state is plain data, so a
 * checkpoint can hold it. Threads: one at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

/** Equal seeds give equal sequences, on every machine. */
void rng_init(struct rng *r, uint64_t seed);
/** Uniform over all 64 bits. */
uint64_t rng_u64(struct rng *r);
/** Uniform in [0, n), without bias; n ≥ 1. */
uint64_t rng_below(struct rng *r, uint64_t n);
/** Uniform in [0, 1), 53 bits. */
double rng_unit(struct rng *r);
/** Standard normal (polar method). */
double rng_normal(struct rng *r);
/** Fisher–Yates over n indexes. */
void rng_shuffle_u32(struct rng *r, uint32_t *v, size_t n);
