#include "core/learn/adam.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

enum { V = 20, D = 13, STEPS = 50 };

struct naive {
    double w[V * D], m[V * D], v[V * D];
};

/* Algorithm 1 with its corrected moments; eps is added to the root before the correction, as PyTorch's
 * SparseAdam does it. */
static void naive_step(struct naive *n, uint32_t row, const float *g, int64_t step, double rate)
{
    for (size_t d = 0; d < D; d++) {
        size_t i = row * D + d;
        double gi = (double)g[d];
        n->m[i] = 0.9 * n->m[i] + 0.1 * gi;
        n->v[i] = 0.999 * n->v[i] + 0.001 * gi * gi;
        double m = n->m[i] / (1 - pow(0.9, (double)step));
        double root = (sqrt(n->v[i]) + 1e-8) / sqrt(1 - pow(0.999, (double)step));
        n->w[i] -= rate * m / root;
    }
}

START_TEST(rows_in_use_only)
{
    static struct naive want;
    float table[V * D], m[V * D] = { 0 }, v[V * D] = { 0 };
    const struct adam_options o = ADAM_OPTIONS_DEFAULTS;
    struct rng rng;
    rng_init(&rng, 1);
    memset(&want, 0, sizeof want);
    for (size_t i = 0; i < V * D; i++)
        want.w[i] = (double)(table[i] = (float)rng_normal(&rng));
    uint32_t rows[V];
    for (uint32_t i = 0; i < V; i++)
        rows[i] = i;
    for (int64_t step = 1; step <= STEPS; step++) {
        float g[V * D], before[3][V * D];
        rng_shuffle_u32(&rng, rows, V);
        size_t U = step == 7 ? 0 : 1 + (size_t)rng_below(&rng, V / 2);
        for (size_t i = 0; i < U * D; i++)
            g[i] = (float)rng_normal(&rng) * (step % 9 == 0 ? 1e-12F : 0.1F);
        memcpy(before[0], table, sizeof table);
        memcpy(before[1], m, sizeof m);
        memcpy(before[2], v, sizeof v);
        double rate = 0.01 * (double)step / STEPS;
        adam_step_rows(table, m, v, rows, g, U, D, step, rate, &o);
        for (size_t u = 0; u < U; u++)
            naive_step(&want, rows[u], g + u * D, step, rate);
        for (size_t u = U; u < V; u++) {
            ck_assert_mem_eq(table + rows[u] * D, before[0] + rows[u] * D, D * sizeof *table);
            ck_assert_mem_eq(m + rows[u] * D, before[1] + rows[u] * D, D * sizeof *m);
            ck_assert_mem_eq(v + rows[u] * D, before[2] + rows[u] * D, D * sizeof *v);
        }
        ck_assert_near(m, want.m, V * D, 1e-7, 1e-5);
        ck_assert_near(v, want.v, V * D, 1e-12, 1e-4); /* 1 - 0.999 in float is off by 1e-5 */
        ck_assert_near(table, want.w, V * D, 1e-6 * (double)step, 1e-6);
    }
}
END_TEST

/* The first step goes by the rate, whatever the gradient's size: m / sqrt(v) is its sign. */
START_TEST(first_step)
{
    float w[] = { 1, 1, 1 }, m[3] = { 0 }, v[3] = { 0 };
    const float g[] = { 1e3F, -1e-3F, 0 }, want[] = { 0.9F, 1.1F, 1 };
    const struct adam_options o = ADAM_OPTIONS_DEFAULTS;
    adam_step_rows(w, m, v, (const uint32_t[]){ 0 }, g, 1, 3, 1, 0.1, &o);
    ck_assert_near(w, want, 3, 1e-4, 0.0);
}
END_TEST

/* Algorithm 2, its decay by the rate too, as PyTorch's AdamW has it: eps after the correction of both moments. */
START_TEST(decoupled_decay)
{
    float w[V * D + 1], m[V * D] = { 0 }, v[V * D] = { 0 }, g[V * D];
    static double want_w[V * D], want_m[V * D], want_v[V * D];
    const struct adam_options o = ADAM_OPTIONS_DEFAULTS;
    const double rate = 0.01, decay = 0.1, beta1 = (double)o.beta1, beta2 = (double)o.beta2;
    struct rng rng;
    rng_init(&rng, 2);
    for (size_t i = 0; i <= V * D; i++)
        w[i] = (float)rng_normal(&rng);
    for (size_t i = 0; i < V * D; i++) {
        want_w[i] = (double)w[i];
        want_m[i] = want_v[i] = 0;
    }
    const float beyond = w[V * D];
    for (int64_t step = 1; step <= STEPS; step++) {
        for (size_t i = 0; i < V * D; i++) {
            g[i] = (float)rng_normal(&rng) * (step % 9 == 0 ? 1e-12F : 0.1F);
            double gi = i % 7 ? (double)g[i] : (double)(g[i] = 0);
            want_w[i] -= rate * decay * want_w[i];
            want_m[i] = beta1 * want_m[i] + (1 - beta1) * gi;
            want_v[i] = beta2 * want_v[i] + (1 - beta2) * gi * gi;
            want_w[i] -= rate * want_m[i] / (1 - pow(beta1, (double)step)) /
                (sqrt(want_v[i] / (1 - pow(beta2, (double)step))) + (double)o.eps);
        }
        adamw_step(w, m, v, g, V * D, step, rate, decay, &o);
        ck_assert_near(m, want_m, V * D, 1e-7, 1e-5);
        ck_assert_near(v, want_v, V * D, 1e-12, 1e-5);
        ck_assert_near(w, want_w, V * D, 1e-6 * (double)step, 1e-6);
    }
    ck_assert(w[V * D] == beyond);
}
END_TEST

START_TEST(rate_over_time)
{
    /* Up to the peak at step 10, down to a tenth of it at step 110, where training has ended. */
    ck_assert(schedule_rate(0, 110, 10, 2, 0.1) == 0);
    const double got[] = { schedule_rate(5, 110, 10, 2, 0.1), schedule_rate(10, 110, 10, 2, 0.1),
        schedule_rate(35, 110, 10, 2, 0.1), schedule_rate(60, 110, 10, 2, 0.1),
        schedule_rate(85, 110, 10, 2, 0.1), schedule_rate(110, 110, 10, 2, 0.1),
        schedule_rate(500, 110, 10, 2, 0.1) };
    const double half = sqrt(0.5);
    const double want[] = { 1, 2, 0.2 + 1.8 * (1 + half) / 2, 0.2 + 1.8 / 2,
        0.2 + 1.8 * (1 - half) / 2, 0.2, 0.2 };
    ck_assert_near(got, want, 7, 1e-12, 0.0);
    for (int64_t i = 11; i < 110; i++)
        ck_assert(schedule_rate(i, 110, 10, 2, 0.1) < schedule_rate(i - 1, 110, 10, 2, 0.1));
    /* No warm-up; nothing but warm-up; a single step. */
    ck_assert(schedule_rate(0, 10, 0, 2, 0) == 2);
    ck_assert(schedule_rate(9, 10, 10, 2, 0) < 2 && schedule_rate(10, 10, 10, 2, 0) == 0);
    ck_assert(schedule_rate(0, 1, 0, 2, 0.5) == 2);
}
END_TEST

TEST_SUITE(adam)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, rows_in_use_only);
    tcase_add_test(tc, first_step);
    tcase_add_test(tc, decoupled_decay);
    tcase_add_test(tc, rate_over_time);
    suite_add_tcase(s, tc);
}
