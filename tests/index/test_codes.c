/* Codes: the rotation keeps lengths and products, exact scores are exact, estimates err as they are said to, and
 * never beyond their bound. For every dimension, metric, precision and set of kernels. */
#include "index/index_internal.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

static const size_t dims[] = { 16, 31, 32, 33, 48, 64, 100, 127, 128, 255, 384, 768, 1000, 4095,
    4096 };
enum { N_DIMS = sizeof dims / sizeof dims[0], N_KINDS = 3 * 2, DIM_LARGE = 1000 };

/** Stored vectors in one index and the query at hand. */
struct bench {
    struct index *ix;
    struct index_scratch *s;
    struct rng r;
    size_t dim, n;
    float *v;     /* [n][dim] as put */
    float *query; /* [dim] */
};

static struct index_options options_of(size_t dim, int kind)
{
    struct index_options o = small_options(dim, (enum metric_kind)(kind % 3));
    o.bits = kind < 3 ? 24 : 12;
    o.seed = 5 + (uint64_t)kind;
    return o;
}

/** Normal values, all moved by `common` along one direction, of lengths that differ by a factor of e^spread. */
static void draw(struct bench *b, float *ret, double common, double spread)
{
    double length = exp(spread * random_normal(&b->r));
    for (size_t d = 0; d < b->dim; d++)
        ret[d] = (float)(length * (random_normal(&b->r) + common * (d % 3 == 0)));
}

static struct bench bench_open(
    const struct index_options *o, size_t n, double common, double spread)
{
    struct bench b = { .ix = open_index(o), .s = index_scratch_new(), .dim = o->dim, .n = n };
    rng_init(&b.r, 17 + o->dim);
    b.v = mem_alloc(n * b.dim, sizeof *b.v);
    b.query = mem_alloc(b.dim, sizeof *b.query);
    ck_assert(b.s && b.v && b.query);
    for (size_t i = 0; i < n; i++) {
        draw(&b, b.v + i * b.dim, common, spread);
        ck_assert_ok(index_put(b.ix, i, b.v + i * b.dim, NULL));
    }
    return b;
}

static void bench_close(struct bench *b)
{
    index_free(b->ix);
    index_scratch_free(b->s);
    mem_free(b->v);
    mem_free(b->query);
}

/** As the first call of a linker does. */
static void take_centre(struct bench *b)
{
    size_t n;
    ck_assert_ok(index_link(b->ix, 0, b->s, &n, NULL));
}

static const struct prepared *prepare(struct bench *b)
{
    double scale;
    ck_assert_ok(codes__check(b->ix, b->query, &scale, NULL));
    ck_assert_ok(scratch__query(b->ix, b->s));
    codes__prepare(b->ix, b->query, scale, &b->s->query);
    return &b->s->query;
}

static double dot(const float *a, const float *b, size_t n)
{
    return oracle_sums(a, b, n).ab;
}

static double l2sq(const float *a, const float *b, size_t n)
{
    return oracle_sums(a, b, n).l2;
}

static enum metric_kind walked_by(const struct index *ix)
{
    return ix->o.metric == INDEX_DOT ? INDEX_DOT : INDEX_L2;
}

static float estimate(struct bench *b, uint32_t node)
{
    float ret;
    codes__estimate(b->ix, walked_by(b->ix), &b->s->query, &node, 1, &ret);
    return ret;
}

static float scale_of(const struct bench *b, uint32_t node)
{
    return row__head(index__row(b->ix, node))->scale;
}

/** The true distance of the query from a stored vector, and what an error of it is measured by. */
static double truth(const struct bench *b, size_t i, double *ret_unit)
{
    struct oracle_sums s = oracle_sums(b->v + i * b->dim, b->query, b->dim);
    *ret_unit = b->ix->o.metric == INDEX_COSINE ? 1 : s.aa + s.bb;
    return b->ix->o.metric == INDEX_L2 ? s.l2
        : b->ix->o.metric == INDEX_DOT ? -s.ab
                                       : -s.ab / sqrt(s.aa * s.bb);
}

