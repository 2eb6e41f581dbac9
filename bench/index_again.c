#include "bench/index_again.h"

#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 1024 };

/** A row of the table; false: it is something else. */
static bool read_row(const char *text, struct report_line *ret, double *ret_recall, double *ret_qps)
{
    char version[64];
    return sscanf(text, "%39[^,],%199[^,],%63[^,],%*u,%*u,%zu,%*u,%lf,%lf,%*f,%*u,%*f,%*f,%lf",
               ret->set, ret->library, version, &ret->threads, ret_recall, ret_qps,
               &ret->bytes_per_vector) == 7;
}

static bool read_build(const char *text, struct report_build *ret)
{
    return sscanf(text,
               "# build set=%39s library=%199s efc=%zu threads=%zu per_s=%lf ef=%*u recall=%lf",
               ret->set, ret->library, &ret->ef_construction, &ret->threads, &ret->per_s,
               &ret->recall) == 6;
}

void report_read(struct report *r, FILE *f)
{
    char text[LINE_BYTES];
    struct report_line line = { .threads = 0 };
    while (fgets(text, sizeof text, f)) {
        struct report_line next = { .threads = 0 };
        struct report_build build = { .threads = 0 };
        double recall, qps;
        if (read_build(text, &build)) report_add_build(r, &build);
        if (*text == '#' || !read_row(text, &next, &recall, &qps)) continue;
        bool same = next.threads == line.threads && !strcmp(next.set, line.set) &&
            !strcmp(next.library, line.library);
        if (!same) {
            if (line.threads) report_add_line(r, &line);
            line = next;
        }
        curve_add(&line.curve, recall, qps);
    }
    if (line.threads) report_add_line(r, &line);
}
