/* Layer: core. May include: base.
 *
 * The course of a run: a line every few steps in memory, as CSV, and as a curve.
 *
 * Threads: one at a time.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* A line: means since the line before it. NAN where no step of that kind was among them. */
struct train_record {
    int64_t step;
    double seconds, rate, loss, pair_loss, distill_loss, anchor_loss, pairs_per_second;
};

struct train_log {
    struct train_record *records;
    size_t n, cap;
};

void train_log_done(struct train_log *log);
/** NOMEM. */
MUST_USE enum err_code train_log_add(
    struct train_log *log, const struct train_record *r, struct err *e);
/** The whole log as a new file, head line first. FULL, IO, NOMEM. */
MUST_USE enum err_code train_log_write_csv(
    const struct train_log *log, const char *path, struct err *e);
/** Only the latest line, at the end of the file. FULL, IO. */
MUST_USE enum err_code train_log_append_csv(
    const struct train_log *log, const char *path, struct err *e);
/** Loss over steps, as it was and smoothed, in one file that needs nothing else. FULL, IO, NOMEM. */
MUST_USE enum err_code train_log_write_svg(
    const struct train_log *log, const char *path, struct err *e);
