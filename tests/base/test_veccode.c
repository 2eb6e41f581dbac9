/* Every table that this machine can run (base/veccode_scalar.c, base/veccode_avx2.c, base/veccode_avx512.c,
 * base/veccode_avx512vnni.c, base/veccode_neon.c), against sums in int64 and long double. */
#include "tests/support/test.h"

#include "base/rng.h"
#include "base/veccode.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>

/* Arrays lie between pages that cannot be touched, against the one behind or a little after the one in front, so that
 * reading a byte too far is seen in every build. Most are aligned to no more than a value. What is left of their pages
 * holds GUARD and must keep it. */
enum { SLOTS = 8, PAGE = 65536, GUARD = 0xA5 };
enum side { AT_END, AT_START };

static struct slot {
    uint8_t *room, *p; /* room [PAGE], p [bytes] within, NULL if not in use */
    size_t bytes;
} slots[SLOTS];

static void setup(void)
{
    uint8_t *all =
        mmap(NULL, (size_t)PAGE * (2 * SLOTS + 1), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(all != MAP_FAILED);
    for (size_t i = 0; i < SLOTS; i++) {
        slots[i] = (struct slot){ .room = all + PAGE * (2 * i + 1) };
        ck_assert_int_eq(mprotect(slots[i].room, PAGE, PROT_READ | PROT_WRITE), 0);
    }
}

static void teardown(void)
{
    munmap(slots[0].room - PAGE, (size_t)PAGE * (2 * SLOTS + 1));
}

/* n ≤ CODE_DIM_MAX values of size ≤ 4 bytes; at the start of a page they begin i values into it. */
static void *place(int i, enum side side, size_t n, size_t size)
{
    struct slot *s = &slots[i];
    s->bytes = n * size;
    s->p = side == AT_END ? s->room + PAGE - s->bytes : s->room + (size_t)i * size;
    memset(s->room, GUARD, PAGE);
    return s->p;
}

static void check_guards(const char *name, size_t n)
{
    for (int i = 0; i < SLOTS; i++) {
        const struct slot *s = &slots[i];
        if (!s->p) continue;
        /* One compare per side: each byte is the one after it. */
        size_t front = (size_t)(s->p - s->room), back = PAGE - front - s->bytes;
        const uint8_t *q = s->p + s->bytes;
        int ok = front == 0 || (s->room[0] == GUARD && !memcmp(s->room, s->room + 1, front - 1));
        ok = ok && (back == 0 || (q[0] == GUARD && !memcmp(q, q + 1, back - 1)));
        ck_assert_msg(ok, "%s n %zu: writes beside array %d", name, n, i);
    }
}

#define FOR_EACH_TABLE(k)                                                                          \
    for (const struct code_kernels *const *t_ = code_all(), *k; (k = *t_) != NULL; t_++)

/* 0…257 and some longer ones, at both sides; both are steps of one loop. */
static const size_t LONG[] = { 384, 768, 1023, 1024, 1025, 1028, 1029, 1536, 2047, 4095, 4096 };
enum { N_SHORT = 258, N_LENGTHS = N_SHORT + sizeof LONG / sizeof LONG[0] };
static size_t length(size_t i)
{
    if (i >= N_LENGTHS) return 0; /* where the loop ends */
    return i < N_SHORT ? i : LONG[i - N_SHORT];
}
#define FOR_EACH_LENGTH(n, side)                                                                   \
    for (size_t l_ = 0, n, side; n = length(l_ / 2), side = l_ % 2, l_ < 2 * N_LENGTHS; l_++)

START_TEST(tables_are_complete)
{
    int n = 0, vnni_after = 0;
    FOR_EACH_TABLE(k)
    {
        ck_assert(k->query_dot4 && k->dot4 && k->dot_fixed24 && k->dot_fixed12 && k->l2sq_fixed24);
        ck_assert(k->l2sq_fixed12 && k->decode24 && k->decode12 && k->hadamard);
        ck_assert_ptr_nonnull(k->name);
        if (strcmp(k->name, "avx512vnni") == 0) {
            ck_assert_int_eq(k->level, VEC_AVX512);
            ck_assert_str_eq(code_all()[n - 1]->name, "avx512");
            vnni_after = 1;
        } else {
            ck_assert_int_eq(vec_level_parse(k->name), (int)k->level);
        }
        n++;
    }
    ck_assert_int_ge(n, 1);
    ck_assert_ptr_eq(code_select(VEC_BEST), code_all()[n - 1]);
    if (vnni_after) ck_assert_str_eq(code_select(VEC_AVX512)->name, "avx512vnni");
    ck_assert_str_eq(code_select(VEC_SCALAR)->name, "scalar");
    for (const struct vec_kernels *const *v = vec_all(); *v; v++)
        ck_assert_int_eq(code_select((*v)->level)->level, (*v)->level);
}
END_TEST

/* What the values of a query and of codes are like. */
enum kind { RANDOM, EXTREMES, ALL_LOW, ALL_HIGH, SAME_SIGN, OTHER_SIGN, KINDS };

static int16_t query_value(struct rng *r, enum kind kind)
{
    if (kind == RANDOM)
        return (int16_t)((int)rng_below(r, 2 * CODE_QUERY_MAX + 1) - CODE_QUERY_MAX);
    if (kind == ALL_LOW || kind == ALL_HIGH) return CODE_QUERY_MAX;
    return rng_u64(r) & 1 ? CODE_QUERY_MAX : -CODE_QUERY_MAX;
}

static uint8_t code_value(struct rng *r, enum kind kind, int against)
{
    switch (kind) {
    case RANDOM: return (uint8_t)rng_u64(r);
    case ALL_LOW: return 0;
    case ALL_HIGH: return 255;
    case SAME_SIGN: return against < 0 ? 0 : 255;
    case OTHER_SIGN: return against < 0 ? 255 : 0;
    case EXTREMES:
    case KINDS: break;
    }
    return rng_u64(r) & 1 ? 255 : 0;
}

static void check_query_dot4(struct rng *r, size_t n, enum side side, enum kind kind)
{
    static int16_t values[CODE_DIM_MAX];
    struct code_query q;
    uint8_t *rows[4];
    const uint8_t *codes[4];
    int64_t want[4] = { 0 };
    for (size_t i = 0; i < n; i++)
        values[i] = query_value(r, kind);
    code_query_split(
        values, n, place(0, side, n, 1), place(1, side, n, 1), place(2, side, n, 2), &q);
    for (int j = 0; j < 4; j++) {
        codes[j] = rows[j] = place(3 + j, side, n, 1);
        for (size_t i = 0; i < n; i++) {
            rows[j][i] = code_value(r, kind, values[i]);
            want[j] += (int64_t)values[i] * (rows[j][i] - 128);
        }
    }
    FOR_EACH_TABLE(k)
    {
        float got[6] = { 7, 7, 7, 7, 7, 7 };
        k->query_dot4(&q, codes, n, got + 1);
        for (int j = 0; j < 4; j++)
            ck_assert_msg(got[j + 1] == (float)want[j],
                "%s query_dot4 n %zu kind %d: %.9g for %lld", k->name, n, (int)kind,
                (double)got[j + 1], (long long)want[j]);
        ck_assert(got[0] == 7 && got[5] == 7);
        check_guards(k->name, n);
    }
}

START_TEST(query_dot4_is_exact)
{
    struct rng r;
    rng_init(&r, 21);
    FOR_EACH_LENGTH(n, side)
    for (int kind = 0; kind < KINDS; kind++)
        check_query_dot4(&r, n, (enum side)side, (enum kind)kind);
}
END_TEST

static void check_dot4(struct rng *r, size_t n, enum side side, enum kind kind)
{
    uint8_t *a = place(0, side, n, 1), *rows[4];
    const uint8_t *codes[4];
    int64_t want[4] = { 0 };
    for (size_t i = 0; i < n; i++)
        a[i] = code_value(r, kind, rng_u64(r) & 1 ? 1 : -1);
    for (int j = 0; j < 4; j++) {
        codes[j] = rows[j] = place(1 + j, side, n, 1);
        for (size_t i = 0; i < n; i++) {
            rows[j][i] = code_value(r, kind, a[i] - 128);
            want[j] += (int64_t)(a[i] - 128) * (rows[j][i] - 128);
        }
    }
    FOR_EACH_TABLE(k)
    {
        int32_t got[6] = { 7, 7, 7, 7, 7, 7 };
        k->dot4(a, codes, n, got + 1);
        for (int j = 0; j < 4; j++)
            ck_assert_msg(got[j + 1] == want[j], "%s dot4 n %zu kind %d: %d for %lld", k->name, n,
                (int)kind, got[j + 1], (long long)want[j]);
        ck_assert(got[0] == 7 && got[5] == 7);
        check_guards(k->name, n);
    }
}

START_TEST(dot4_is_exact)
{
    struct rng r;
    rng_init(&r, 22);
    FOR_EACH_LENGTH(n, side)
    for (int kind = 0; kind < KINDS; kind++)
        check_dot4(&r, n, (enum side)side, (enum kind)kind);
}
END_TEST

/* The same row at 24 and at 12 bits, its values, and a query. */
struct fixed {
    float *q, *out;
    uint8_t *hi, *lo12;
    int16_t *lo24;
    int32_t v24[CODE_DIM_MAX], v12[CODE_DIM_MAX];
};

static void fill_fixed(struct fixed *f, struct rng *r, size_t n, enum side side, enum kind kind)
{
    f->q = place(0, side, n, 4);
    f->out = place(1, side, n, 4);
    f->hi = place(2, side, n, 1);
    f->lo24 = place(3, side, n, 2);
    f->lo12 = place(4, side, (n + 1) / 2, 1);
    if (n & 1) f->lo12[n / 2] = 8 << 4;
    for (size_t i = 0; i < n; i++) {
        int extreme = kind == RANDOM ? 0 : rng_u64(r) & 1 ? 1 : -1;
        int lo = extreme < 0 ? INT16_MIN : extreme > 0 ? INT16_MAX : (int16_t)rng_u64(r);
        int nibble = extreme < 0 ? 0 : extreme > 0 ? 15 : (int)rng_below(r, 16);
        f->hi[i] = code_value(r, kind, 1);
        f->lo24[i] = (int16_t)lo;
        f->lo12[i / 2] = (uint8_t)(i & 1 ? (f->lo12[i / 2] & 15) | nibble << 4
                                         : (f->lo12[i / 2] & 0xF0) | nibble);
        f->q[i] = (float)rng_normal(r);
        f->v24[i] = (f->hi[i] - 128) * 65536 + lo;
        f->v12[i] = (f->hi[i] - 128) * 16 + nibble - 8;
    }
    if (n & 1) f->lo12[n / 2] = (uint8_t)((f->lo12[n / 2] & 15) | 8 << 4);
}

static void check_sum(
    const char *table, const char *what, size_t n, float got, long double want, long double scale)
{
    long double tol = (n <= N_SHORT ? 4e-7L : ((long double)n / 16 + 8) * 6e-8L) * scale;
    ck_assert_msg(fabsl(got - want) <= tol, "%s %s n %zu: %.9g for %.9Lg, off by %Lg, allowed %Lg",
        table, what, n, (double)got, want, fabsl(got - want), tol);
}

static void check_dot_fixed(const struct code_kernels *k, const struct fixed *f, size_t n)
{
    long double want24 = 0, want12 = 0, scale24 = 0, scale12 = 0;
    for (size_t i = 0; i < n; i++) {
        want24 += (long double)f->q[i] * f->v24[i];
        want12 += (long double)f->q[i] * f->v12[i];
        scale24 += fabsl((long double)f->q[i] * f->v24[i]);
        scale12 += fabsl((long double)f->q[i] * f->v12[i]);
    }
    check_sum(k->name, "dot_fixed24", n, k->dot_fixed24(f->q, f->hi, f->lo24, n), want24, scale24);
    check_sum(k->name, "dot_fixed12", n, k->dot_fixed12(f->q, f->hi, f->lo12, n), want12, scale12);
}

static void check_l2sq_fixed(
    const struct code_kernels *k, const struct fixed *f, size_t n, float scale24, float scale12)
{
    long double want24 = 0, want12 = 0;
    for (size_t i = 0; i < n; i++) {
        long double d24 = f->q[i] - (long double)scale24 * f->v24[i];
        long double d12 = f->q[i] - (long double)scale12 * f->v12[i];
        want24 += d24 * d24;
        want12 += d12 * d12;
    }
    float got24 = k->l2sq_fixed24(f->q, scale24, f->hi, f->lo24, n);
    float got12 = k->l2sq_fixed12(f->q, scale12, f->hi, f->lo12, n);
    check_sum(k->name, "l2sq_fixed24", n, got24, want24, want24);
    check_sum(k->name, "l2sq_fixed12", n, got12, want12, want12);
}

static void check_decode(
    const struct code_kernels *k, struct fixed *f, size_t n, float scale24, float scale12)
{
    k->decode24(f->out, scale24, f->hi, f->lo24, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(f->out[i] == (float)((double)scale24 * f->v24[i]), "%s decode24 n %zu at %zu",
            k->name, n, i);
    k->decode12(f->out, scale12, f->hi, f->lo12, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(f->out[i] == (float)((double)scale12 * f->v12[i]), "%s decode12 n %zu at %zu",
            k->name, n, i);
}

START_TEST(fixed_point_rows)
{
    static struct fixed f;
    struct rng r;
    rng_init(&r, 23);
    FOR_EACH_LENGTH(n, side)
    for (int kind = 0; kind < KINDS; kind++) {
        fill_fixed(&f, &r, n, (enum side)side, (enum kind)kind);
        FOR_EACH_TABLE(k)
        {
            check_dot_fixed(k, &f, n);
            check_l2sq_fixed(k, &f, n, 3.1e-7f, 1.1e-3f);
            check_decode(k, &f, n, 3.1e-7f, 1.1e-3f);
            check_guards(k->name, n);
        }
    }
}
END_TEST

/* Small distances are as precise as large ones: a difference is rounded once. */
START_TEST(close_rows)
{
    static struct fixed f;
    const float scale = 1.7e-7f;
    struct rng r;
    rng_init(&r, 24);
    FOR_EACH_LENGTH(n, side)
    {
        fill_fixed(&f, &r, n, (enum side)side, RANDOM);
        for (size_t i = 0; i < n; i++)
            f.q[i] = (float)((double)scale * f.v24[i]);
        FOR_EACH_TABLE(k)
        check_l2sq_fixed(k, &f, n, scale, 65536 / 16 * scale);
    }
}
END_TEST

/* The naive product, for the tables to be compared with; x and want [n]. */
static void naive_hadamard(const float *x, double *want, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = 0; j < n; j++)
            sum += __builtin_parityll(i & j) ? -(double)x[j] : (double)x[j];
        want[i] = sum / sqrt((double)n);
    }
}

START_TEST(hadamard_is_the_matrix)
{
    static float x[CODE_DIM_MAX], first[CODE_DIM_MAX];
    static double want[CODE_DIM_MAX];
    struct rng r;
    rng_init(&r, 25);
    for (size_t n = 1; n <= CODE_DIM_MAX; n *= 2)
        for (int side = 0; side < 2; side++) {
            double norm = 0;
            for (size_t i = 0; i < n; i++) {
                x[i] = (float)rng_normal(&r);
                norm += (double)x[i] * (double)x[i];
            }
            norm = sqrt(norm);
            if (side == 0 || n <= 1024) naive_hadamard(x, want, n);
            FOR_EACH_TABLE(k)
            {
                float *p = place(0, (enum side)side, n, sizeof *p);
                memcpy(p, x, n * sizeof *p);
                k->hadamard(p, n);
                if (side == 0 || n <= 1024) ck_assert_near(p, want, n, 2e-7 * norm, 2e-7);
                if (k->level == VEC_SCALAR) memcpy(first, p, n * sizeof *p);
                ck_assert_msg(!memcmp(first, p, n * sizeof *p), "%s n %zu: other bits", k->name, n);
                if (n == 1) ck_assert_mem_eq(p, x, sizeof *p);
                k->hadamard(p, n);
                ck_assert_near(p, x, n, 3e-7 * norm, 2e-7);
                check_guards(k->name, n);
            }
        }
}
END_TEST

START_TEST(every_query_value)
{
    enum { ALL = 2 * CODE_QUERY_MAX + 1 };
    static int16_t values[ALL], q16[ALL + 1];
    static int8_t hi[ALL + 1], lo[ALL + 1];
    struct code_query q;
    int64_t sum = 0;
    for (int i = 0; i < ALL; i++)
        values[i] = (int16_t)(i - CODE_QUERY_MAX);
    hi[ALL] = lo[ALL] = 99;
    q16[ALL] = 99;
    code_query_split(values, ALL, hi, lo, q16, &q);
    ck_assert(q.hi == hi && q.lo == lo && q.q16 == q16 && q.sum == 0);
    for (int i = 0; i < ALL; i++) {
        ck_assert_int_eq(128 * hi[i] + lo[i], values[i]);
        ck_assert_int_eq(q16[i], values[i]);
        ck_assert(hi[i] >= -127 && lo[i] >= -64 && lo[i] <= 63);
    }
    ck_assert(hi[ALL] == 99 && lo[ALL] == 99 && q16[ALL] == 99);
    for (int i = 0; i < 1000; i++)
        sum += values[i];
    code_query_split(values, 1000, hi, lo, q16, &q);
    ck_assert_int_eq(q.sum, sum);
    code_query_split(values, 0, hi, lo, q16, &q);
    ck_assert_int_eq(q.sum, 0);
}
END_TEST

/* The float that is exact or next above it, or 0 where exact is nearer to 0 than to the first float. */
static void check_scale(float scale, double exact)
{
    double below = (double)nextafterf(scale, -INFINITY);
    if (scale == 0.0f)
        ck_assert_double_le(exact, (double)FLT_TRUE_MIN / 2);
    else
        ck_assert_msg((double)scale >= exact && below < exact, "%a for %a", (double)scale, exact);
}

/* Both encodings of x [n]: ranges, error, and the same bytes on a second try. */
static void check_encode(const float *x, size_t n, enum side side)
{
    static uint8_t again_hi[CODE_DIM_MAX], again_lo12[CODE_DIM_MAX / 2 + 1];
    static int16_t again_lo24[CODE_DIM_MAX];
    uint8_t *hi = place(0, side, n, 1), *lo12 = place(1, side, (n + 1) / 2, 1);
    int16_t *lo24 = place(2, side, n, 2);
    double max = 0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, fabs((double)x[i]));

    float scale = code_encode24(x, n, hi, lo24);
    check_scale(scale, max / (127.49 * 65536));
    for (size_t i = 0; i < n; i++) {
        double v = (hi[i] - 128) * 65536 + lo24[i];
        ck_assert_uint_ge(hi[i], 1);
        ck_assert_msg(fabs((double)x[i] - (double)scale * v) <= (double)scale * 0.500000001 ||
                (scale == 0.0f && v == 0),
            "24 bits, n %zu: %a at %zu, scale %a, value %a", n, (double)x[i], i, (double)scale, v);
    }
    ck_assert(code_encode24(x, n, again_hi, again_lo24) == scale);
    ck_assert(!memcmp(hi, again_hi, n) && !memcmp(lo24, again_lo24, n * sizeof *lo24));

    scale = code_encode12(x, n, hi, lo12);
    check_scale(scale, max / 2039);
    for (size_t i = 0; i < n; i++) {
        double v = (hi[i] - 128) * 16 + (lo12[i / 2] >> 4 * (i & 1) & 15) - 8;
        ck_assert_uint_ge(hi[i], 1);
        ck_assert_msg(fabs((double)x[i] - (double)scale * v) <= (double)scale * 0.500000001 ||
                (scale == 0.0f && v == 0),
            "12 bits, n %zu: %a at %zu, scale %a, value %a", n, (double)x[i], i, (double)scale, v);
    }
    if (n & 1) ck_assert_uint_eq(lo12[n / 2] >> 4, 8);
    memset(again_lo12, 0xFF, sizeof again_lo12);
    ck_assert(code_encode12(x, n, again_hi, again_lo12) == scale);
    ck_assert(!memcmp(hi, again_hi, n) && !memcmp(lo12, again_lo12, (n + 1) / 2));
    check_guards("encode", n);
}

