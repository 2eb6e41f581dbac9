/* A table has far more rows than a batch names, so a step costs what the rows in use cost, and decay of the
 * moments waits for a row's next use. */
#include "core/learn/adam.h"

#include "base/err.h"
#include "core/nn/kernels.h"

#include <math.h>

void adam_step_rows(real_t *restrict table, real_t *restrict m, real_t *restrict v,
    const uint32_t *restrict rows, const real_t *restrict drows, size_t U, size_t D, int64_t step,
    double rate, const struct adam_options *o)
{
    ASSERT_BUG(step >= 1);
    const struct nn_kernels *k = nn_kernels();
    double bias1 = 1 - pow((double)o->beta1, (double)step);
    double bias2 = 1 - pow((double)o->beta2, (double)step);
    const struct nn_adam a = { o->beta1, o->beta2, o->eps, (real_t)(rate * sqrt(bias2) / bias1) };
    for (size_t u = 0; u < U; u++) {
        size_t at = (size_t)rows[u] * D;
        k->adam(table + at, m + at, v + at, drows + u * D, D, &a);
    }
}

void adamw_step(real_t *restrict w, real_t *restrict m, real_t *restrict v,
    const real_t *restrict g, size_t n, int64_t step, double rate, double decay,
    const struct adam_options *o)
{
    ASSERT_BUG(step >= 1);
    double bias1 = 1 - pow((double)o->beta1, (double)step);
    double bias2 = 1 - pow((double)o->beta2, (double)step);
    const struct nn_adamw a = { o->beta1, o->beta2, o->eps, .rate = (real_t)(rate / bias1),
        .root = (real_t)(1 / sqrt(bias2)), .keep = (real_t)(1 - rate * decay) };
    nn_kernels()->adamw(w, m, v, g, n, &a);
}

double schedule_rate(int64_t step, int64_t steps, int64_t warmup, double peak, double floor)
{
    if (step < warmup) return peak * (double)step / (double)warmup;
    if (step >= steps) return peak * floor;
    double done = (double)(step - warmup) / (double)(steps - warmup);
    return peak * (floor + (1 - floor) * (1 + cos(M_PI * done)) / 2);
}
