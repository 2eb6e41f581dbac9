/* core/nn/packed.c, packed_avx2.c, packed_avx512.c: every table this machine can run, and the widest tile as the
 * baseline runs it, against sums in double. */
#include "core/nn/packed.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* AVX-512's vectors and tile, made of what every processor has. */
#define PACKED_BYTES 64
#define PACKED_ROWS 12
#include "core/nn/packed_attention_internal.h"

static const struct packed_ops wide = PACKED_TABLE("wide");
static struct rng rng;

static void set_up(void)
{
    rng_init(&rng, 1);
}

static const struct packed_ops *table(size_t i)
{
    const struct packed_ops *const *all = packed_ops_all();
    size_t n = 0;
    while (all[n])
        n++;
    return i < n ? all[i] : i == n ? &wide : NULL;
}

#define FOR_EACH_TABLE(k)                                                                          \
    for (size_t k##_i = 0; k##_i < 8; k##_i++)                                                     \
        for (const struct packed_ops *k = table(k##_i); k; k = NULL)

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&rng);
}

static double activated(enum activation f, double x)
{
    switch (f) {
    case ACTIVATION_GELU: return x / 2 * (1 + erf(x / sqrt(2.0)));
    case ACTIVATION_GELU_TANH:
        return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACTIVATION_RELU: return x > 0 ? x : 0;
    case ACTIVATION_TANH: return tanh(x);
    case ACTIVATION_IDENTITY: return x;
    }
    return NAN;
}

/* A layer with random weights, packed for one table. */
struct layer {
    struct packed_linear p;
    float *w, *bias;
};

static void layer_init(struct layer *l, const struct packed_ops *k, size_t I, size_t O, bool bias)
{
    l->p = (struct packed_linear){ .I = I, .O = O };
    l->w = mem_alloc(I * O, sizeof *l->w);
    l->bias = mem_alloc(O, sizeof *l->bias);
    l->p.panels = mem_alloc_aligned(64, packed_floats(k, I, O), sizeof(float));
    ck_assert(l->w && l->bias && l->p.panels);
    fill(l->w, I * O);
    fill(l->bias, O);
    if (bias) l->p.bias = l->bias;
    packed_fill(k, &l->p, l->w);
}

static void layer_done(struct layer *l)
{
    mem_free(l->w);
    mem_free(l->bias);
    mem_free(l->p.panels);
}

enum { GUARD = 40 };

/* One call against double, whole output, and that nothing beside it is written. The budget: the sum of the sizes
 * times I/2 roundings would be the worst case, sqrt(I) is what happens. */
static void check_linear(const struct packed_ops *k, const struct layer *l, size_t N,
    const struct packed_after *how, bool residual, bool in_place)
{
    const size_t I = l->p.I, O = l->p.O, n = N * O;
    AUTO_FREE float *x = mem_alloc(N * I + 1, sizeof *x);
    AUTO_FREE float *y = mem_alloc(n + 2 * GUARD + 1, sizeof *y);
    AUTO_FREE float *other = mem_alloc(n + 1, sizeof *other);
    ck_assert(x && y && other);
    fill(x, N * I + 1);
    fill(other, n + 1);
    for (size_t i = 0; i < n + 2 * GUARD + 1; i++)
        y[i] = 12345;
    float *const to = y + GUARD + 1, *const from = x + 1;
    struct packed_after after = { .f = how->f };
    if (residual) after.residual = in_place ? to : other + 1;
    if (residual && in_place) memcpy(to, other + 1, n * sizeof *to);
    k->linear(to, from, N, &l->p, &after);
    for (size_t r = 0; r < N; r++)
        for (size_t o = 0; o < O; o++) {
            double sum = l->p.bias ? (double)l->bias[o] : 0, size = fabs(sum);
            for (size_t i = 0; i < I; i++) {
                double term = (double)from[r * I + i] * (double)l->w[o * I + i];
                sum += term;
                size += fabs(term);
            }
            double want = activated(how->f, sum);
            double budget = 1.2 * 6e-8 * (sqrt((double)I) + 2) * size + 3e-7 * (fabs(want) + 1);
            if (residual) want += (double)other[1 + r * O + o];
            double got = (double)to[r * O + o];
            ck_assert_msg(fabs(got - want) <= budget,
                "%s: N %zu I %zu O %zu f %d: [%zu,%zu] %g, %g", k->name, N, I, O, (int)how->f, r, o,
                got, want);
        }
    for (size_t i = 0; i < GUARD; i++)
        ck_assert(y[1 + i] == 12345 && to[n + i] == 12345);
}

static const size_t widths[][2] = { { 1, 1 }, { 3, 5 }, { 7, 16 }, { 16, 7 }, { 31, 33 },
    { 64, 64 }, { 100, 97 }, { 65, 100 }, { 8, 32 } };

START_TEST(odd_shapes)
{
    FOR_EACH_TABLE(k)
    for (size_t s = 0; s < sizeof widths / sizeof widths[0]; s++) {
        struct layer l;
        layer_init(&l, k, widths[s][0], widths[s][1], s % 3 != 0);
        for (size_t N = 0; N <= 40; N++) {
            const struct packed_after after = { .f = (enum activation)((N + s) % 5) };
            check_linear(k, &l, N, &after, N % 3 == 0, N % 2 == 0);
        }
        layer_done(&l);
    }
}
END_TEST

START_TEST(activations_and_residuals)
{
    FOR_EACH_TABLE(k)
    {
        struct layer l;
        layer_init(&l, k, 24, 83, true);
        for (int f = 0; f < 5; f++)
            for (int residual = 0; residual < 3; residual++) {
                const struct packed_after after = { .f = (enum activation)f };
                check_linear(k, &l, 1, &after, residual, residual == 2);
                check_linear(k, &l, 15, &after, residual, residual == 2);
            }
        layer_done(&l);
    }
}
END_TEST

/* MiniLM's; the last has several slices of inputs, and the rows more than one block. */
START_TEST(real_shapes)
{
    static const size_t shapes[][3] = { { 384, 1152, 3 }, { 384, 384, 17 }, { 384, 1536, 2 },
        { 1536, 384, 50 }, { 40, 20, 500 } };
    FOR_EACH_TABLE(k)
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        struct layer l;
        layer_init(&l, k, shapes[s][0], shapes[s][1], true);
        const struct packed_after after = { .f = s == 2 ? ACTIVATION_GELU : ACTIVATION_IDENTITY };
        check_linear(k, &l, shapes[s][2], &after, s % 2 == 1, true);
        layer_done(&l);
    }
}
END_TEST

