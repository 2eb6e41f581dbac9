/* The tail: order, chunks, views that outlive them, claims. Nodes are claimed and said to be linked without a graph. */
#include "index/index_internal.h"

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

static void put(uint64_t from, uint64_t n)
{
    for (uint64_t id = from; id < from + n; id++)
        ck_assert_ok(index_put(ix, id, &(float){ (float)id }, NULL));
}

/** Claim and link the next n. */
static void pass(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t node = NODE_NONE;
        uint64_t at;
        ck_assert(tail__claim(ix, &node, &at));
        tail__linked(ix, node);
    }
}

/** What a view shows, to its end: it must be the nodes first…last. */
static void shows(struct tail_view v, uint32_t first, uint32_t end)
{
    uint32_t nodes[100];
    for (size_t n; (n = tail__read(&ix->tail, &v, nodes, 100)) > 0;)
        for (size_t i = 0; i < n; i++)
            ck_assert_uint_eq(nodes[i], first++);
    ck_assert_uint_eq(first, end);
}

START_TEST(shows_what_was_put)
{
    shows(tail__view(&ix->tail), 0, 0);
    for (uint32_t n = 0; n < 3 * TAIL_CHUNK + 5; n++) {
        put(n, 1);
        if (n % 100 == 0 || n % TAIL_CHUNK < 2 || n % TAIL_CHUNK > TAIL_CHUNK - 3)
            shows(tail__view(&ix->tail), 0, n + 1);
    }
    struct tail_view end = tail__view_end(&ix->tail);
    shows(end, 3 * TAIL_CHUNK + 5, 3 * TAIL_CHUNK + 5);
    put(100000, 2); /* a view goes on to what came later */
    shows(end, 3 * TAIL_CHUNK + 5, 3 * TAIL_CHUNK + 7);
}
END_TEST

/** A view from before the watermark moved over several chunks still reads all of them. */
START_TEST(a_view_outlives_chunks)
{
    const uint32_t n = 4 * TAIL_CHUNK;
    int who;
    put(0, n);
    unsigned token = epoch__enter(ix, &who);
    struct tail_view old = tail__view(&ix->tail);
    pass(n - 10);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), n - 10);
    tail__collect(ix);
    tail__collect(ix);
    shows(old, 0, n);
    shows(tail__view(&ix->tail), n - 10, n);
    size_t with = tail__bytes(&ix->tail);
    epoch__leave(ix, &who, token);
    tail__collect(ix);
    ck_assert_uint_eq(with - tail__bytes(&ix->tail), 3 * sizeof(struct tail_chunk));
    shows(tail__view(&ix->tail), n - 10, n);
    pass(10);
    put(n, 3);
    shows(tail__view(&ix->tail), n, n + 3);
}
END_TEST

/** Memory stays small however much goes through. */
START_TEST(chunks_are_given_back)
{
    for (uint64_t id = 0; id < 20; id++) {
        put(id * TAIL_CHUNK, TAIL_CHUNK);
        pass(TAIL_CHUNK);
        tail__collect(ix);
        ck_assert_uint_le(tail__bytes(&ix->tail), 4 * sizeof(struct tail_chunk));
    }
}
END_TEST

START_TEST(claims_are_in_order)
{
    uint32_t node = 77;
    uint64_t at = 77;
    ck_assert(!tail__claim(ix, &node, &at));
    ck_assert(node == 77 && at == 77);
    put(0, 2500);
    for (uint64_t id = 10; id < 2500; id += 10)
        ck_assert(index_delete(ix, id)); /* nobody hangs on them: not claimed */
    for (uint32_t want = 0; want < 2500; want++) {
        if (want && want % 10 == 0) continue;
        ck_assert(tail__claim(ix, &node, &at));
        ck_assert(node == want && at == want);
    }
    ck_assert(!tail__claim(ix, &node, &at));
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 0);
    for (uint32_t done = 2500; done-- > 0;) /* the first is the last */
        if (!done || done % 10) tail__linked(ix, done);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 2500);
}
END_TEST

/** One that was given back is the next to be claimed, also from a chunk long passed by the cursor. */
START_TEST(unclaimed_comes_again)
{
    uint32_t node, again;
    uint64_t at, at_again;
    put(0, 3 * TAIL_CHUNK);
    pass(5);
    ck_assert(tail__claim(ix, &node, &at) && node == 5 && at == 5);
    pass(2 * TAIL_CHUNK);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 5);
    tail__unclaim(ix, node, at);
    shows(tail__view(&ix->tail), 5, 3 * TAIL_CHUNK);
    ck_assert(tail__claim(ix, &again, &at_again));
    ck_assert(again == node && at_again == at);
    tail__linked(ix, again);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 6 + 2 * TAIL_CHUNK);
    ck_assert(tail__claim(ix, &again, &at_again) && again == 6 + 2 * TAIL_CHUNK);
    tail__unclaim(ix, again, at_again);
    ck_assert(index_delete(ix, again)); /* then it needs no linking */
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 7 + 2 * TAIL_CHUNK);
    ck_assert(tail__claim(ix, &again, &at_again) && again == 7 + 2 * TAIL_CHUNK);
    tail__linked(ix, again);
}
END_TEST

/** Deleting what waits in front moves the watermark, linking behind it does not. */
START_TEST(watermark)
{
    put(0, 100);
    ck_assert(index_delete(ix, 1));
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 0);
    ck_assert(index_delete(ix, 0));
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 2);
    uint32_t a, b;
    uint64_t at;
    ck_assert(tail__claim(ix, &a, &at) && a == 2);
    ck_assert(tail__claim(ix, &b, &at) && b == 3);
    tail__linked(ix, b);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 2);
    ck_assert(index_delete(ix, a)); /* claimed: whoever links it will find the way */
    tail__linked(ix, a);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 4);
    pass(96);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 100);
}
END_TEST

/** A put that finds no memory for the tail leaves it as it was. */
START_TEST(no_memory)
{
#ifdef KINDRED_CHECKED
    put(0, TAIL_CHUNK - 1);
    float v = 5000;
    for (long nth = 0;; nth++) {
        mem_fail_after(nth);
        enum err_code code = index_put(ix, 5000, &v, NULL);
        mem_fail_after(-1);
        must_verify(ix);
        if (code == ERR_OK) break;
        ck_assert_int_eq(code, ERR_NOMEM);
        ck_assert(!index_contains(ix, 5000));
        shows(tail__view(&ix->tail), 0, TAIL_CHUNK - 1);
    }
    put(6000, TAIL_CHUNK);
    must_verify(ix);
#endif
}
END_TEST

TEST_SUITE(tail)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, shows_what_was_put);
    tcase_add_test(tc, a_view_outlives_chunks);
    tcase_add_test(tc, chunks_are_given_back);
    tcase_add_test(tc, claims_are_in_order);
    tcase_add_test(tc, unclaimed_comes_again);
    tcase_add_test(tc, watermark);
    tcase_add_test(tc, no_memory);
    suite_add_tcase(s, tc);
}
