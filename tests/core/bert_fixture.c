#include "tests/core/bert_fixture.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tests/support/test.h"

void bert_fixture_open(struct bert_fixture *f, const char *dir, const struct trainable_options *o)
{
    struct err e = ERR_INIT;
    *f = (struct bert_fixture){ NULL, NULL };
    ck_assert_ok(trainable_open(dir, o, &f->t, &e), &e);
    ck_assert_ok(activations_new(f->t, &f->act, &e), &e);
}

void bert_fixture_close(struct bert_fixture *f)
{
    activations_free(f->act);
    trainable_free(f->t);
    *f = (struct bert_fixture){ NULL, NULL };
}

float *bert_fixture_state(const struct bert_fixture *f, size_t i, size_t *ret_n)
{
    struct safetensor_out out;
    trainable_state_get(f->t, i, &out);
    ck_assert_uint_eq(out.n_dims, 1);
    if (ret_n) *ret_n = out.dims[0];
    return (float *)(uintptr_t)out.data;
}

void bert_fixture_forward(
    struct bert_fixture *f, const struct packed_batch *b, uint64_t seed, float *out)
{
    struct err e = ERR_INIT;
    ck_assert_ok(trainable_forward(f->t, f->act, b, seed, out, &e), &e);
}

const float *bert_fixture_gradients(struct bert_fixture *f, const struct packed_batch *b,
    uint64_t seed, const float *dout, size_t *ret_n)
{
    /* With beta1 = 0 the first moment is the gradient, and a rate of 0 changes nothing. */
    const struct adam_options adam = { 0, 0, 1 };
    struct err e = ERR_INIT;
    AUTO_FREE float *out = mem_alloc(b->count * trainable_dimensions(f->t), sizeof *out);
    ck_assert_ptr_nonnull(out);
    bert_fixture_forward(f, b, seed, out);
    ck_assert_ok(trainable_backward(f->t, f->act, dout, &e), &e);
    trainable_step(f->t, 1, 0, &adam);
    return bert_fixture_state(f, 1, ret_n);
}

void bert_fixture_batch(struct packed_batch *ret, size_t count, size_t longest, uint64_t rng_seed)
{
    enum { CLS = 2, SEP = 3, FIRST_WORD = 5, WORDS = 100 };
    struct rng rng;
    uint32_t *ids = mem_alloc(count * longest, sizeof *ids);
    size_t *starts = mem_alloc(count + 1, sizeof *starts), at = 0;
    ck_assert(ids && starts);
    rng_init(&rng, rng_seed);
    for (size_t i = 0; i < count; i++) {
        size_t n = 3 + rng_below(&rng, longest - 2);
        starts[i] = at;
        ids[at] = CLS;
        for (size_t k = 1; k + 1 < n; k++)
            ids[at + k] = FIRST_WORD + (uint32_t)rng_below(&rng, WORDS);
        ids[at + n - 1] = SEP;
        at += n;
    }
    starts[count] = at;
    *ret = (struct packed_batch){ ids, starts, count };
}

void bert_fixture_batch_free(struct packed_batch *b)
{
    mem_free((void *)(uintptr_t)b->ids);
    mem_free((void *)(uintptr_t)b->starts);
}

float *bert_fixture_normal(size_t n, uint64_t rng_seed)
{
    struct rng rng;
    float *p = mem_alloc(n, sizeof *p);
    ck_assert_ptr_nonnull(p);
    rng_init(&rng, rng_seed);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)rng_normal(&rng);
    return p;
}
