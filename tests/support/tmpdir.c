/* Temporary folders; see tmpdir.h. */
#include "tests/support/tmpdir.h"

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tmpdir_make(struct tmpdir *t)
{
    const char *base = getenv("TMPDIR");
    int n =
        snprintf(t->path, sizeof t->path, "%s/kindred-test-XXXXXX", base && *base ? base : "/tmp");
    ck_assert_msg(n > 0 && (size_t)n < sizeof t->path, "TMPDIR is too long");
    ck_assert_msg(mkdtemp(t->path) != NULL, "mkdtemp %s: %s", t->path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

void tmpdir_remove(struct tmpdir *t)
{
    if (!t->path[0]) return;
    nftw(t->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    t->path[0] = '\0';
}

char *tmpdir_file(const struct tmpdir *t, const char *name, char ret[TMPDIR_PATH_BYTES])
{
    int n = snprintf(ret, TMPDIR_PATH_BYTES, "%s/%s", t->path, name);
    ck_assert_msg(n > 0 && n < TMPDIR_PATH_BYTES, "path too long: %s/%s", t->path, name);
    return ret;
}
