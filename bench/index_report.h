/* Layer: bench. May include: bench.
 *
 * What bench-index has found, kept until the end: tables in Markdown and the picture.
 */
#pragma once

#include "bench/curve.h"

#include <stdio.h>

struct report_line { /* a library on a set with so many threads */
    char set[40], library[200];
    size_t threads;
    double bytes_per_vector;
    struct curve curve;
};

struct report_build { /* an index of it that was built with another ef_construction */
    char set[40], library[200];
    size_t ef_construction, threads;
    double per_s,
        recall; /* vectors a second; recall@10 at the one ef at which graphs are compared */
};

struct report; /* see index_report.c */

struct report *report_new(void);
void report_free(struct report *r);
void report_add_line(struct report *r, const struct report_line *line);
void report_add_build(struct report *r, const struct report_build *build);
/**
 * Rates at recall 0.95 and 0.98 and bytes a vector, with their ratios to the first hnswlib of the same set and number
 * of threads; then build rates at the recall that hnswlib's graph of peer_efc reaches at graph_ef.
 */
void report_markdown(const struct report *r, FILE *f, size_t peer_efc, size_t graph_ef);
/** A panel a set and number of threads. */
void report_svg(const struct report *r, FILE *f);