/* ---- rotation ---- */
START_TEST(rotation_keeps_products)
{
    struct index_options o = options_of(dims[_i], INDEX_DOT);
    struct bench b = bench_open(&o, 1, 0, 0);
    float *first = mem_alloc(b.dim, sizeof *first), *turned = mem_alloc(b.dim, sizeof *turned);
    for (int i = 0; i < 8; i++) {
        draw(&b, b.query, i % 2 ? 0 : 3, 1);
        if (i == 7) { /* one value alone: the rotation spreads it over all */
            memset(b.query, 0, b.dim * sizeof *b.query);
            b.query[b.dim / 2] = -5;
        }
        const struct prepared *p = prepare(&b);
        double before = dot(b.query, b.query, b.dim);
        ck_assert_double_eq_tol(dot(p->centred, p->centred, b.dim), before, 2e-6 * before);
        if (i > 0) {
            double unit = sqrt(dot(first, first, b.dim) * before);
            ck_assert_double_eq_tol(
                dot(p->centred, turned, b.dim), dot(b.query, first, b.dim), 2e-6 * unit);
        }
        if (i == 7 && b.dim >= 100)
            for (size_t d = 0; d < b.dim; d++)
                ck_assert_double_lt(fabs((double)p->centred[d]), 5 * 10 / sqrt((double)b.dim));
        memcpy(first, b.query, b.dim * sizeof *first);
        memcpy(turned, p->centred, b.dim * sizeof *turned);
    }
    mem_free(first);
    mem_free(turned);
    bench_close(&b);
}
END_TEST

/** What was put comes back, before and after the centre was moved. */
START_TEST(vectors_come_back)
{
    struct index_options o = options_of(dims[_i / N_KINDS], _i % N_KINDS);
    struct bench b = bench_open(&o, 40, 2, 0.1);
    double tolerance = o.bits == 24 ? 1e-6 : 2e-3;
    for (int part = 0; part < 2; part++) {
        for (size_t i = 0; i < b.n; i++) {
            float *v = b.v + i * b.dim;
            double length = sqrt(dot(v, v, b.dim));
            ck_assert_ok(index_get(b.ix, i, b.query, NULL));
            if (o.metric == INDEX_COSINE)
                for (size_t d = 0; d < b.dim; d++)
                    b.query[d] *= (float)length;
            ck_assert_double_le(sqrt(l2sq(v, b.query, b.dim)), tolerance * length);
        }
        take_centre(&b);
    }
    bench_close(&b);
}
END_TEST

/* ---- exact scores ---- */
/** Of `unit`. An error e of a vector moves its cosine by e·(q - x): by nothing where they are equal. */
static double tolerance_of(const struct bench *b, double distance)
{
    if (b->ix->o.bits == 24 || b->ix->by_value) return 2e-6;
    return b->ix->o.metric == INDEX_COSINE ? 2e-6 + 3e-4 * sqrt(fmax(0, 2 + 2 * distance)) : 3e-4;
}

static void check_exact(struct bench *b, int times)
{
    for (int t = 0; t < times; t++) {
        draw(b, b->query, 2, 0.1);
        if (t % 3 == 0) memcpy(b->query, b->v + (size_t)t * b->dim, b->dim * sizeof *b->query);
        const struct prepared *p = prepare(b);
        for (uint32_t i = 0; i < b->n; i++) {
            double unit, want = truth(b, i, &unit);
            double got = (double)codes__distance(b->ix, p, i);
            ck_assert_msg(fabs(got - want) <= tolerance_of(b, want) * unit,
                "dim %zu, metric %d, bits %u, %s: %.9g for %.9g, off by %.3g", b->dim,
                (int)b->ix->o.metric, b->ix->o.bits, b->ix->o.kernels->name, got, want,
                fabs(got - want) / unit);
        }
    }
}

START_TEST(exact_scores)
{
    for (const struct vec_kernels *const *k = vec_all(); *k; k++) {
        struct index_options o = options_of(dims[_i / N_KINDS], _i % N_KINDS);
        o.kernels = vec_select((*k)->level);
        struct bench b = bench_open(&o, o.dim < DIM_LARGE ? 30 : 6, 2, 0.1);
        check_exact(&b, 4);
        take_centre(&b);
        check_exact(&b, 4);
        bench_close(&b);
    }
}
END_TEST

/* ---- estimates ---- */
/** As rounding makes it: an error of e·w where the values of e are uniform within half a scale, w being the query (DOT)
 * or twice what lies between the vectors. The largest value of a vector is always half a scale from its code, which
 * moves the mean a little where dimensions are few. */