START_TEST(encode_round_trip)
{
    static float x[CODE_DIM_MAX];
    struct rng r;
    rng_init(&r, 26);
    FOR_EACH_LENGTH(n, side)
    {
        for (size_t i = 0; i < n; i++)
            x[i] = (float)rng_normal(&r);
        check_encode(x, n, (enum side)side);
        for (size_t i = 0; i < n; i++)
            x[i] = i % 3 ? 0.0f : -0.25f; /* the greatest value again and again */
        check_encode(x, n, (enum side)side);
        memset(x, 0, n * sizeof *x);
        check_encode(x, n, (enum side)side);
    }
    /* Every size of number, down to those whose scale is subnormal, or 0. */
    for (int e = -149; e <= 127; e++)
        for (int i = 0; i < 20; i++) {
            for (int j = 0; j < 5; j++)
                x[j] = (float)ldexp(rng_unit(&r) * (j == 1 ? -2.0 : 2.0), e);
            check_encode(x, 5, AT_END);
        }
    float ends[] = { FLT_MAX, -FLT_MAX, FLT_TRUE_MIN, -0.0f, FLT_MIN };
    check_encode(ends, 5, AT_END);
    check_encode(ends + 2, 3, AT_END);
}
END_TEST

START_TEST(encode_breaks_ties_to_even)
{
    /* The greatest value makes the scale a power of two: x is in steps. */
    static const float x[] = { 2039, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 7, 8, -8, -9, -2039,
        7.5f };
    static const int want[] = { 2039, 0, 2, 2, 0, -2, -2, 7, 8, -8, -9, -2039, 8 };
    enum { N = sizeof want / sizeof want[0] };
    uint8_t hi[N], lo[N / 2 + 1];
    ck_assert(code_encode12(x, N, hi, lo) == 1.0f);
    for (int i = 0; i < N; i++) {
        int nibble = lo[i / 2] >> 4 * (i & 1) & 15;
        ck_assert_int_eq((hi[i] - 128) * 16 + nibble - 8, want[i]);
        ck_assert_int_eq(hi[i], (int)floor((want[i] + 8) / 16.0) + 128);
    }
    ck_assert_uint_eq(hi[0], 255);
    ck_assert_uint_eq(hi[11], 1);
    ck_assert_uint_eq(lo[N / 2] >> 4, 8);
}
END_TEST

