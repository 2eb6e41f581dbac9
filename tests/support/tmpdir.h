/* Layer: tests. May include: libcheck, base.
 *
 * A temporary folder for a test, below $TMPDIR or /tmp.
 */
#pragma once

#include <stddef.h>

enum { TMPDIR_PATH_BYTES = 256 };

struct tmpdir {
    char path[TMPDIR_PATH_BYTES];
};

/** Make it; fails the test if it cannot. */
void tmpdir_make(struct tmpdir *t);
/** Remove it with all that is in it; links are not followed. Accepts a zeroed struct. */
void tmpdir_remove(struct tmpdir *t);
/** t->path/name into ret; fails the test if it does not fit. Returns ret. */
char *tmpdir_file(const struct tmpdir *t, const char *name, char ret[TMPDIR_PATH_BYTES]);