START_TEST(estimates_err_as_said)
{
    struct index_options o = options_of(dims[2 + _i / N_KINDS], _i % N_KINDS);
    struct bench b = bench_open(&o, o.dim < DIM_LARGE ? 200 : 60, 1, 0.3);
    take_centre(&b);
    double sum = 0, squares = 0;
    size_t n = 0;
    for (int t = 0; t < 10; t++) {
        draw(&b, b.query, 1, 0.3);
        const struct prepared *p = prepare(&b);
        for (uint32_t i = 0; i < b.n; i++) {
            double unit, want = truth(&b, i, &unit), length = 2 * sqrt(want);
            if (o.metric == INDEX_COSINE) want = 2 + 2 * want, length = 2 * sqrt(want);
            if (o.metric == INDEX_DOT) length = sqrt((double)p->norm);
            double z =
                ((double)estimate(&b, i) - want) / (length * (double)scale_of(&b, i)) * sqrt(12.0);
            sum += z;
            squares += z * z;
            n++;
        }
    }
    double mean = sum / (double)n, spread = sqrt(squares / (double)n);
    ck_assert_msg(fabs(mean) < 0.3 + 3 / sqrt((double)o.dim) && spread > 0.8 && spread < 1.2,
        "dim %zu, metric %d, bits %u: mean %.3f, spread %.3f", o.dim, (int)o.metric, o.bits, mean,
        spread);
    bench_close(&b);
}
END_TEST

/** With the query at hand: no estimate is above the bound of its exact distance. */
static void check_bounds(struct bench *b, const char *what)
{
    const struct prepared *p = prepare(b);
    for (uint32_t i = 0; i < b->n; i++) {
        float distance = codes__distance(b->ix, p, i), scale = scale_of(b, i), e = estimate(b, i);
        float bound = codes__estimate_bound(b->ix, p, distance, scale);
        ck_assert_msg(e <= bound,
            "%s, dim %zu, metric %d, bits %u, %s: estimate %.9g, bound %.9g of distance %.9g", what,
            b->dim, (int)b->ix->o.metric, b->ix->o.bits, b->ix->o.kernels->name, (double)e,
            (double)bound, (double)distance);
        ck_assert(codes__estimate_bound(b->ix, p, distance, scale * 2) >= bound);
    }
}

START_TEST(bounds_hold)
{
    static const double commons[] = { 0, 4 }, spreads[] = { 0, 1 };
    for (const struct vec_kernels *const *k = vec_all(); *k; k++)
        for (size_t c = 0; c < 4; c++) {
            struct index_options o = options_of(dims[_i / N_KINDS], _i % N_KINDS);
            o.kernels = vec_select((*k)->level);
            struct bench b =
                bench_open(&o, o.dim < DIM_LARGE ? 40 : 6, commons[c % 2], spreads[c / 2]);
            if (c == 3) take_centre(&b);
            for (size_t t = 0; t < 2; t++) {
                draw(&b, b.query, commons[c % 2], spreads[c / 2]);
                check_bounds(&b, "anywhere");
                memcpy(b.query, b.v + t * b.dim, b.dim * sizeof *b.query);
                check_bounds(&b, "a stored vector");
                for (size_t d = 0; d < b.dim; d++)
                    b.query[d] *= (float)(1 + 1e-4 * random_normal(&b.r));
                check_bounds(&b, "near a stored vector");
                for (size_t d = 0; d < b.dim; d++)
                    b.query[d] = -b.query[d];
                check_bounds(&b, "opposite");
            }
            bench_close(&b);
        }
}
END_TEST

/** Vectors asked for by themselves and by what is next to them: there the bound has least to spare. */
START_TEST(bounds_hold_nearby)
{
    struct index_options o = options_of(dims[_i / N_KINDS], _i % N_KINDS);
    struct bench b = bench_open(&o, o.dim < DIM_LARGE ? 100 : 10, 1, 0.3);
    take_centre(&b);
    for (uint32_t i = 0; i < b.n; i++)
        for (int t = 0; t < 4; t++) {
            double far = t ? pow(10, -5 + 4 * rng_unit(&b.r)) : 0;
            for (size_t d = 0; d < b.dim; d++)
                b.query[d] = (float)((double)b.v[i * b.dim + d] + far * random_normal(&b.r));
            const struct prepared *p = prepare(&b);
            float distance = codes__distance(b.ix, p, i), e = estimate(&b, i);
            float bound = codes__estimate_bound(b.ix, p, distance, scale_of(&b, i));
            ck_assert_msg(e <= bound,
                "dim %zu, metric %d, bits %u, %g away: estimate %.9g, bound %.9g of %.9g", b.dim,
                (int)o.metric, o.bits, far, (double)e, (double)bound, (double)distance);
        }
    bench_close(&b);
}
END_TEST

