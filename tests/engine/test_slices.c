#include "engine/slices.h"

#include "base/thread.h"
#include "tests/support/test.h"

#include <stdbool.h>
#include <string.h>

enum { N = 103 };

struct work {
    unsigned char done[N];
    size_t fails_at[2]; /* INVALID, CANCELLED; N: nowhere */
    size_t shortest, longest, slices;
    struct mutex lock;
};

static enum err_code do_slice(void *arg, size_t from, size_t to, struct err *e)
{
    struct work *w = arg;
    enum err_code code = ERR_OK;
    mutex_lock(&w->lock);
    w->slices++;
    if (to - from < w->shortest) w->shortest = to - from;
    if (to - from > w->longest) w->longest = to - from;
    mutex_unlock(&w->lock);
    for (size_t i = from; i < to; i++) {
        w->done[i]++;
        if (i == w->fails_at[0]) code = err_set(e, ERR_INVALID, "at %zu", i);
        if (i == w->fails_at[1]) code = err_set(e, ERR_CANCELLED, "stopped at %zu", i);
    }
    return code;
}

static enum err_code run(struct work *w, unsigned threads, size_t n, struct err *e)
{
    mutex_init(&w->lock, RANK_QUEUE);
    w->shortest = N;
    enum err_code code = slices_run(threads, n, do_slice, w, e);
    mutex_done(&w->lock);
    return code;
}

START_TEST(everything_is_done_once)
{
    const unsigned threads[] = { 0, 1, 2, 4, 102, 103, 104 };
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        struct work w = { .fails_at = { N, N } };
        ck_assert_ok(run(&w, threads[t], N, NULL));
        for (size_t i = 0; i < N; i++)
            ck_assert_uint_eq(w.done[i], 1);
        ck_assert_uint_le(w.longest - w.shortest, 1);
        ck_assert_uint_eq(w.slices, threads[t] == 0 ? 1 : threads[t] > N ? N : threads[t]);
    }
    struct work none = { .fails_at = { N, N } };
    ck_assert_ok(run(&none, 4, 0, NULL));
    ck_assert_uint_eq(none.slices, 0);
}
END_TEST

START_TEST(what_went_wrong)
{
    struct err e = ERR_INIT;
    struct work w = { .fails_at = { 90, 3 } };
    ck_assert_err(run(&w, 4, N, &e), ERR_INVALID);
    ck_assert_str_eq(e.msg, "at 90");
    w = (struct work){ .fails_at = { N, 60 } };
    ck_assert_err(run(&w, 4, N, &e), ERR_CANCELLED);
    ck_assert_str_eq(e.msg, "stopped at 60");
    ck_assert_err(run(&w, 4, N, NULL), ERR_CANCELLED);
}
END_TEST

TEST_SUITE(slices)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, everything_is_done_once);
    tcase_add_test(tc, what_went_wrong);
    suite_add_tcase(s, tc);
}
