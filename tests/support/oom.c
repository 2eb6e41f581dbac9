/* Allocation failure loop; see oom.h. */
#include "tests/support/oom.h"

#include "base/mem.h"

#include <check.h>

enum err_code oom__call_plain(void *arg)
{
    return ((struct oom__plain *)arg)->fn();
}

long oom_loop(enum err_code (*fn)(void *arg), void *arg)
{
    enum { MOST = 200000 };
    long failed = 0;
    for (long nth = 0; nth < MOST; nth++) {
        mem_fail_after(nth);
        enum err_code code = fn(arg);
        bool fired = mem_alloc_count() > nth;
        mem_fail_after(-1);
#ifndef KINDRED_CHECKED
        fired = false;
#endif
        if (!fired) {
            ck_assert_msg(code == ERR_OK, "untouched round failed: %s", err_name(code));
            return failed;
        }
        failed++;
        ck_assert_msg(code == ERR_OK || code == ERR_NOMEM,
            "allocation %ld failed: got %s, expected nomem", nth + 1, err_name(code));
    }
    ck_abort_msg("still allocating after %d rounds", MOST);
}