/** A row whose values are all the same, and beside it a query all of whose values are rounded in the same direction. */
START_TEST(bounds_hold_at_worst)
{
    struct index_options o = options_of(64, INDEX_L2);
    struct bench b = bench_open(&o, 2, 0, 0);
    const int most = 127 * 65536 + 32112;
    for (uint32_t i = 0; i < 2; i++) {
        /* the second is what the query is to be in the rotated space: a little beyond half a unit below the largest */
        int value = i == 0 ? most : (int)(most * (1 - 0.505 / CODE_QUERY_MAX));
        uint8_t *code = (uint8_t *)index__row(b.ix, i) + sizeof(struct row_head);
        struct row_head *h = (struct row_head *)(void *)index__row(b.ix, i);
        h->scale = 65536;
        h->norm = 0;
        for (size_t d = 0; d < 64; d++) {
            int v = d == 0 ? most : value, high = (v + 32768) >> 16;
            code[d] = (uint8_t)(high + 128);
            ((int16_t *)index__low(b.ix, i))[d] = (int16_t)(v - high * 65536);
            double coarse = 65536.0 * high, rest = v - coarse;
            h->norm += (float)(coarse * coarse - rest * rest);
        }
    }
    ck_assert_ok(index_get(b.ix, 1, b.query, NULL));
    b.n = 1;
    check_bounds(&b, "worst");
    bench_close(&b);
}
END_TEST

/** Integers are summed exactly and all else is rounded in one place: every set of kernels gives the same bits. */
START_TEST(estimates_do_not_depend_on_kernels)
{
    struct index_options o = options_of(dims[2 + _i / N_KINDS], _i % N_KINDS);
    o.kernels = vec_select(VEC_SCALAR);
    struct bench a = bench_open(&o, 30, 1, 0.3);
    take_centre(&a);
    for (const struct vec_kernels *const *k = vec_all(); *k; k++) {
        o.kernels = vec_select((*k)->level);
        struct bench b = bench_open(&o, 30, 1, 0.3);
        take_centre(&b);
        memcpy(a.query, b.v, b.dim * sizeof *b.query);
        memcpy(b.query, b.v, b.dim * sizeof *b.query);
        (void)prepare(&a);
        (void)prepare(&b);
        for (uint32_t i = 0; i < b.n; i++) {
            ck_assert_mem_eq(index__row(a.ix, i), index__row(b.ix, i), a.ix->row_bytes);
            ck_assert_mem_eq(index__low(a.ix, i), index__low(b.ix, i), a.ix->low_bytes);
            ck_assert(estimate(&a, i) == estimate(&b, i));
        }
        bench_close(&b);
    }
    bench_close(&a);
}
END_TEST

/** Four at a time, one by one, any number in between: the same. */
START_TEST(estimates_of_many)
{
    struct index_options o = options_of(dims[_i], INDEX_COSINE);
    struct bench b = bench_open(&o, 23, 1, 0.3);
    draw(&b, b.query, 1, 0.3);
    (void)prepare(&b);
    uint32_t nodes[23];
    for (uint32_t i = 0; i < 23; i++)
        nodes[i] = (i * 7 + 3) % 23;
    for (size_t n = 0; n <= 23; n++) {
        float got[24];
        got[n] = 42;
        codes__estimate(b.ix, INDEX_L2, &b.s->query, nodes, n, got);
        ck_assert(got[n] == 42.0f);
        for (size_t i = 0; i < n; i++)
            ck_assert(got[i] == estimate(&b, nodes[i]));
    }
    bench_close(&b);
}
END_TEST

/** Of the vectors whose estimate is above the likely bound of another's, hardly any is nearer. */
START_TEST(likely_bounds_hold_mostly)
{
    struct index_options o = options_of(dims[2 + _i / N_KINDS], _i % N_KINDS);
    struct bench b = bench_open(&o, o.dim < DIM_LARGE ? 200 : 40, 1, 0.1);
    take_centre(&b);
    size_t wrong = 0, above = 0;
    for (int t = 0; t < 4; t++) {
        draw(&b, b.query, 1, 0.1);
        const struct prepared *p = prepare(&b);
        for (uint32_t i = 0; i < b.n; i += 10) {
            float mine = codes__distance(b.ix, p, i), e = estimate(&b, i);
            for (uint32_t j = 0; j < b.n; j++) {
                if (estimate(&b, j) <= codes__likely_bound(b.ix, p, e, scale_of(&b, j))) continue;
                above++;
                wrong += codes__distance(b.ix, p, j) < mine;
            }
        }
    }
    ck_assert_uint_gt(above, 100);
    ck_assert_msg(wrong * 1000 <= above, "%zu of %zu beyond the bound are nearer", wrong, above);
    bench_close(&b);
}
END_TEST

