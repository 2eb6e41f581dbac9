#include "tests/support/test.h"

#include "base/mem.h"
#include "base/thread.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct shared {
    struct mutex lock;
    struct cond changed;
    struct rwlock rw;
    long count; /* guarded by lock */
    long a, b;  /* guarded by rw; always equal */
    char name[16];
    bool term_blocked, segv_blocked;
    int nice_before, nice_after;
};

static void shared_init(struct shared *sh)
{
    memset(sh, 0, sizeof *sh);
    mutex_init(&sh->lock, RANK_ENGINE);
    rwlock_init(&sh->rw, RANK_COLLECTION);
    cond_init(&sh->changed);
}

static void shared_done(struct shared *sh)
{
    cond_done(&sh->changed);
    rwlock_done(&sh->rw);
    mutex_done(&sh->lock);
}

static void count_up(void *arg)
{
    struct shared *sh = arg;
    for (int i = 0; i < 1000; i++) {
        {
            AUTO_LOCK(&sh->lock);
            sh->count++;
            cond_signal(&sh->changed);
        }
        rwlock_wrlock(&sh->rw);
        sh->a++;
        sh->b++;
        rwlock_unlock(&sh->rw);
        rwlock_rdlock(&sh->rw);
        ASSERT_BUG(sh->a == sh->b);
        rwlock_unlock(&sh->rw);
    }
}

START_TEST(locks_exclude)
{
    enum { N = 4 };
    struct shared sh;
    struct thread t[N] = { 0 };
    struct err e = ERR_INIT;
    shared_init(&sh);
    for (int i = 0; i < N; i++)
        ck_assert_ok(thread_start(&t[i], "counter", count_up, &sh, &e), &e);
    mutex_lock(&sh.lock);
    while (sh.count < 1000 * N)
        cond_wait(&sh.changed, &sh.lock);
    mutex_unlock(&sh.lock);
    for (int i = 0; i < N; i++) {
        thread_join(&t[i]);
        thread_join(&t[i]); /* nothing to do */
    }
    ck_assert_int_eq(sh.count, 1000 * N);
    ck_assert_int_eq(sh.a, 1000 * N);
    shared_done(&sh);
}
END_TEST

static void look_around(void *arg)
{
    struct shared *sh = arg;
    sigset_t mask;
    pthread_getname_np(pthread_self(), sh->name, sizeof sh->name);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sh->term_blocked = sigismember(&mask, SIGTERM) == 1;
    sh->segv_blocked = sigismember(&mask, SIGSEGV) == 1;
    sh->nice_before = getpriority(PRIO_PROCESS, (id_t)gettid());
    thread_nice(3);
    sh->nice_after = getpriority(PRIO_PROCESS, (id_t)gettid());
}

