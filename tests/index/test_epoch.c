/* Who is inside: nothing is freed under a reader, nobody enters while it is closed. */
#include "index/index_internal.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

static struct index *ix;

static void setup(void)
{
    struct index_options o = small_options(1, INDEX_L2);
    ix = open_index(&o);
}

static void teardown(void)
{
    index_free(ix);
}

START_TEST(passes_when_they_have_left)
{
    int who[3];
    uint64_t before = epoch__now(ix);
    ck_assert(epoch__passed(ix, before)); /* nobody is inside */
    uint64_t since = epoch__now(ix);
    unsigned first = epoch__enter(ix, &who[0]);
    ck_assert(!epoch__passed(ix, since));
    ck_assert(!epoch__passed(ix, since));
    unsigned second = epoch__enter(ix, &who[1]); /* after it: need not be waited for */
    epoch__leave(ix, &who[0], first);
    ck_assert(epoch__passed(ix, since));
    ck_assert(epoch__passed(ix, before)); /* what passed once has passed for good */
    since = epoch__now(ix);
    ck_assert(!epoch__passed(ix, since));
    epoch__leave(ix, &who[1], second);
    ck_assert(epoch__passed(ix, since));
}
END_TEST

/** Whoever comes and goes all the time holds nobody up but for a moment. */
START_TEST(passes_among_many)
{
    static char who[4096];
    unsigned tokens[64];
    for (size_t round = 0; round < 200; round++) {
        uint64_t since = epoch__now(ix);
        for (size_t i = 0; i < 64; i++)
            tokens[i] = epoch__enter(ix, who + i * 64);
        ck_assert(!epoch__passed(ix, since));
        unsigned late = epoch__enter(ix, who);
        for (size_t i = 0; i < 64; i++) {
            ck_assert(!epoch__passed(ix, since));
            epoch__leave(ix, who + i * 64, tokens[i]);
        }
        ck_assert(epoch__passed(ix, since));
        epoch__leave(ix, who, late);
    }
}
END_TEST

/* ---- threads ---- */
enum { SLOTS = 8, READERS = 3, ALIVE = 0x5a5a5a5a };
struct thing {
    atomic_int alive; /* ALIVE until nobody can know it */
    struct thing *next;
    uint64_t since;
};
static struct {
    _Atomic(struct thing *) slots[SLOTS];
    atomic_bool stop;
    atomic_long wrong, read;
    atomic_int inside, closed;
} shared;

static void reader(void *arg)
{
    size_t n = 0;
    while (!atomic_load(&shared.stop)) {
        unsigned token = epoch__enter(ix, arg);
        atomic_fetch_add(&shared.inside, 1);
        if (atomic_load(&shared.closed)) atomic_fetch_add(&shared.wrong, 1);
        for (size_t i = 0; i < SLOTS; i++) {
            struct thing *t = atomic_load(&shared.slots[(n + i) % SLOTS]);
            for (int j = 0; j < 20; j++)
                if (atomic_load(&t->alive) != ALIVE) atomic_fetch_add(&shared.wrong, 1);
        }
        atomic_fetch_sub(&shared.inside, 1);
        epoch__leave(ix, arg, token);
        n++;
    }
    atomic_fetch_add(&shared.read, (long)n);
}

static struct thing *thing_new(void)
{
    struct thing *t = mem_zalloc(1, sizeof *t);
    ck_assert_ptr_nonnull(t);
    atomic_store(&t->alive, ALIVE);
    return t;
}

/** Frees from the list what nobody can know any more; returns how many are left. */
static size_t reclaim(struct thing **list)
{
    size_t left = 0;
    while (*list) {
        struct thing *t = *list;
        if (!epoch__passed(ix, t->since)) {
            left++;
            list = &t->next;
            continue;
        }
        *list = t->next;
        atomic_store(&t->alive, 0);
        mem_free(t);
    }
    return left;
}

START_TEST(nothing_is_freed_under_a_reader)
{
    struct thread threads[READERS];
    struct thing *retired = NULL;
    struct err e = ERR_INIT;
    size_t freed = 0, left = 0;
    memset(&shared, 0, sizeof shared);
    for (size_t i = 0; i < SLOTS; i++)
        atomic_store(&shared.slots[i], thing_new());
    for (size_t i = 0; i < READERS; i++) {
        threads[i] = (struct thread){ 0 };
        ck_assert_ok(
            thread_start(&threads[i], "reader", reader, (char *)&shared + i * 128, &e), &e);
    }
    int64_t end = time_mono_ns() + NS_PER_S / 4;
    for (size_t n = 0; time_mono_ns() < end; n++) {
        struct thing *old = atomic_exchange(&shared.slots[n % SLOTS], thing_new());
        old->since = epoch__now(ix);
        old->next = retired;
        retired = old;
        size_t now = reclaim(&retired);
        freed += left + 1 - now;
        left = now;
        if (n % 16 != 0) continue;
        epoch__close(ix); /* from here on nobody is inside */
        atomic_store(&shared.closed, 1);
        if (atomic_load(&shared.inside)) atomic_fetch_add(&shared.wrong, 1);
        ck_assert_uint_eq(reclaim(&retired), 0);
        freed += left;
        left = 0;
        atomic_store(&shared.closed, 0);
        epoch__open(ix);
    }
    atomic_store(&shared.stop, true);
    for (size_t i = 0; i < READERS; i++)
        thread_join(&threads[i]);
    ck_assert_int_eq(atomic_load(&shared.wrong), 0);
    ck_assert_int_gt(atomic_load(&shared.read), 10);
    ck_assert_uint_gt(freed, 10);
    ck_assert_uint_eq(reclaim(&retired), 0);
    for (size_t i = 0; i < SLOTS; i++)
        mem_free(atomic_load(&shared.slots[i]));
}
END_TEST

TEST_SUITE(epoch)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, passes_when_they_have_left);
    tcase_add_test(tc, passes_among_many);
    tcase_add_test(tc, nothing_is_freed_under_a_reader);
    suite_add_tcase(s, tc);
}