/* ---- the centre ---- */
/** What all vectors have in common costs bits until the centre takes it away; who asks sees no difference. */
START_TEST(centre_makes_codes_finer)
{
    struct index_options o = options_of(128, _i ? INDEX_L2 : INDEX_COSINE);
    struct bench b = bench_open(&o, 300, 20, 0);
    double before = 0, after = 0;
    for (uint32_t i = 0; i < b.n; i++)
        before += (double)scale_of(&b, i);
    ck_assert(codes__wants_centre(b.ix));
    take_centre(&b);
    ck_assert(!codes__wants_centre(b.ix));
    for (uint32_t i = 0; i < b.n; i++)
        after += (double)scale_of(&b, i);
    ck_assert_double_lt(after, before / 3);
    check_exact(&b, 20);
    must_verify(b.ix);
    bench_close(&b);
}
END_TEST

/** Taken anew as the index grows, then never again; equal vectors that were put together stay equal. */
START_TEST(centre_is_taken_anew)
{
    struct index_options o = options_of(40, INDEX_L2);
    o.m = 12;
    struct bench b = bench_open(&o, 0, 0, 0);
    float *v = mem_alloc(6000 * b.dim, sizeof *v);
    size_t taken = 0, from = 0, n;
    mem_free(b.v);
    b.v = v;
    for (size_t i = 0; i < 6000; i++) {
        draw(&b, v + i * b.dim, 3 - (double)i / 2000, 0);
        if (i % 10 == 9) memcpy(v + i * b.dim, v + (i - 1) * b.dim, b.dim * sizeof *v);
        ck_assert_ok(index_put(b.ix, i, v + i * b.dim, NULL));
        if (i % 10 != 9) continue;
        ck_assert_ok(index_link(b.ix, 10, b.s, &n, NULL));
        if (atomic_load(&b.ix->centre.n_from) != from) taken++;
        from = atomic_load(&b.ix->centre.n_from);
        ck_assert(index__same_row(b.ix, (uint32_t)i, (uint32_t)i - 1));
    }
    ck_assert_uint_eq(taken, 4); /* 10, 160, 2560, 4100 */
    ck_assert_uint_ge(from, 4096);
    b.n = 6000;
    check_exact(&b, 10);
    must_verify(b.ix);
    bench_close(&b);
}
END_TEST

/** An import that nobody links meanwhile is not moved as a whole by the first link: the last centre is taken on the way. */
START_TEST(an_import_takes_its_centre)
{
    struct index_options o = options_of(40, INDEX_COSINE);
    struct bench b = bench_open(&o, CENTRE_LAST + 500, 1, 0);
    size_t from = atomic_load(&b.ix->centre.n_from);
    ck_assert_uint_ge(from, CENTRE_LAST);
    ck_assert_uint_lt(from, CENTRE_LAST + 100);
    ck_assert(!codes__wants_centre(b.ix));
    check_exact(&b, 20);
    must_verify(b.ix);
    bench_close(&b);
}
END_TEST

START_TEST(dot_has_no_centre)
{
    struct index_options o = options_of(64, INDEX_DOT);
    struct bench b = bench_open(&o, 50, 5, 0.1);
    ck_assert(!codes__wants_centre(b.ix));
    take_centre(&b);
    for (size_t d = 0; d < b.dim; d++)
        ck_assert(b.ix->centre.rotated[d] == 0.0f);
    bench_close(&b);
}
END_TEST