/* FNV-1a */
static uint64_t mix(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001B3u;
    return h;
}

/* Numbers written down once: stored codes must not depend on the compiler or the machine. */
START_TEST(encode_gives_the_same_bytes_everywhere)
{
    static float x[1000];
    static uint8_t hi[1000], lo12[500];
    static int16_t lo24[1000];
    uint64_t h24 = 0xCBF29CE484222325u, h12 = h24;
    struct rng r;
    rng_init(&r, 27);
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < 1000; i++)
            x[i] = (float)((rng_unit(&r) - 0.5) * (rng_unit(&r) + 0.01));
        float scale = code_encode24(x, 1000, hi, lo24);
        h24 = mix(mix(h24, &scale, sizeof scale), hi, sizeof hi);
        for (size_t i = 0; i < 1000; i++) {
            uint8_t bytes[2] = { (uint8_t)(lo24[i] & 255), (uint8_t)((uint16_t)lo24[i] >> 8) };
            h24 = mix(h24, bytes, 2);
        }
        scale = code_encode12(x, 1000, hi, lo12);
        h12 = mix(mix(mix(h12, &scale, sizeof scale), hi, sizeof hi), lo12, sizeof lo12);
    }
    ck_assert_msg(h24 == 0xF9770896DA830CCFu, "24 bits: 0x%llX", (unsigned long long)h24);
    ck_assert_msg(h12 == 0x6926ADD40C432A87u, "12 bits: 0x%llX", (unsigned long long)h12);
}
END_TEST

TEST_SUITE(veccode)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, tables_are_complete);
    tcase_add_test(tc, query_dot4_is_exact);
    tcase_add_test(tc, dot4_is_exact);
    tcase_add_test(tc, fixed_point_rows);
    tcase_add_test(tc, close_rows);
    tcase_add_test(tc, hadamard_is_the_matrix);
    tcase_add_test(tc, every_query_value);
    tcase_add_test(tc, encode_round_trip);
    tcase_add_test(tc, encode_breaks_ties_to_even);
    tcase_add_test(tc, encode_gives_the_same_bytes_everywhere);
    suite_add_tcase(s, tc);
}
