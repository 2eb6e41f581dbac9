/* Layer: bench. May include: bench.
 *
 * What earlier runs of bench-index have written, for tables and the picture once more.
 */
#pragma once

#include "bench/index_report.h"

#include <stdbool.h>
#include <stdio.h>

/** Rows and "# build" lines of a CSV file, or of several one behind the other; other lines are passed over. */
void report_read(struct report *r, FILE *f);
