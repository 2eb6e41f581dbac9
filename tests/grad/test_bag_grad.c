/* core/nn/bag.c against finite differences. The loss is a fixed weighting of what forward gives. */
#include "core/nn/bag.h"

#include "tests/grad/gradient.h"
#include "tests/support/test.h"

#include <stdint.h>
#include <string.h>

enum { V = 9, N_MAX = 5, D_MAX = 19, TOKENS = 14 };

static double weighted(const real_t *out, const real_t *weights, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += out[i] * weights[i];
    return sum;
}

struct bag_case {
    real_t table[V * D_MAX], weights[N_MAX * D_MAX];
    const uint32_t *ids;
    const size_t *starts;
    size_t N, D;
};

static double bag_loss(void *arg)
{
    const struct bag_case *c = arg;
    real_t out[N_MAX * D_MAX];
    bag_mean_forward(out, c->table, c->ids, c->starts, c->N, c->D);
    return weighted(out, c->weights, c->N * c->D);
}

static void check_bag(const uint32_t *ids, const size_t *starts, size_t N, size_t D, struct rng *r)
{
    struct bag_case c = { .ids = ids, .starts = starts, .N = N, .D = D };
    fill_random(c.table, V * D, 1, r);
    fill_random(c.weights, N * D, 1, r);
    uint32_t rows[TOKENS], at[TOKENS], place[V];
    memset(place, 0xFF, sizeof place);
    size_t U = bag_rows(rows, at, place, ids, starts[N]);
    real_t drows[V * D_MAX], want[V * D_MAX] = { 0 };
    for (size_t i = 0; i < U * D; i++)
        drows[i] = 0.25; /* backward adds */
    bag_mean_backward(drows, c.weights, at, starts, N, D);
    for (size_t u = 0; u < U; u++)
        for (size_t d = 0; d < D; d++)
            want[rows[u] * D + d] = drows[u * D + d] - 0.25;
    check_gradient("table", bag_loss, &c, c.table, V * D, want, 1);
}

START_TEST(bag_mean)
{
    struct rng r;
    rng_init(&r, 1);
    const uint32_t ids[TOKENS] = { 3, 3, 3, 1, 8, 1, 0, 5, 3, 8, 2, 2, 1, 1 };
    const size_t starts[N_MAX + 1] = { 0, 3, 4, 9, 11, 14 };
    for (size_t D = 1; D <= D_MAX; D += 2) {
        check_bag(ids, starts, N_MAX, D, &r);
        check_bag(ids, starts, 1, D, &r);
        check_bag(ids + 7, (const size_t[]){ 0, 1 }, 1, D, &r);
    }
}
END_TEST

struct unit_case {
    real_t x[N_MAX * D_MAX], weights[N_MAX * D_MAX];
    size_t N, D;
};

static double unit_loss(void *arg)
{
    const struct unit_case *c = arg;
    real_t out[N_MAX * D_MAX], norms[N_MAX];
    unit_forward(out, norms, c->x, c->N, c->D);
    return weighted(out, c->weights, c->N * c->D);
}

/* At 1e-15 and 1e18 the squares leave the range in which forward takes the fast way. The origin is a kink. */
START_TEST(unit)
{
    const double sizes[] = { 1, 1e-3, 1e-15, 1e18 };
    struct rng r;
    rng_init(&r, 2);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (size_t D = 1; D <= D_MAX; D += D < 4 ? 1 : 5)
            for (size_t N = 1; N <= N_MAX; N += 2) {
                struct unit_case c = { .N = N, .D = D };
                real_t out[N_MAX * D_MAX], norms[N_MAX], dx[N_MAX * D_MAX] = { 0 };
                fill_unit(c.x, N, D, &r);
                for (size_t i = 0; i < N * D; i++)
                    c.x[i] *= sizes[k];
                fill_random(c.weights, N * D, 1, &r);
                unit_forward(out, norms, c.x, N, D);
                unit_backward(dx, c.weights, out, norms, N, D);
                check_gradient("x", unit_loss, &c, c.x, N * D, dx, sizes[k]);
            }
}
END_TEST

TEST_SUITE(bag_grad)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, bag_mean);
    tcase_add_test(tc, unit);
    suite_add_tcase(s, tc);
}
