/* Every table that this machine can run (base/vecmath_scalar.c, base/vecmath_avx2.c, base/vecmath_avx512.c,
 * base/vecmath_neon.c), against sums in long double. */
#include "tests/support/test.h"

#include "base/rng.h"
#include "base/vecmath.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { N_MAX = 257, PAD = 3 };

/* Rows start at odd offsets and have a guard value behind them, which kernels must neither use nor change. */
static float store[8][N_MAX + 2 * PAD];
static const float GUARD = 1e30f;

static float *row(int i, size_t n)
{
    float *p = store[i] + i % PAD;
    p[n] = GUARD;
    return p;
}

static void fill(struct rng *r, float *p, size_t n, double mean)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(rng_normal(r) + mean);
}

static long double ref_dot(const float *a, const float *b, size_t n, double *ret_scale)
{
    long double sum = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (long double)a[i] * b[i];
        scale += fabsl((long double)a[i] * b[i]);
    }
    *ret_scale = (double)scale;
    return sum;
}

static long double ref_l2sq(const float *a, const float *b, size_t n, double *ret_scale)
{
    long double sum = 0;
    for (size_t i = 0; i < n; i++) {
        long double d = (long double)a[i] - b[i];
        sum += d * d;
    }
    *ret_scale = (double)sum;
    return sum;
}

#define FOR_EACH_TABLE(k)                                                                          \
    for (const struct vec_kernels *const *t_ = vec_all(), *k; (k = *t_) != NULL; t_++)

static void check_sum(const struct vec_kernels *k, const char *what, size_t n, float got,
    long double want, double tol)
{
    double diff = fabs((double)((long double)got - want));
    ck_assert_msg(diff <= tol, "%s %s n %zu: %.9g for %.9Lg, off by %g, allowed %g", k->name, what,
        n, (double)got, want, diff, tol);
}

START_TEST(tables_are_complete)
{
    int n = 0;
    FOR_EACH_TABLE(k)
    {
        ck_assert_ptr_nonnull(k->name);
        ck_assert_int_eq(vec_level_parse(k->name), (int)k->level);
        ck_assert(k->dot && k->l2sq && k->dot4 && k->l2sq4 && k->axpy && k->add_f16 && k->scale &&
            k->f16_to_f32);
        ck_assert_ptr_eq(vec_select(k->level), k);
        n++;
    }
    ck_assert_int_ge(n, 1);
    ck_assert_ptr_eq(vec_select(VEC_BEST), vec_all()[n - 1]);
    ck_assert_str_eq(vec_select(VEC_SCALAR)->name, "scalar");
    ck_assert_int_eq(vec_level_parse("best"), (int)VEC_BEST);
    ck_assert_int_eq(vec_level_parse("mmx"), -1);
    ck_assert_int_eq(vec_level_parse(""), -1);
}
END_TEST

/* Error of one table for one pair of rows, of ordinary data and of the worst kind. */
static void check_pair(const struct vec_kernels *k, size_t n, double budget)
{
    const float *q = row(0, n), *rows[4];
    float got[4];
    double scale;
    for (int j = 0; j < 4; j++)
        rows[j] = row(j + 1, n);
    k->dot4(q, rows, n, got);
    for (int j = 0; j < 4; j++) {
        long double want = ref_dot(q, rows[j], n, &scale);
        check_sum(k, "dot4", n, got[j], want, budget * scale);
        check_sum(k, "dot", n, k->dot(q, rows[j], n), want, budget * scale);
    }
    k->l2sq4(q, rows, n, got);
    for (int j = 0; j < 4; j++) {
        long double want = ref_l2sq(q, rows[j], n, &scale);
        check_sum(k, "l2sq4", n, got[j], want, budget * scale);
        check_sum(k, "l2sq", n, k->l2sq(q, rows[j], n), want, budget * scale);
    }
}

START_TEST(sums_are_right)
{
    struct rng r;
    rng_init(&r, 11);
    FOR_EACH_TABLE(k)
    {
        for (size_t n = 0; n <= N_MAX; n++)
            for (int mean = 0; mean <= 3; mean += 3) {
                for (int j = 0; j < 5; j++)
                    fill(&r, row(j, n), n, mean);
                check_pair(k, n, 4e-7);
            }
        /* All roundings in one direction: equal values. */
        for (size_t n = 0; n <= N_MAX; n++) {
            for (int j = 0; j < 5; j++)
                for (size_t i = 0; i < n; i++)
                    row(j, n)[i] = 0.1f * (float)(j + 1);
            check_pair(k, n, ((double)n / 16 + 8) * 6e-8);
        }
    }
}
END_TEST

