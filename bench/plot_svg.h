/* Layer: bench. May include: bench.
 *
 * Curves of recall and rate as a picture: panels side by side, a line a name, the same colour in all of them.
 */
#pragma once

#include "bench/curve.h"

#include <stdio.h>

enum { PLOT_LINES_MAX = 16 };

struct plot_panel {
    char title[96];
    struct {
        const char *name;
        const struct curve *curve;
    } lines[PLOT_LINES_MAX];
    size_t n;
};

/**
 * Recall runs from 0.8 to 0.999 as -log10(1 - recall), so that what is left to find spreads; the rate is logarithmic
 * and each panel's own. Two panels a row. At most PLOT_LINES_MAX different names are drawn.
 */
void plot_svg(FILE *f, const struct plot_panel *panels, size_t n);
