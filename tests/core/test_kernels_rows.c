/* core/nn/kernels_rows_internal.h and core/nn/kernels_matmul_internal.h: every table this machine can run against
 * loops in double. What an op adds to these is tested with the op. */
#include "core/nn/kernels.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

enum { N_MAX = 133, GUARD = 40, SIZE = N_MAX + GUARD };

static struct rng rng;
static float x[SIZE], y[SIZE], z[SIZE], u[SIZE], out[SIZE], second[SIZE];
static double want[SIZE], also[SIZE];

static void set_up(void)
{
    rng_init(&rng, 1);
}

static void fill(float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (float)rng_normal(&rng);
}

#define FOR_EACH_TABLE(k) for (const struct nn_kernels *const *k = nn_kernels_all(); *(k); (k)++)
#define FOR_EACH_LENGTH(n) for (size_t n = 0; n <= N_MAX; n += n < 70 ? 1 : 7)

/* New values everywhere; want is what is there already. */
static void fill_all(void)
{
    fill(x, SIZE);
    fill(y, SIZE);
    fill(z, SIZE);
    fill(u, SIZE);
    fill(out, SIZE);
    fill(second, SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        want[i] = (double)out[i];
        also[i] = (double)second[i];
    }
}

START_TEST(every_table_is_full)
{
    FOR_EACH_TABLE(k)
    {
        const unsigned char *p = (const unsigned char *)*k;
        static const unsigned char none[sizeof(void (*)(void))];
        for (size_t i = 0; i + sizeof none <= sizeof **k; i += sizeof none)
            ck_assert_msg(
                memcmp(p + i, none, sizeof none), "%s: member %zu", (*k)->name, i / sizeof none);
    }
}
END_TEST

START_TEST(sums_and_functions)
{
    FOR_EACH_TABLE(k)
    FOR_EACH_LENGTH(n)
    {
        fill_all();
        for (size_t i = 0; i < n; i++)
            want[i] = (double)x[i] + (double)y[i];
        (*k)->add(out, x, y, n);
        ck_assert_near(out, want, SIZE, 1e-7, 1e-6);

        fill_all();
        for (size_t i = 0; i < n; i++)
            want[i] = (double)x[i] / 2 * (1 + erf((double)x[i] * M_SQRT1_2));
        (*k)->activate(ACTIVATION_GELU, out, x, n);
        ck_assert_near(out, want, SIZE, 1e-6, 1e-6);

        fill_all();
        for (size_t i = 0; i < n; i++)
            want[i] += (double)y[i] *
                ((1 + erf((double)x[i] * M_SQRT1_2)) / 2 +
                    (double)x[i] * exp(-(double)x[i] * (double)x[i] / 2) / sqrt(2 * M_PI));
        (*k)->activate_back(ACTIVATION_GELU, out, y, x, n);
        ck_assert_near(out, want, SIZE, 2e-6, 1e-6);
    }
}
END_TEST

START_TEST(softmax_rows)
{
    FOR_EACH_TABLE(k)
    for (size_t n = 1; n <= N_MAX; n++) {
        double sum = 0, along = 0;
        fill_all();
        for (size_t i = 0; i < n; i++)
            sum += also[i] = exp(0.5 * (double)x[i]);
        for (size_t i = 0; i < n; i++)
            along += (want[i] = also[i] /= sum) * (double)z[i];
        (*k)->softmax(out, x, 0.5F, n);
        ck_assert_near(out, want, SIZE, 1e-7, 3e-6);

        memcpy(y, out, n * sizeof *y);
        fill(out, SIZE);
        for (size_t i = 0; i < SIZE; i++)
            want[i] = (double)out[i] + (i < n ? 0.5 * also[i] * ((double)z[i] - along) : 0);
        (*k)->softmax_back(out, z, y, 0.5F, n);
        ck_assert_near(out, want, SIZE, 2e-6, 1e-6);
        memcpy(out, z, sizeof out);
        for (size_t i = 0; i < SIZE; i++)
            want[i] = i < n ? also[i] * ((double)z[i] - along) : (double)z[i];
        (*k)->softmax_slope(out, y, n);
        ck_assert_near(out, want, SIZE, 2e-6, 1e-6);
    }
}
END_TEST

START_TEST(layernorm_rows)
{
    FOR_EACH_TABLE(k)
    for (size_t n = 1; n <= N_MAX; n++) {
        struct nn_norm s = { .gamma = y, .beta = z, .n = n, .eps = 0.125F };
        double mean = 0, var = 0, level = 0, slope = 0;
        fill_all();
        for (size_t i = 0; i < n; i++)
            mean += (double)x[i] / (double)n;
        for (size_t i = 0; i < n; i++)
            var += pow((double)x[i] - mean, 2) / (double)n;
        const double rstd = 1 / sqrt(var + 0.125);
        for (size_t i = 0; i < n; i++) {
            double hat = ((double)x[i] - mean) * rstd, g = (double)u[i] * (double)y[i];
            want[i] = hat * (double)y[i] + (double)z[i];
            level += g / (double)n;
            slope += g * hat / (double)n;
        }
        (*k)->layernorm(out, x, &s);
        ck_assert_near(out, want, SIZE, 5e-6, 1e-6);
        ck_assert_near(&s.mean, &mean, 1, 1e-6, 1e-6);
        ck_assert_near(&s.rstd, &rstd, 1, 1e-6, 1e-6);

        fill(out, SIZE);
        for (size_t i = 0; i < SIZE; i++) {
            double hat = ((double)x[i] - mean) * rstd, g = (double)u[i] * (double)y[i];
            want[i] = (double)out[i] + (i < n ? rstd * (g - level - hat * slope) : 0);
        }
        (*k)->layernorm_dx(out, u, x, &s);
        ck_assert_near(out, want, SIZE, 1e-5, 1e-6);
        fill(out, SIZE);
        for (size_t i = 0; i < SIZE; i++) {
            want[i] = (double)out[i] + (i < n ? (double)u[i] * ((double)x[i] - mean) * rstd : 0);
            also[i] += i < n ? (double)u[i] : 0;
        }
        (*k)->layernorm_dw(out, second, u, x, &s);
        ck_assert_near(out, want, SIZE, 5e-6, 1e-6);
        ck_assert_near(second, also, SIZE, 1e-6, 1e-6);
    }
}
END_TEST

