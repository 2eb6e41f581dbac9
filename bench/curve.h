/* Layer: bench. May include: libc.
 *
 * Recall against rate, and what lies between the measured points.
 */
#pragma once

#include <stddef.h>

enum { CURVE_POINTS_MAX = 64 };

struct curve {
    struct {
        double recall, qps;
    } at[CURVE_POINTS_MAX];
    size_t n;
};

/** Points come by rising ef. */
void curve_add(struct curve *c, double recall, double qps);
/**
 * The rate at a recall: between the last point below and the first one that reaches it, log(qps) linear in recall.
 * The first point's rate if that one reaches it already (a lower bound); -1 if none does.
 */
double curve_at(const struct curve *c, double recall);
