/* core/nn/attention.c against finite differences. The loss is a fixed weighting of what forward gives. */
#include "core/nn/attention.h"

#include "tests/grad/gradient.h"
#include "tests/support/test.h"

#include <stdlib.h>

enum { MOST = 2048 };

struct heads {
    struct attention_shape shape;
    real_t qkv[3 * MOST], weights[MOST];
};

/* As many numbers as the op asks for and no more, so that AddressSanitizer sees one too many. */
static real_t *exactly(size_t n)
{
    real_t *p = calloc(n, sizeof *p);
    ck_assert_ptr_nonnull(p);
    return p;
}

static double loss(void *arg)
{
    const struct heads *c = arg;
    const struct attention_shape *s = &c->shape;
    real_t *saved = exactly(attention_saved(s)), *work = exactly(attention_workspace(s));
    size_t n = s->starts[s->count] * s->H * s->D;
    real_t out[MOST];
    double sum = 0;
    attention_forward(out, saved, work, c->qkv, s);
    for (size_t i = 0; i < n; i++)
        sum += out[i] * c->weights[i];
    free(saved);
    free(work);
    return sum;
}

static void check(const size_t *starts, size_t count, size_t H, size_t D, struct rng *r)
{
    static struct heads c;
    c.shape = (struct attention_shape){ starts, count, H, D };
    const struct attention_shape *s = &c.shape;
    size_t n = starts[count] * H * D;
    ck_assert_uint_le(n, MOST);
    fill_random(c.qkv, 3 * n, 1, r);
    fill_random(c.weights, n, 1, r);
    real_t *saved = exactly(attention_saved(s)), *work = exactly(attention_workspace(s));
    real_t out[MOST], d[3 * MOST];
    for (size_t i = 0; i < 3 * n; i++)
        d[i] = 0.5; /* backward adds */
    attention_forward(out, saved, work, c.qkv, s);
    attention_backward(d, work, c.weights, saved, c.qkv, s);
    for (size_t i = 0; i < 3 * n; i++)
        d[i] -= 0.5;
    check_gradient("qkv", loss, &c, c.qkv, 3 * n, d, 1);
    free(saved);
    free(work);
}

START_TEST(attention)
{
    const size_t few[] = { 0, 1, 3, 8 }, one[] = { 0, 1 }, tile[] = { 0, 16 },
                 more[] = { 0, 2, 23 };
    struct rng r;
    rng_init(&r, 7);
    for (size_t H = 1; H <= 3; H += 2) {
        check(one, 1, H, 1, &r);
        check(one, 1, H, 5, &r);
        check(few, 3, H, 1, &r);
        check(few, 3, H, 5, &r);
        check(few, 3, H, 32, &r);
        check(tile, 1, H, 3, &r);
        check(more, 2, H, 5, &r);
    }
    check(tile, 1, 1, 16, &r);
    check(more, 2, 1, 17, &r);
}
END_TEST

TEST_SUITE(attention_grad)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, attention);
    suite_add_tcase(s, tc);
}