START_TEST(a_thread_has_name_mask_and_priority)
{
    struct shared sh;
    struct thread t = { 0 };
    struct err e = ERR_INIT;
    sigset_t before, after;
    shared_init(&sh);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    ck_assert_ok(thread_start(&t, "a-name-that-is-long", look_around, &sh, &e), &e);
    thread_join(&t);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    ck_assert_str_eq(sh.name, "a-name-that-is-");
    ck_assert(sh.term_blocked);
    ck_assert(!sh.segv_blocked);
    ck_assert_int_eq(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
    int want = sh.nice_before + 3 > 19 ? 19 : sh.nice_before + 3;
    ck_assert_int_eq(sh.nice_after, want);
    ck_assert_int_eq(getpriority(PRIO_PROCESS, 0), sh.nice_before); /* ours did not change */
    shared_done(&sh);
}
END_TEST

#ifdef KINDRED_CHECKED
START_TEST(no_memory_for_a_thread)
{
    struct shared sh;
    struct thread t = { 0 };
    shared_init(&sh);
    mem_fail_after(0);
    ck_assert_err(thread_start(&t, "x", look_around, &sh, NULL), ERR_NOMEM);
    mem_fail_after(-1);
    thread_join(&t);
    shared_done(&sh);
}
END_TEST

START_TEST(lock_order_down_aborts)
{
    struct mutex high, low;
    mutex_init(&high, RANK_QUEUE);
    mutex_init(&low, RANK_ENGINE);
    mutex_lock(&high);
    mutex_lock(&low);
}
END_TEST

START_TEST(lock_order_equal_aborts)
{
    struct mutex one, two;
    mutex_init(&one, RANK_INDEX_NODE);
    mutex_init(&two, RANK_INDEX_NODE);
    mutex_lock(&one);
    mutex_lock(&two);
}
END_TEST

START_TEST(unlock_of_a_free_lock_aborts)
{
    struct mutex one;
    mutex_init(&one, RANK_QUEUE);
    mutex_unlock(&one);
}
END_TEST
#endif

static void try_lock(void *arg)
{
    ck_assert(!mutex_trylock(arg));
    struct mutex again; /* what was not had is not held: a lower lock may be taken */
    mutex_init(&again, RANK_ENGINE);
    mutex_lock(&again);
    mutex_unlock(&again);
    mutex_done(&again);
}

START_TEST(trylock_does_not_wait)
{
    struct thread t;
    struct mutex m;
    struct err e = ERR_INIT;
    mutex_init(&m, RANK_QUEUE);
    ck_assert(mutex_trylock(&m));
    ck_assert_ok(thread_start(&t, "try", try_lock, &m, &e), &e);
    thread_join(&t);
    mutex_unlock(&m);
    ck_assert(mutex_trylock(&m));
    mutex_unlock(&m);
    mutex_done(&m);
}
END_TEST

START_TEST(lock_order_up_and_any_release_order)
{
    struct mutex low, high;
    struct rwlock mid;
    mutex_init(&low, RANK_ENGINE);
    rwlock_init(&mid, RANK_INDEX);
    mutex_init(&high, RANK_LOG);
    for (int i = 0; i < 3; i++) {
        mutex_lock(&low);
        rwlock_rdlock(&mid);
        mutex_lock(&high);
        mutex_unlock(&low);
        mutex_unlock(&high);
        rwlock_unlock(&mid);
    }
    mutex_done(&high);
    rwlock_done(&mid);
    mutex_done(&low);
}
END_TEST

START_TEST(waits_have_deadlines)
{
    struct shared sh;
    shared_init(&sh);
    int64_t start = time_mono_ns();
    mutex_lock(&sh.lock);
    while (cond_wait_until(&sh.changed, &sh.lock, start + 20 * NS_PER_MS)) {}
    ck_assert_int_ge(time_mono_ns() - start, 20 * NS_PER_MS);
    ck_assert(!cond_wait_until(&sh.changed, &sh.lock, -1));
    mutex_unlock(&sh.lock);
    shared_done(&sh);
}
END_TEST

START_TEST(rfc3339)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        { 0, "1970-01-01T00:00:00.000Z" },
        { INT64_C(1769860800000), "2026-01-31T12:00:00.000Z" },
        { INT64_C(951782400123), "2000-02-29T00:00:00.123Z" },
        { -1, "1969-12-31T23:59:59.999Z" },
        { INT64_MAX, "9999-12-31T23:59:59.999Z" },
        { INT64_MIN, "0000-01-01T00:00:00.000Z" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[25];
        time_rfc3339(rows[i].ms, text);
        ck_assert_str_eq(text, rows[i].text);
    }
    int64_t now = time_unix_ms();
    ck_assert_int_gt(now, INT64_C(1700000000000));
    ck_assert_int_lt(now, INT64_C(4000000000000));
}
END_TEST

TEST_SUITE(thread)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, locks_exclude);
    tcase_add_test(tc, a_thread_has_name_mask_and_priority);
    tcase_add_test(tc, trylock_does_not_wait);
    tcase_add_test(tc, lock_order_up_and_any_release_order);
    tcase_add_test(tc, waits_have_deadlines);
    tcase_add_test(tc, rfc3339);
#ifdef KINDRED_CHECKED
    tcase_add_test(tc, no_memory_for_a_thread);
    tcase_add_abort_test(tc, lock_order_down_aborts);
    tcase_add_abort_test(tc, lock_order_equal_aborts);
    tcase_add_abort_test(tc, unlock_of_a_free_lock_aborts);
#endif
    suite_add_tcase(s, tc);
}
