/* core/learn/infonce.c against the formula written out in double; its gradients are judged in tests/grad. */
#include "core/learn/loss.h"

#include "base/rng.h"
#include "core/nn/bag.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_MAX = 37, M_MAX = 45, D_MAX = 19 };

static struct rng rng;
static float a[N_MAX * D_MAX], b[M_MAX * D_MAX];
static bool masked[N_MAX * M_MAX];

static void fill_unit(float *x, size_t N, size_t D)
{
    float raw[M_MAX * D_MAX], norms[M_MAX];
    for (size_t i = 0; i < N * D; i++)
        raw[i] = (float)rng_normal(&rng);
    unit_forward(x, norms, raw, N, D);
}

static void set_up(void)
{
    rng_init(&rng, 1);
}

static double similarity(const struct infonce_shape *s, size_t i, size_t j)
{
    double sum = 0;
    for (size_t d = 0; d < s->D; d++)
        sum += (double)a[i * s->D + d] * (double)b[j * s->D + d];
    return sum / (double)s->temperature;
}

/* log sum exp minus the positive: no shift, as double has room for exp(1 / 0.01). */
static double naive(const struct infonce_shape *s, const bool *mask)
{
    double rows = 0, columns = 0;
    for (size_t i = 0; i < s->N; i++) {
        double row = 0, column = 0;
        for (size_t j = 0; j < s->M; j++)
            if (!mask || !mask[i * s->M + j]) row += exp(similarity(s, i, j));
        for (size_t j = 0; j < s->N; j++)
            if (!mask || !mask[j * s->M + i]) column += exp(similarity(s, j, i));
        rows += log(row) - similarity(s, i, i);
        columns += log(column) - similarity(s, i, i);
    }
    return (s->symmetric ? (rows + columns) / 2 : rows) / (double)s->N;
}

static float forward(const struct infonce_shape *s, const bool *mask)
{
    float *saved = malloc(infonce_saved(s) * sizeof *saved);
    ck_assert_ptr_nonnull(saved);
    float loss = infonce_forward(saved, a, b, mask, s);
    free(saved);
    return loss;
}

START_TEST(as_the_formula)
{
    const size_t sizes[] = { 1, 2, 5, 32, N_MAX }, extra[] = { 0, 1, M_MAX - N_MAX };
    const float temperatures[] = { 1, 0.05F, 0.01F };
    for (int k = 0; k < 5 * 3 * 3 * 4; k++) {
        struct infonce_shape s = { .N = sizes[k % 5],
            .M = sizes[k % 5] + extra[k / 5 % 3],
            .D = k % 2 ? D_MAX : 3,
            .temperature = temperatures[k / 15 % 3],
            .symmetric = k / 45 % 2 };
        fill_unit(a, s.N, s.D);
        fill_unit(b, s.M, s.D);
        for (size_t i = 0; i < s.N; i++)
            for (size_t j = 0; j < s.M; j++)
                masked[i * s.M + j] = i != j && rng_below(&rng, 4) == 0;
        const bool *mask = k / 90 ? masked : NULL;
        double want = naive(&s, mask);
        float got = forward(&s, mask);
        ck_assert_near(&got, &want, 1, 1e-6 / (double)s.temperature, 1e-6);
    }
}
END_TEST

/* exp(2 / 0.002) is beyond float and beyond double. */
START_TEST(cold_softmax_is_finite)
{
    const struct infonce_shape s = {
        .N = 2, .M = 3, .D = 2, .temperature = 0.002F, .symmetric = true
    };
    const float right[] = { 1, 0, 0, 1, 0, -1 }, wrong[] = { -1, 0, 0, -1, 1, 0 };
    memcpy(a, right, 4 * sizeof *a);
    memcpy(b, right, 6 * sizeof *b);
    ck_assert(forward(&s, NULL) == 0);
    memcpy(b, wrong, 6 * sizeof *b);
    /* Rows: 500 - -500, and 0 - -500 plus the log of two equal candidates; columns: 500 each. */
    double want = (1000 + (500 + log(2)) + 500 + 500) / 2 / 2;
    float got = forward(&s, NULL);
    ck_assert_near(&got, &want, 1, 0.0, 1e-6);
}
END_TEST

/* What is masked changes nothing, in the loss or in any gradient, and gets none itself. */
START_TEST(masked_is_exactly_out)
{
    const struct infonce_shape s = {
        .N = 5, .M = 8, .D = 7, .temperature = 0.05F, .symmetric = true
    };
    float *saved = malloc(infonce_saved(&s) * sizeof *saved);
    float da[2][5 * 7] = { 0 }, db[2][8 * 7] = { 0 }, loss[2];
    ck_assert_ptr_nonnull(saved);
    fill_unit(a, s.N, s.D);
    fill_unit(b, s.M, s.D);
    memset(masked, 0, sizeof masked);
    for (size_t i = 0; i < s.N; i++)
        masked[i * s.M + 6] = true;
    for (int k = 0; k < 2; k++) {
        loss[k] = infonce_forward(saved, a, b, masked, &s);
        infonce_backward(da[k], db[k], saved, a, b, 1, &s);
        for (size_t d = 0; d < s.D; d++)
            ck_assert(db[k][6 * s.D + d] == 0);
        memcpy(b + 6 * s.D, a, s.D * sizeof *b); /* as near as can be */
    }
    ck_assert(loss[0] == loss[1]);
    ck_assert_mem_eq(da[0], da[1], sizeof da[0]);
    ck_assert_mem_eq(db[0], db[1], sizeof db[0]);
    float open = infonce_forward(saved, a, b, NULL, &s);
    ck_assert(open > loss[0]);
    free(saved);
}
END_TEST

START_TEST(alone_there_is_nothing_to_learn)
{
    const struct infonce_shape s = {
        .N = 1, .M = 1, .D = 3, .temperature = 0.05F, .symmetric = true
    };
    float saved[16], da[3] = { 0 }, db[3] = { 0 };
    ck_assert_uint_le(infonce_saved(&s), 16);
    fill_unit(a, 1, 3);
    fill_unit(b, 1, 3);
    ck_assert(infonce_forward(saved, a, b, NULL, &s) == 0);
    infonce_backward(da, db, saved, a, b, 1, &s);
    for (int d = 0; d < 3; d++)
        ck_assert(da[d] == 0 && db[d] == 0);
}
END_TEST

START_TEST(not_a_number_shows)
{
    struct infonce_shape s = { .N = 5, .M = 5, .D = 7, .temperature = 0.05F };
    for (int k = 0; k < 2; k++) {
        s.symmetric = k;
        fill_unit(a, s.N, s.D);
        fill_unit(b, s.M, s.D);
        a[3 * s.D + 2] = NAN;
        ck_assert(isnan(forward(&s, NULL)));
    }
}
END_TEST

TEST_SUITE(infonce)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, as_the_formula);
    tcase_add_test(tc, cold_softmax_is_finite);
    tcase_add_test(tc, masked_is_exactly_out);
    tcase_add_test(tc, alone_there_is_nothing_to_learn);
    tcase_add_test(tc, not_a_number_shows);
    suite_add_tcase(s, tc);
}