/* A row alone, and within batches of any size at any place, is the same bits. */
START_TEST(rows_are_independent)
{
    enum { I = 800, O = 77, N = 70 };
    FOR_EACH_TABLE(k)
    for (int f = 0; f < 5; f++) {
        struct layer l;
        layer_init(&l, k, I, O, true);
        AUTO_FREE float *x = mem_alloc(N * I, sizeof *x);
        AUTO_FREE float *one = mem_alloc(N * O, sizeof *one), *all = mem_alloc(N * O, sizeof *all);
        ck_assert(x && one && all);
        fill(x, N * I);
        for (size_t i = 0; i < N; i++) {
            const struct packed_after after = { .f = (enum activation)f, .residual = x + i * O };
            k->linear(one + i * O, x + i * I, 1, &l.p, &after);
        }
        for (size_t n = 2; n <= N; n += n < 16 ? 1 : 9)
            for (size_t first = 0; first + n <= N; first += 23) {
                const struct packed_after after = { .f = (enum activation)f,
                    .residual = x + first * O };
                k->linear(all, x + first * I, n, &l.p, &after);
                ck_assert_msg(memcmp(all, one + first * O, n * O * sizeof *all) == 0,
                    "%s: %zu rows from %zu", k->name, n, first);
            }
        layer_done(&l);
    }
}
END_TEST

/* One sequence by the definition. */
static void check_sequence(
    const float *out, const float *qkv, size_t n, size_t H, size_t D, bool scaled)
{
    const size_t C = H * D, ld = 3 * C;
    AUTO_FREE double *p = mem_alloc(n, sizeof *p);
    ck_assert(p);
    for (size_t h = 0; h < H; h++)
        for (size_t i = 0; i < n; i++) {
            const float *q = qkv + i * ld + h * D;
            double most = -INFINITY, sum = 0, size = 0;
            for (size_t j = 0; j < n; j++) {
                const float *key = qkv + j * ld + C + h * D;
                p[j] = 0;
                double s = 0;
                for (size_t d = 0; d < D; d++) {
                    p[j] += (double)q[d] * (double)key[d];
                    s += fabs((double)q[d] * (double)key[d]);
                }
                if (!scaled) p[j] /= sqrt((double)D);
                size = fmax(size, s);
                most = fmax(most, p[j]);
            }
            for (size_t j = 0; j < n; j++)
                sum += p[j] = exp(p[j] - most);
            for (size_t d = 0; d < D; d++) {
                double want = 0;
                for (size_t j = 0; j < n; j++)
                    want += p[j] / sum * (double)qkv[j * ld + 2 * C + h * D + d];
                double got = (double)out[i * C + h * D + d];
                ck_assert_msg(fabs(got - want) <= 4e-6 + 5e-7 * size,
                    "n %zu D %zu [%zu,%zu] %g, %g", n, D, i, d, got, want);
            }
        }
}

