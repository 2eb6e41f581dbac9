/* Layer: tests. May include: libcheck, base, core.
 *
 * The tiny BERT of tests/data/core/bert_tiny as a model to train: opened, run, with its gradients at hand.
 */
#pragma once

#include "core/learn/trainable.h"
#include "core/model/bert.h"

#define BERT_TINY "tests/data/core/bert_tiny"
enum { BERT_TINY_DIM = 32 };

struct bert_fixture {
    struct trainable *t;
    struct activations *act;
};

void bert_fixture_open(struct bert_fixture *f, const char *dir, const struct trainable_options *o);
void bert_fixture_close(struct bert_fixture *f);
/** State tensor i, which tests may write to, and its size. */
float *bert_fixture_state(const struct bert_fixture *f, size_t i, size_t *ret_n);
/** out [b->count, D] */
void bert_fixture_forward(
    struct bert_fixture *f, const struct packed_batch *b, uint64_t seed, float *out);
/** Forward, then backward of sum(dout * out): the gradients of all that learns, borrowed until the next call. */
const float *bert_fixture_gradients(struct bert_fixture *f, const struct packed_batch *b,
    uint64_t seed, const float *dout, size_t *ret_n);

/** Texts of 3 to `longest` tokens, [CLS] and [SEP] around them; freed with bert_fixture_batch_free. */
void bert_fixture_batch(struct packed_batch *ret, size_t count, size_t longest, uint64_t rng_seed);
void bert_fixture_batch_free(struct packed_batch *b);
/** n normal values; freed with mem_free. */
float *bert_fixture_normal(size_t n, uint64_t rng_seed);
