/* core/learn/infonce.c, distill.c and anchor.c against finite differences. The losses are functions of any
 * vectors, so each number is moved alone, off the unit sphere. */
#include "core/learn/loss.h"

#include "tests/grad/gradient.h"
#include "tests/support/test.h"

#include <stdlib.h>

enum { N_MAX = 7, M_MAX = 12, D_MAX = 9, T_MAX = 5 };

struct pairs_case {
    struct infonce_shape shape;
    real_t a[N_MAX * D_MAX], b[M_MAX * D_MAX];
    bool mask[N_MAX * M_MAX];
    const bool *masked;
    double scale;
};

/* As many numbers as the op asks for and no more, so that AddressSanitizer sees one too many. */
static real_t *exactly(size_t n)
{
    real_t *p = calloc(n, sizeof *p);
    ck_assert_ptr_nonnull(p);
    return p;
}

static double pairs_loss(void *arg)
{
    const struct pairs_case *c = arg;
    real_t *saved = exactly(infonce_saved(&c->shape));
    double loss = infonce_forward(saved, c->a, c->b, c->masked, &c->shape);
    free(saved);
    return c->scale * loss;
}

static void check_pairs(struct pairs_case *c, struct rng *r)
{
    const struct infonce_shape *s = &c->shape;
    fill_unit(c->a, s->N, s->D, r);
    fill_unit(c->b, s->M, s->D, r);
    for (size_t i = 0; i < s->N; i++)
        for (size_t j = 0; j < s->M; j++)
            c->mask[i * s->M + j] = i != j && rng_below(r, 3) == 0;
    real_t *saved = exactly(infonce_saved(s));
    real_t da[N_MAX * D_MAX], db[M_MAX * D_MAX];
    for (size_t i = 0; i < N_MAX * D_MAX; i++)
        da[i] = -0.5;
    for (size_t i = 0; i < M_MAX * D_MAX; i++)
        db[i] = 0.5;
    infonce_forward(saved, c->a, c->b, c->masked, s);
    infonce_backward(da, db, saved, c->a, c->b, c->scale, s);
    free(saved);
    for (size_t i = 0; i < N_MAX * D_MAX; i++)
        da[i] += 0.5;
    for (size_t i = 0; i < M_MAX * D_MAX; i++)
        db[i] -= 0.5;
    check_gradient("a", pairs_loss, c, c->a, s->N * s->D, da, s->temperature);
    check_gradient("b", pairs_loss, c, c->b, s->M * s->D, db, s->temperature);
}

/* Every shape one way and symmetric, with and without masks, with and without hard negatives. */
START_TEST(infonce)
{
    const size_t sizes[] = { 1, 2, 3, N_MAX }, extra[] = { 0, 1, M_MAX - N_MAX };
    const size_t depths[] = { 1, 3, D_MAX };
    const real_t temperatures[] = { 1, 0.05 };
    struct rng r;
    rng_init(&r, 3);
    for (size_t k = 0; k < 4 * 3 * 3 * 2 * 4; k++) {
        size_t N = sizes[k % 4];
        struct pairs_case c = { .shape = { .N = N,
                                    .M = N + extra[k / 4 % 3],
                                    .D = depths[k / 12 % 3],
                                    .temperature = temperatures[k / 36 % 2],
                                    .symmetric = k / 72 % 2 },
            .scale = 0.75 };
        c.masked = k / 144 ? c.mask : NULL;
        check_pairs(&c, &r);
    }
}
END_TEST

struct distill_case {
    real_t x[N_MAX * D_MAX], teacher[N_MAX * T_MAX], temperature;
    size_t N, D, T;
};

static double distill_loss(void *arg)
{
    const struct distill_case *c = arg;
    real_t *saved = exactly(distill_saved(c->N, c->D, c->T));
    double loss = distill_forward(saved, c->x, c->teacher, c->N, c->D, c->T, c->temperature);
    free(saved);
    return -2 * loss;
}

START_TEST(distill)
{
    struct rng r;
    rng_init(&r, 4);
    for (size_t N = 1; N <= N_MAX; N++)
        for (size_t D = 1; D <= D_MAX; D += 2)
            for (size_t T = 1; T <= T_MAX; T += 2) {
                struct distill_case c = { .N = N, .D = D, .T = T, .temperature = N % 2 ? 0.1 : 1 };
                fill_unit(c.x, N, D, &r);
                fill_unit(c.teacher, N, T, &r);
                real_t dx[N_MAX * D_MAX], *saved = exactly(distill_saved(N, D, T));
                for (size_t i = 0; i < N * D; i++)
                    dx[i] = 1;
                distill_forward(saved, c.x, c.teacher, N, D, T, c.temperature);
                distill_backward(dx, saved, c.x, N, D, c.temperature, -2);
                free(saved);
                for (size_t i = 0; i < N * D; i++)
                    dx[i] -= 1;
                check_gradient("x", distill_loss, &c, c.x, N * D, dx, c.temperature);
            }
}
END_TEST

struct anchor_case {
    real_t x[N_MAX * D_MAX], p[N_MAX * D_MAX];
    size_t N, D;
};

static double anchor_loss(void *arg)
{
    const struct anchor_case *c = arg;
    return 0.1 * anchor_forward(c->x, c->p, c->N, c->D);
}

START_TEST(anchor)
{
    struct rng r;
    rng_init(&r, 5);
    for (size_t N = 1; N <= N_MAX; N += 2)
        for (size_t D = 1; D <= D_MAX; D += 2) {
            struct anchor_case c = { .N = N, .D = D };
            fill_unit(c.x, N, D, &r);
            fill_unit(c.p, N, D, &r);
            real_t dx[N_MAX * D_MAX] = { 0 };
            anchor_backward(dx, c.p, N, D, 0.1);
            check_gradient("x", anchor_loss, &c, c.x, N * D, dx, 1);
        }
}
END_TEST

TEST_SUITE(loss_grad)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, infonce);
    tcase_add_test(tc, distill);
    tcase_add_test(tc, anchor);
    suite_add_tcase(s, tc);
}