START_TEST(adamw_rows)
{
    const struct nn_adamw o = { 0.9F, 0.999F, 1e-3F, 0.01F, 1.5F, 0.75F };
    FOR_EACH_TABLE(k)
    FOR_EACH_LENGTH(n)
    {
        fill_all(); /* out: weights, second: m, u: v, x: gradients */
        for (size_t i = 0; i < SIZE; i++)
            u[i] = fabsf(u[i]);
        for (size_t i = 0; i < n; i++) {
            also[i] = 0.9 * also[i] + 0.1 * (double)x[i];
            double v = 0.999 * (double)u[i] + 0.001 * (double)x[i] * (double)x[i];
            want[i] = 0.75 * want[i] - 0.01 * also[i] / (1.5 * sqrt(v) + 1e-3);
        }
        (*k)->adamw(out, second, u, x, n, &o);
        ck_assert_near(out, want, SIZE, 2e-6, 2e-6);
        ck_assert_near(second, also, SIZE, 1e-6, 1e-6);
    }
}
END_TEST

/* Every table drops the same values. */
START_TEST(dropout_rows)
{
    const struct nn_dropout d = { 0x12345678, 0x9ABCDEF0, UINT32_MAX / 3, 1.5F };
    FOR_EACH_TABLE(k)
    FOR_EACH_LENGTH(n)
    {
        float mask[N_MAX], ones[N_MAX];
        size_t kept = 0;
        for (size_t i = 0; i < N_MAX; i++)
            ones[i] = 1;
        nn_kernels_all()[0]->dropout(mask, ones, N_MAX, &d);
        fill_all();
        for (size_t i = 0; i < n; i++) {
            ck_assert(mask[i] == 0 || mask[i] == 1.5F);
            kept += mask[i] > 0;
            want[i] = (double)mask[i] * (double)x[i];
            also[i] += (double)mask[i] * (double)x[i];
        }
        ck_assert(n < N_MAX || (kept > N_MAX / 2 && kept < N_MAX * 5 / 6));
        (*k)->dropout(out, x, n, &d);
        (*k)->dropout_back(second, x, n, &d);
        ck_assert_near(out, want, SIZE, 0.0, 1e-6);
        ck_assert_near(second, also, SIZE, 1e-6, 1e-6);
    }
}
END_TEST

enum { M_MAX = 37, ROW = 45, TILES = 48 };

struct product {
    float a[M_MAX * ROW], b[M_MAX * TILES], c[M_MAX * ROW];
};

static void check_product(const struct nn_kernels *k, struct product *p, const struct nn_matmul *m)
{
    static double c[M_MAX * ROW];
    fill(p->a, M_MAX * ROW);
    fill(p->b, M_MAX * TILES);
    fill(p->c, M_MAX * ROW);
    for (size_t i = 0; i < M_MAX * ROW; i++)
        c[i] = (double)p->c[i];
    for (size_t i = 0; i < m->M; i++)
        for (size_t j = 0; j < m->N; j++) {
            double sum = 0;
            for (size_t l = 0; l < m->K; l++)
                sum += (double)m->a[i * m->a_row + l * m->a_col] * (double)m->b[l * m->b_row + j];
            c[i * ROW + j] = (double)m->alpha * sum + (m->add ? c[i * ROW + j] : 0);
        }
    k->matmul(p->c, ROW, m);
    ck_assert_near(p->c, c, M_MAX * ROW, 1e-5, 1e-6); /* and nothing else is written */
}

START_TEST(products)
{
    static struct product p;
    const size_t sizes[] = { 0, 1, 3, 4, 15, 16, 17, 32, 37 };
    FOR_EACH_TABLE(k)
    for (size_t i = 0; i < 9 * 9 * 9; i++)
        for (int way = 0; way < 4; way++) {
            const bool turned = way & 1;
            const struct nn_matmul m = { p.a, turned ? 1 : ROW, turned ? ROW : 1, p.b, TILES,
                sizes[i % 9], sizes[i / 9 % 9], sizes[i / 81], .alpha = way == 3 ? -0.5F : 1,
                .add = way & 2 };
            check_product(*k, &p, &m);
        }
}
END_TEST

TEST_SUITE(kernels_rows)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, every_table_is_full);
    tcase_add_test(tc, sums_and_functions);
    tcase_add_test(tc, softmax_rows);
    tcase_add_test(tc, layernorm_rows);
    tcase_add_test(tc, adamw_rows);
    tcase_add_test(tc, dropout_rows);
    tcase_add_test(tc, products);
    suite_add_tcase(s, tc);
}
