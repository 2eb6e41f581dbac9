#include "tests/support/oom.h"
#include "tests/support/test.h"

#include "base/mem.h"
#include "base/queue.h"

#include <stdatomic.h>

struct job {
    struct queue_node node;
    int id, producer;
};

static int id_of(struct queue_node *n)
{
    return n ? ((struct job *)n)->id : -1;
}

static enum err_code push(struct queue *q, enum queue_lane lane, struct job *j, int id, size_t cost)
{
    *j = (struct job){ .node.cost = cost, .id = id };
    return queue_push(q, lane, &j->node);
}

START_TEST(first_in_first_out)
{
    struct queue *q = queue_new(100, 4);
    struct job j[5];
    enum queue_lane lane = LANE_BULK;
    for (int i = 0; i < 5; i++)
        ck_assert_ok(push(q, LANE_INTERACTIVE, &j[i], i, 1));
    ck_assert_uint_eq(queue_length(q, LANE_INTERACTIVE), 5);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(id_of(queue_pop(q, &lane)), i);
    ck_assert_int_eq(lane, LANE_INTERACTIVE);
    ck_assert_uint_eq(queue_length(q, LANE_INTERACTIVE), 0);
    queue_free(q);
    queue_free(NULL);
}
END_TEST

START_TEST(refuses_when_full)
{
    struct queue *q = queue_new(10, 4);
    struct job j[5];
    ck_assert_ok(push(q, LANE_BULK, &j[0], 0, 6));
    ck_assert_ok(push(q, LANE_BULK, &j[1], 1, 4));
    ck_assert_err(push(q, LANE_BULK, &j[2], 2, 1), ERR_BUSY);
    ck_assert_ok(push(q, LANE_INTERACTIVE, &j[3], 3, 1)); /* lanes are apart */
    ck_assert_uint_eq(queue_cost(q, LANE_BULK), 10);
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 3);
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 0);
    ck_assert_ok(push(q, LANE_BULK, &j[2], 2, 6));
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 1);
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 2);
    /* Into an empty lane goes whatever its cost, and then nothing more. */
    ck_assert_ok(push(q, LANE_BULK, &j[0], 0, SIZE_MAX));
    ck_assert_err(push(q, LANE_BULK, &j[1], 1, 1), ERR_BUSY);
    ck_assert_err(push(q, LANE_BULK, &j[1], 1, SIZE_MAX), ERR_BUSY);
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 0);
    ck_assert_uint_eq(queue_cost(q, LANE_BULK), 0);
    queue_free(q);
}
END_TEST

START_TEST(bulk_gets_one_in_weight_plus_one)
{
    enum { N = 12 };
    static const int want[] = { 0, 1, 2, 100, 3, 4, 5, 101, 6, 7, 8, 102 };
    struct queue *q = queue_new(1000, 3);
    struct job fast[N], slow[N];
    for (int i = 0; i < N; i++) {
        ck_assert_ok(push(q, LANE_INTERACTIVE, &fast[i], i, 1));
        ck_assert_ok(push(q, LANE_BULK, &slow[i], 100 + i, 1));
    }
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(id_of(queue_pop(q, NULL)), want[i]);
    /* Pops while nothing waits in the bulk lane do not count. */
    queue_close(q);
    int seen = 0;
    while (queue_pop(q, NULL))
        seen++;
    ck_assert_int_eq(seen, 2 * N - N);
    queue_free(q);

    q = queue_new(1000, 3);
    for (int i = 0; i < 6; i++)
        ck_assert_ok(push(q, LANE_INTERACTIVE, &fast[i], i, 1));
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(id_of(queue_pop(q, NULL)), i);
    ck_assert_ok(push(q, LANE_BULK, &slow[0], 100, 1));
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 3);
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 4);
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 5);
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 100);
    queue_free(q);
}
END_TEST

static int list_length(const struct queue_node *n)
{
    int length = 0;
    for (; n; n = n->next)
        length++;
    return length;
}

START_TEST(batches_keep_to_their_budget)
{
    struct queue *q = queue_new(1000, 3);
    struct job j[6], b;
    static const size_t cost[] = { 50, 10, 20, 30, 5, 500 };
    enum queue_lane lane;
    for (int i = 0; i < 6; i++)
        ck_assert_ok(push(q, LANE_INTERACTIVE, &j[i], i, cost[i]));
    ck_assert_ok(push(q, LANE_BULK, &b, 9, 1));
    struct queue_node *n = queue_pop_batch(q, 40, 10, &lane); /* the first alone is over */
    ck_assert_int_eq(id_of(n), 0);
    ck_assert_int_eq(list_length(n), 1);
    n = queue_pop_batch(q, 60, 10, &lane); /* exactly 10 + 20 + 30 */
    ck_assert_int_eq(id_of(n), 1);
    ck_assert_int_eq(id_of(n->next), 2);
    ck_assert_int_eq(id_of(n->next->next), 3);
    ck_assert_int_eq(list_length(n), 3);
    n = queue_pop_batch(q, 10000, 1, &lane);
    ck_assert_int_eq(list_length(n), 1);
    ck_assert_int_eq(id_of(n), 4);
    n = queue_pop_batch(q, 10000, 10, &lane);
    ck_assert_int_eq(lane, LANE_BULK); /* lanes are not mixed in a batch */
    ck_assert_int_eq(list_length(n), 1);
    ck_assert_uint_eq(queue_cost(q, LANE_INTERACTIVE), 500);
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 5);
    queue_free(q);
}
END_TEST