/* ---- between stored vectors ---- */
/** Near ones by their whole values: their order is right although codes could not tell them apart. */
START_TEST(between_stored_vectors)
{
    struct index_options o = options_of(dims[_i], INDEX_L2);
    struct bench b = bench_open(&o, 12, 1, 0.3);
    uint32_t nodes[36];
    float got[36];
    size_t n = b.n;
    b.v = mem_realloc(b.v, 36 * b.dim, sizeof *b.v);
    for (size_t i = n; i < 36; i++) { /* 1 % to 1e-6 away from one that is there */
        double far = pow(10, -2 - 4 * (double)(i - n) / 24);
        for (size_t d = 0; d < b.dim; d++)
            b.v[i * b.dim + d] =
                (float)((double)b.v[i % n * b.dim + d] + far * random_normal(&b.r));
        ck_assert_ok(index_put(b.ix, i, b.v + i * b.dim, NULL));
    }
    for (uint32_t i = 0; i < 36; i++)
        nodes[i] = i;
    for (uint32_t a = 0; a < 36; a++) {
        codes__between(b.ix, INDEX_L2, a, nodes, 36, got);
        for (uint32_t i = 0; i < 36; i++) {
            double want = l2sq(b.v + a * b.dim, b.v + i * b.dim, b.dim);
            double s = (double)scale_of(&b, a) * (double)scale_of(&b, i);
            double unit = dot(b.v + a * b.dim, b.v + a * b.dim, b.dim);
            double off = fabs((double)got[i] - want);
            ck_assert_msg(off <= 0.2 * want + 1e-5 * unit * (want > 300 * s) + 1e-10 * unit,
                "%u to %u: %.9g for %.9g", a, i, (double)got[i], want);
        }
    }
    bench_close(&b);
}
END_TEST

/* ---- edges ---- */
/** Zero, tiny, and the longest that is accepted: finite, and in the right order. */
START_TEST(extreme_lengths)
{
    struct index_options o = options_of(dims[_i / N_KINDS], _i % N_KINDS);
    struct bench b = bench_open(&o, 0, 0, 0);
    static const double lengths[] = { 0, 1e-30, 1e-10, 1, 1e10, 6.4e18 };
    if (o.metric == INDEX_COSINE) {
        bench_close(&b);
        return;
    }
    mem_free(b.v);
    b.v = mem_zalloc(6 * b.dim, sizeof *b.v);
    b.n = 6;
    for (size_t i = 0; i < 6; i++) {
        draw(&b, b.query, 0, 0);
        double unit = sqrt(dot(b.query, b.query, b.dim));
        for (size_t d = 0; d < b.dim; d++)
            b.v[i * b.dim + d] = (float)((double)b.query[d] / unit * lengths[i]);
        ck_assert_ok(index_put(b.ix, i, b.v + i * b.dim, NULL));
    }
    for (size_t i = 0; i < 6; i++) {
        memcpy(b.query, b.v + i * b.dim, b.dim * sizeof *b.query);
        const struct prepared *p = prepare(&b);
        check_bounds(&b, "extreme");
        for (uint32_t j = 0; j < 6; j++) {
            double unit, want = truth(&b, j, &unit);
            float d = codes__distance(b.ix, p, j);
            ck_assert(isfinite(d) && isfinite(estimate(&b, j)));
            ck_assert_double_eq_tol((double)d, want, (o.bits == 24 ? 2e-6 : 1e-3) * unit + 1e-37);
        }
    }
    bench_close(&b);
}
END_TEST

TEST_SUITE(codes)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, rotation_keeps_products, 0, N_DIMS);
    tcase_add_loop_test(tc, vectors_come_back, 0, N_DIMS * N_KINDS);
    tcase_add_loop_test(tc, exact_scores, 0, N_DIMS * N_KINDS);
    tcase_add_loop_test(tc, estimates_err_as_said, 0, (N_DIMS - 2) * N_KINDS);
    tcase_add_loop_test(tc, bounds_hold, 0, N_DIMS * N_KINDS);
    tcase_add_test(tc, bounds_hold_at_worst);
    tcase_add_loop_test(tc, bounds_hold_nearby, 0, N_DIMS * N_KINDS);
    tcase_add_loop_test(tc, estimates_do_not_depend_on_kernels, 0, (N_DIMS - 2) * N_KINDS);
    tcase_add_loop_test(tc, estimates_of_many, 0, N_DIMS);
    tcase_add_loop_test(tc, likely_bounds_hold_mostly, 0, (N_DIMS - 2) * N_KINDS);
    tcase_add_loop_test(tc, centre_makes_codes_finer, 0, 2);
    tcase_add_test(tc, centre_is_taken_anew);
    tcase_add_test(tc, an_import_takes_its_centre);
    tcase_add_test(tc, dot_has_no_centre);
    tcase_add_loop_test(tc, between_stored_vectors, 0, N_DIMS);
    tcase_add_loop_test(tc, extreme_lengths, 0, N_DIMS * N_KINDS);
    suite_add_tcase(s, tc);
}