static void check_attention(
    const struct packed_ops *k, const struct attention_shape *s, bool scaled)
{
    const size_t T = s->starts[s->count], C = s->H * s->D;
    size_t longest = 0;
    for (size_t i = 0; i < s->count; i++)
        if (s->starts[i + 1] - s->starts[i] > longest) longest = s->starts[i + 1] - s->starts[i];
    AUTO_FREE float *qkv = mem_alloc(T * 3 * C + 1, sizeof *qkv);
    AUTO_FREE float *out = mem_alloc(T * C + 2, sizeof *out);
    AUTO_FREE float *one = mem_alloc(T * C, sizeof *one);
    /* Exactly as much as is asked for, so that ASan sees more. */
    AUTO_FREE float *work = mem_alloc(packed_attention_floats(k, longest, s->D), sizeof *work);
    ck_assert(qkv && out && one && work);
    fill(qkv, T * 3 * C + 1);
    out[0] = out[T * C + 1] = 777;
    k->attention(out + 1, work, qkv + 1, s, scaled);
    ck_assert(out[0] == 777 && out[T * C + 1] == 777);
    for (size_t i = 0; i < s->count; i++) {
        const size_t first = s->starts[i], n = s->starts[i + 1] - first;
        check_sequence(out + 1 + first * C, qkv + 1 + first * 3 * C, n, s->H, s->D, scaled);
        const size_t alone[] = { 0, n };
        const struct attention_shape a = { alone, 1, s->H, s->D };
        k->attention(one, work, qkv + 1 + first * 3 * C, &a, scaled);
        ck_assert(memcmp(one, out + 1 + first * C, n * C * sizeof *one) == 0);
    }
}

START_TEST(attention)
{
    static const size_t dims[] = { 1, 7, 32, 64 };
    size_t starts[72] = { 0 };
    for (size_t n = 1; n <= 70; n++)
        starts[n] = starts[n - 1] + n;
    FOR_EACH_TABLE(k)
    for (size_t d = 0; d < 4; d++) {
        const struct attention_shape s = { starts, 70, d % 2 + 1, dims[d] };
        check_attention(k, &s, d % 2);
    }
}
END_TEST

START_TEST(long_attention)
{
    static const size_t starts[] = { 0, 300, 305, 306 };
    FOR_EACH_TABLE(k)
    {
        const struct attention_shape s = { starts, 3, 1, 32 };
        check_attention(k, &s, false);
        check_attention(k, &s, true);
    }
}
END_TEST

/* Scores far apart, and what is not a number. */
START_TEST(extreme_scores)
{
    enum { N = 20, D = 8 };
    static const size_t starts[] = { 0, N };
    const struct attention_shape s = { starts, 1, 1, D };
    FOR_EACH_TABLE(k)
    {
        float qkv[N * 3 * D], out[N * D];
        AUTO_FREE float *work = mem_alloc(packed_attention_floats(k, N, D), sizeof *work);
        ck_assert_ptr_nonnull(work);
        fill(qkv, N * 3 * D);
        for (size_t i = 0; i < N; i++)
            for (size_t d = 0; d < 2 * D; d++)
                qkv[i * 3 * D + d] *= 1e9F;
        k->attention(out, work, qkv, &s, false);
        for (size_t i = 0; i < N * D; i++)
            ck_assert(isfinite(out[i]) && fabsf(out[i]) < 10);
        qkv[3 * 3 * D] = NAN;
        k->attention(out, work, qkv, &s, false);
        for (size_t i = 0; i < N * D; i++)
            ck_assert(isnan(out[i]) ? i / D == 3 : i / D != 3);
    }
}
END_TEST

START_TEST(sizes)
{
    FOR_EACH_TABLE(k)
    {
        ck_assert_uint_ge(packed_floats(k, 10, k->tile_columns + 1), 20 * k->tile_columns);
        ck_assert_uint_eq(packed_floats(k, SIZE_MAX / 8, 64), 0);
        ck_assert_uint_eq(packed_floats(k, 1, SIZE_MAX), 0);
        ck_assert_uint_eq(packed_attention_floats(k, SIZE_MAX / 2, 64), 0);
    }
    ck_assert_str_eq(packed_ops_all()[0]->name, "baseline");
    bool found = false;
    for (const struct packed_ops *const *t = packed_ops_all(); *t; t++)
        found |= *t == packed_ops();
    ck_assert(found);
}
END_TEST

TEST_SUITE(packed)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, odd_shapes);
    tcase_add_test(tc, activations_and_residuals);
    tcase_add_test(tc, real_shapes);
    tcase_add_test(tc, rows_are_independent);
    tcase_add_test(tc, attention);
    tcase_add_test(tc, long_attention);
    tcase_add_test(tc, extreme_scores);
    tcase_add_test(tc, sizes);
    suite_add_tcase(s, tc);
}