START_TEST(non_finite_never_looks_finite)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    struct rng r;
    rng_init(&r, 12);
    FOR_EACH_TABLE(k)
    for (size_t n = 1; n <= 70; n++)
        for (size_t at = 0; at < n; at++) {
            const float value = bad[(n + at) % 3];
            const float *rows[4];
            float got[4];
            for (int j = 0; j < 5; j++)
                fill(&r, row(j, n), n, 0);
            for (int j = 0; j < 4; j++)
                rows[j] = row(j + 1, n);
            size_t which = at % 4;
            row((int)which + 1, n)[at] = value;
            ck_assert(!isfinite(k->dot(row(0, n), rows[which], n)));
            ck_assert(!isfinite(k->l2sq(row(0, n), rows[which], n)));
            k->dot4(row(0, n), rows, n, got);
            for (size_t j = 0; j < 4; j++)
                ck_assert(!isfinite(got[j]) == (j == which));
            k->l2sq4(row(0, n), rows, n, got);
            for (size_t j = 0; j < 4; j++)
                ck_assert(!isfinite(got[j]) == (j == which));
            row(0, n)[at] = value; /* on both sides: infinity minus itself */
            ck_assert(!isfinite(k->l2sq(row(0, n), rows[which], n)));
        }
}
END_TEST

START_TEST(rows_in_place)
{
    struct rng r;
    float want[N_MAX];
    rng_init(&r, 13);
    FOR_EACH_TABLE(k)
    for (size_t n = 0; n <= N_MAX; n++) {
        float *a = row(1, n), *x = row(2, n), *out = row(3, n);
        fill(&r, a, n, 0);
        fill(&r, x, n, 0);
        for (size_t i = 0; i < n; i++)
            want[i] = (float)((double)a[i] + (double)0.7f * (double)x[i]);
        k->axpy(a, 0.7f, x, n);
        ck_assert_near(a, want, n, 2e-7, 2e-7); /* two roundings where there is no fused one */
        for (size_t i = 0; i < n; i++)
            want[i] = x[i] * 1.3f;
        k->scale(out, x, 1.3f, n);
        ck_assert_near(out, want, n, 0, 0);
        k->scale(x, x, 1.3f, n);
        ck_assert_near(x, want, n, 0, 0);
        ck_assert(a[n] == GUARD && x[n] == GUARD && out[n] == GUARD);
    }
}
END_TEST

START_TEST(half_rows)
{
    uint16_t halves[N_MAX + 2];
    float want[N_MAX], sum[N_MAX];
    struct rng r;
    rng_init(&r, 14);
    FOR_EACH_TABLE(k)
    for (size_t n = 0; n <= N_MAX; n++) {
        uint16_t *h = halves + 1;
        float *out = row(1, n), *acc = row(2, n);
        for (size_t i = 0; i < n; i++) {
            h[i] = (uint16_t)rng_u64(&r);
            want[i] = f16_to_f32(h[i]);
        }
        k->f16_to_f32(out, h, n);
        ck_assert_near(out, want, n, 0, 0);
        fill(&r, acc, n, 0);
        for (size_t i = 0; i < n; i++)
            sum[i] = acc[i] + want[i];
        k->add_f16(acc, h, n);
        ck_assert_near(acc, sum, n, 0, 0);
        ck_assert(out[n] == GUARD && acc[n] == GUARD);
    }
}
END_TEST

