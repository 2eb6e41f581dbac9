#include "core/nn/attention.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 16 };
static const float CANARY = 1234.5F;

static struct rng rng;

static void set_up(void)
{
    rng_init(&rng, 1);
}

/* n values at random, canaries behind them. */
static float *room(size_t n)
{
    float *p = malloc((n + GUARD) * sizeof *p);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)rng_normal(&rng);
    for (size_t i = 0; i < GUARD; i++)
        p[n + i] = CANARY;
    return p;
}

static void leave(float *p, size_t n)
{
    for (size_t i = 0; i < GUARD; i++)
        ck_assert(p[n + i] == CANARY);
    free(p);
}

/* All in double and by the definition. p, out and d may not be initialised; d is the gradient alone. */
struct naive {
    const struct attention_shape *s;
    double *p, *out, *d;
};

static void naive_head(
    const struct naive *a, const float *qkv, const float *dout, size_t i, size_t h, double *p)
{
    const struct attention_shape *s = a->s;
    size_t first = s->starts[i], n = s->starts[i + 1] - first, D = s->D, C = s->H * D;
    double *dp = calloc(n, sizeof *dp);
    ck_assert_ptr_nonnull(dp);
    for (size_t t = 0; t < n; t++) {
        const float *q = qkv + (first + t) * 3 * C + h * D, *go = dout + (first + t) * C + h * D;
        double *out = a->out + (first + t) * C + h * D, *dq = a->d + (q - qkv), sum = 0, along = 0;
        for (size_t u = 0; u < n; u++) {
            const float *k = qkv + (first + u) * 3 * C + C + h * D;
            double dot = 0;
            for (size_t d = 0; d < D; d++)
                dot += (double)q[d] * (double)k[d];
            sum += p[t * n + u] = exp(dot / sqrt((double)D));
        }
        for (size_t u = 0; u < n; u++) {
            const float *v = qkv + (first + u) * 3 * C + 2 * C + h * D;
            double *dv = a->d + (v - qkv);
            p[t * n + u] /= sum;
            dp[u] = 0;
            for (size_t d = 0; d < D; d++) {
                out[d] += p[t * n + u] * (double)v[d];
                dp[u] += (double)go[d] * (double)v[d];
                dv[d] += p[t * n + u] * (double)go[d];
            }
            along += dp[u] * p[t * n + u];
        }
        for (size_t u = 0; u < n; u++) {
            const float *k = qkv + (first + u) * 3 * C + C + h * D;
            const double ds = p[t * n + u] * (dp[u] - along) / sqrt((double)D);
            double *dk = a->d + (k - qkv);
            for (size_t d = 0; d < D; d++) {
                dq[d] += ds * (double)k[d];
                dk[d] += ds * (double)q[d];
            }
        }
    }
    free(dp);
}

static struct naive naive(const struct attention_shape *s, const float *qkv, const float *dout)
{
    size_t n = s->starts[s->count] * s->H * s->D;
    struct naive a = { s, calloc(attention_saved(s), sizeof(double)), calloc(n, sizeof(double)),
        calloc(3 * n, sizeof(double)) };
    ck_assert(a.p && a.out && a.d);
    double *p = a.p;
    for (size_t i = 0; i < s->count; i++)
        for (size_t h = 0; h < s->H; h++) {
            size_t len = s->starts[i + 1] - s->starts[i];
            naive_head(&a, qkv, dout, i, h, p);
            p += len * len;
        }
    return a;
}

static void check(const struct attention_shape *s)
{
    size_t n = s->starts[s->count] * s->H * s->D, n_saved = attention_saved(s);
    size_t n_work = attention_workspace(s);
    float *qkv = room(3 * n), *dout = room(n), *out = room(n), *d = room(3 * n);
    float *saved = room(n_saved), *work = room(n_work);
    for (size_t i = 0; i < 3 * n; i++)
        d[i] = 2;
    attention_forward(out, saved, work, qkv, s);
    for (size_t i = 0; i < n_work; i++)
        work[i] = NAN; /* keeps nothing between the two */
    attention_backward(d, work, dout, saved, qkv, s);
    struct naive a = naive(s, qkv, dout);
    for (size_t i = 0; i < 3 * n; i++)
        a.d[i] += 2;
    ck_assert_near(saved, a.p, n_saved, 2e-6, 1e-5);
    ck_assert_near(out, a.out, n, 5e-6, 1e-5);
    ck_assert_near(d, a.d, 3 * n, 2e-5, 1e-5);
    leave(qkv, 3 * n);
    leave(dout, n);
    leave(out, n);
    leave(d, 3 * n);
    leave(saved, n_saved);
    leave(work, n_work);
    free(a.p);
    free(a.out);
    free(a.d);
}

START_TEST(as_written_out)
{
    const size_t starts[] = { 0, 1, 3, 10, 43, 59, 60 }, depths[] = { 1, 2, 5, 16, 24, 32, 64, 67 };
    for (size_t k = 0; k < 8 * 3; k++) {
        const struct attention_shape s = { starts, 6, k / 8 + 1, depths[k % 8] };
        ck_assert_uint_eq(attention_saved(&s), s.H * (1 + 4 + 49 + 33 * 33 + 256 + 1));
        check(&s);
    }
    for (size_t n = 1; n <= 40; n++)
        check(&(struct attention_shape){ (const size_t[]){ 0, n }, 1, 2, 8 });
    check(&(struct attention_shape){ (const size_t[]){ 0, 130 }, 1, 1, 32 });
}
END_TEST

/* A text's result is its own: the same bits, whatever lies beside it. */
START_TEST(texts_do_not_meet)
{
    enum { C = 2 * 8, A = 5, B = 19 };
    float *qkv = room((A + B) * 3 * C), alone[B * C], out[(A + B) * C];
    float *saved = room(2 * (A * A + B * B)), *work = room(8 * 48 + B * 16 + B * B);
    const struct attention_shape two = { (const size_t[]){ 0, A, A + B }, 2, 2, 8 };
    const struct attention_shape one = { (const size_t[]){ 0, B }, 1, 2, 8 };
    ck_assert_uint_ge(8 * 48 + B * 16 + B * B, attention_workspace(&two));
    attention_forward(out, saved, work, qkv, &two);
    attention_forward(alone, saved, work, qkv + A * 3 * C, &one);
    ck_assert_mem_eq(alone, out + A * C, sizeof alone);
    free(qkv);
    free(saved);
    free(work);
}
END_TEST

START_TEST(sizes)
{
    const struct attention_shape none = { (const size_t[]){ 0 }, 0, 3, 8 };
    ck_assert_uint_eq(attention_saved(&none), 0);
    attention_forward(NULL, NULL, NULL, NULL, &none);
    const struct attention_shape vast = { (const size_t[]){ 0, SIZE_MAX / 2 }, 1, 3, 8 };
    ck_assert_uint_eq(attention_saved(&vast), SIZE_MAX);
    ck_assert_uint_eq(attention_workspace(&vast), SIZE_MAX);
}
END_TEST

TEST_SUITE(attention)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, as_written_out);
    tcase_add_test(tc, texts_do_not_meet);
    tcase_add_test(tc, sizes);
    suite_add_tcase(s, tc);
}
