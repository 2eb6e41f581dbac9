#include "bench/curve.h"

#include <math.h>

void curve_add(struct curve *c, double recall, double qps)
{
    if (c->n == CURVE_POINTS_MAX) return;
    c->at[c->n].recall = recall;
    c->at[c->n++].qps = qps;
}

double curve_at(const struct curve *c, double recall)
{
    size_t i = 0;
    while (i < c->n && c->at[i].recall < recall)
        i++;
    if (i == c->n) return -1;
    if (i == 0) return c->at[0].qps;
    double low = c->at[i - 1].recall, high = c->at[i].recall;
    double part = (recall - low) / (high - low);
    return exp(log(c->at[i - 1].qps) * (1 - part) + log(c->at[i].qps) * part);
}