START_TEST(every_half_there_and_back)
{
    for (uint32_t h = 0; h <= 0xFFFF; h++) {
        float x = f16_to_f32((uint16_t)h);
        uint32_t exp = h >> 10 & 31, frac = h & 1023;
        double want = exp == 31 ? (frac ? NAN : INFINITY)
            : exp               ? ldexp(1024.0 + frac, (int)exp - 25)
                                : ldexp(frac, -24);
        if (h & 0x8000) want = -want;
        if (isnan(want)) {
            ck_assert(isnan(x));
            uint16_t back = f32_to_f16(x);
            ck_assert_uint_eq(back & 0x7C00, 0x7C00);
            ck_assert_uint_ne(back & 0x3FF, 0);
            continue;
        }
        ck_assert(x == (float)want && !signbit(x) == !signbit(want));
        ck_assert_uint_eq(f32_to_f16(x), h);
        /* Half-way to the next one goes to the even one; a hair beside it to the nearer. */
        if (exp == 31 || (h & 0x7FFF) >= 0x7BFF) continue;
        float next = f16_to_f32((uint16_t)(h + 1)), mid = (x + next) / 2;
        ck_assert_uint_eq(f32_to_f16(mid), h + (h & 1));
        ck_assert_uint_eq(f32_to_f16(nextafterf(mid, x)), h);
        ck_assert_uint_eq(f32_to_f16(nextafterf(mid, next)), h + 1);
    }
    ck_assert_uint_eq(f32_to_f16(65519.99f), 0x7BFF);
    ck_assert_uint_eq(f32_to_f16(65520.0f), 0x7C00);
    ck_assert_uint_eq(f32_to_f16(65536.0f), 0x7C00);
    ck_assert_uint_eq(f32_to_f16(70000.0f), 0x7C00);
    ck_assert_uint_eq(f32_to_f16(-FLT_MAX), 0xFC00);
    ck_assert_uint_eq(f32_to_f16(FLT_TRUE_MIN), 0);
}
END_TEST

START_TEST(normalize)
{
    struct rng r;
    float out[N_MAX], zero[4] = { 0 };
    rng_init(&r, 15);
    FOR_EACH_TABLE(k)
    {
        for (int exponent = -44; exponent <= 38; exponent++) {
            float x[5], scale = powf(10.0f, (float)exponent);
            double norm = 0;
            if (scale == 0.0f) continue;
            for (int i = 0; i < 5; i++) {
                x[i] = (float)(i + 1) * 0.3f * scale;
                norm += (double)x[i] * (double)x[i];
            }
            norm = sqrt(norm);
            float got = vec_normalize(k, out, x, 5);
            ck_assert_near(&got, &norm, 1, 1e-45, 1e-6);
            for (int i = 0; i < 5; i++) {
                double want = (double)x[i] / norm;
                ck_assert_near(&out[i], &want, 1, 0, 1e-6);
            }
        }
        float huge[3] = { FLT_MAX, FLT_MAX, -FLT_MAX };
        ck_assert_float_eq(vec_normalize(k, huge, huge, 3), FLT_MAX);
        ck_assert_float_eq_tol(huge[2], -0.57735027f, 1e-6f);
        ck_assert_float_eq(vec_normalize(k, out, zero, 4), 0.0f);
        ck_assert_near(out, zero, 4, 0, 0);
        float bad[3] = { 1.0f, NAN, 2.0f }, inf[3] = { 1.0f, -INFINITY, 2.0f };
        ck_assert_float_eq(vec_normalize(k, out, bad, 3), 0.0f);
        ck_assert_near(out, bad, 3, 0, 0);
        ck_assert_float_eq(vec_normalize(k, out, inf, 3), 0.0f);
        ck_assert_near(out, inf, 3, 0, 0);
        ck_assert_float_eq(vec_normalize(k, out, NULL, 0), 0.0f);
    }
}
END_TEST

START_TEST(finite_check)
{
    float x[] = { 0.0f, -FLT_MAX, FLT_TRUE_MIN, 1.0f };
    ck_assert(vec_is_finite(x, 4));
    ck_assert(vec_is_finite(NULL, 0));
    for (size_t i = 0; i < 4; i++) {
        float kept = x[i];
        x[i] = i % 2 ? INFINITY : -NAN;
        ck_assert(!vec_is_finite(x, 4));
        ck_assert(vec_is_finite(x, i));
        x[i] = kept;
    }
}
END_TEST

TEST_SUITE(vecmath)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, tables_are_complete);
    tcase_add_test(tc, sums_are_right);
    tcase_add_test(tc, non_finite_never_looks_finite);
    tcase_add_test(tc, rows_in_place);
    tcase_add_test(tc, half_rows);
    tcase_add_test(tc, every_half_there_and_back);
    tcase_add_test(tc, normalize);
    tcase_add_test(tc, finite_check);
    suite_add_tcase(s, tc);
}