START_TEST(close_lets_waiters_drain)
{
    struct queue *q = queue_new(10, 1);
    struct job j, late;
    ck_assert_ok(push(q, LANE_BULK, &j, 1, 1));
    queue_close(q);
    ck_assert_err(push(q, LANE_BULK, &late, 2, 1), ERR_DRAINING);
    ck_assert_int_eq(id_of(queue_pop(q, NULL)), 1);
    ck_assert_ptr_null(queue_pop(q, NULL));
    ck_assert_ptr_null(queue_pop_batch(q, 1, 1, NULL));
    ck_assert_ptr_null(queue_pop_until(q, time_mono_ns() + NS_PER_S, NULL));
    queue_free(q);
}
END_TEST

START_TEST(deadline_passes)
{
    struct queue *q = queue_new(10, 1);
    struct job j;
    int64_t start = time_mono_ns();
    ck_assert_ptr_null(queue_pop_until(q, start + 10 * NS_PER_MS, NULL));
    ck_assert_int_ge(time_mono_ns() - start, 10 * NS_PER_MS);
    ck_assert_ok(push(q, LANE_BULK, &j, 1, 1));
    ck_assert_int_eq(id_of(queue_pop_until(q, 0, NULL)), 1);
    queue_free(q);
}
END_TEST

enum { PRODUCERS = 3, CONSUMERS = 3, JOBS = 2000 };
struct crowd {
    struct queue *q;
    struct job jobs[PRODUCERS][JOBS];
    atomic_int next_producer, taken;
    atomic_int seen[PRODUCERS][JOBS];
};

static void produce(void *arg)
{
    struct crowd *c = arg;
    int me = atomic_fetch_add(&c->next_producer, 1);
    for (int i = 0; i < JOBS; i++) {
        struct job *j = &c->jobs[me][i];
        do
            *j = (struct job){ .node.cost = 1 + (size_t)i % 3, .id = i, .producer = me };
        while (queue_push(c->q, i % 2 ? LANE_BULK : LANE_INTERACTIVE, &j->node) == ERR_BUSY);
    }
}

static void consume(void *arg)
{
    struct crowd *c = arg;
    struct queue_node *n;
    while ((n = queue_pop_batch(c->q, 7, 4, NULL)) != NULL) {
        while (n) {
            struct job *j = (struct job *)n;
            n = n->next;
            atomic_fetch_add(&c->seen[j->producer][j->id], 1);
            atomic_fetch_add(&c->taken, 1);
        }
    }
}

START_TEST(many_threads_lose_and_double_nothing)
{
    struct crowd *c = mem_zalloc(1, sizeof *c);
    struct thread p[PRODUCERS] = { 0 }, t[CONSUMERS] = { 0 };
    struct err e = ERR_INIT;
    c->q = queue_new(50, 2);
    for (int i = 0; i < CONSUMERS; i++)
        ck_assert_ok(thread_start(&t[i], "consumer", consume, c, &e), &e);
    for (int i = 0; i < PRODUCERS; i++)
        ck_assert_ok(thread_start(&p[i], "producer", produce, c, &e), &e);
    for (int i = 0; i < PRODUCERS; i++)
        thread_join(&p[i]);
    queue_close(c->q);
    for (int i = 0; i < CONSUMERS; i++)
        thread_join(&t[i]);
    ck_assert_int_eq(atomic_load(&c->taken), PRODUCERS * JOBS);
    for (int i = 0; i < PRODUCERS; i++)
        for (int k = 0; k < JOBS; k++)
            ck_assert_int_eq(atomic_load(&c->seen[i][k]), 1);
    queue_free(c->q);
    mem_free(c);
}
END_TEST

static enum err_code make(void)
{
    struct queue *q = queue_new(1, 1);
    if (!q) return ERR_NOMEM;
    queue_free(q);
    return ERR_OK;
}

START_TEST(out_of_memory)
{
    OOM_LOOP(make);
}
END_TEST

TEST_SUITE(queue)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, first_in_first_out);
    tcase_add_test(tc, refuses_when_full);
    tcase_add_test(tc, bulk_gets_one_in_weight_plus_one);
    tcase_add_test(tc, batches_keep_to_their_budget);
    tcase_add_test(tc, close_lets_waiters_drain);
    tcase_add_test(tc, deadline_passes);
    suite_add_tcase(s, tc);
    tc = tcase_create("threads");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, many_threads_lose_and_double_nothing);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(s, tc);
}
