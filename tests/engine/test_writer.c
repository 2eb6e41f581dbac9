#include "tests/engine/rig.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rig r;

static void setup(void)
{
    rig_init(&r);
    rig_open(&r);
}
static void teardown(void)
{
    rig_done(&r);
}

static struct upsert_item item_of(const char *key, const char *text)
{
    return (
        struct upsert_item){ .key = str_from(key), .text = str_from(text), .metadata = STR("{}") };
}

static void sleep_ms(int ms)
{
    usleep((useconds_t)ms * 1000);
}

/* ---- a gate in the writer's way ---- */

static atomic_bool gate_closed, gate_reached;
static bool wait_at_gate(void)
{
    atomic_store(&gate_reached, true);
    while (atomic_load(&gate_closed))
        sleep_ms(1);
    return false;
}

/* Three writes of which the last, thought to be unchanged, is stale when its turn comes. */
struct race {
    struct call calls[3];
    struct upsert_item items[3];
    struct upsert_op ops[3];
};

static void race_begin(struct race *x, bool (*at_publication)(void))
{
    struct err e = ERR_INIT;
    rig_put(&r, "default", "x", "w1", NULL);
    rig_reopen(&r);
    r.g->writer.fail_publish = at_publication;
    atomic_store(&gate_closed, true);
    atomic_store(&gate_reached, false);
    x->items[0] = item_of("z", "w9");
    x->items[1] = item_of("x", "w2");
    x->items[2] = item_of("x", "w1");
    for (size_t i = 0; i < 3; i++) {
        call_init(&x->calls[i]);
        x->ops[i] = (struct upsert_op){
            .collection = STR("default"), .items = &x->items[i], .n = 1, .all_or_nothing = true
        };
        call_begin(&x->calls[i], &x->ops[i].op);
        ck_assert_ok(engine_upsert(r.g, &x->ops[i], &e), &e);
        /* The first is being published; the others wait in the queue, in this order. */
        while (
            i == 0 ? !atomic_load(&gate_reached) : queue_length(r.g->writer.queue, LANE_BULK) < i)
            sleep_ms(1);
    }
}

/* Open the gate; what became of each. */
static void race_end(struct race *x, enum err_code codes[3])
{
    atomic_store(&gate_closed, false);
    for (size_t i = 0; i < 3; i++) {
        codes[i] = call_wait(&x->calls[i], &x->ops[i].op, ERR_OK, NULL);
        call_done(&x->calls[i]);
    }
}

START_TEST(stale_item_is_written_in_a_second_round)
{
    struct race x;
    enum err_code codes[3];
    race_begin(&x, wait_at_gate);
    double before = rig_tokens_encoded();
    race_end(&x, codes);
    for (size_t i = 0; i < 3; i++)
        ck_assert_err(codes[i], ERR_OK);
    ck_assert(rig_tokens_encoded() == before + 1); /* "w1", after all */
    ck_assert_int_eq(x.items[1].outcome, UPSERT_REPLACED);
    ck_assert_int_eq(x.items[2].outcome, UPSERT_REPLACED);
    char key[64];
    CALL c;
    call_init(&c);
    rig_find(&r, "default", "w1", 1, key);
    ck_assert_str_eq(key, "x");
    struct search_op s = { .collection = STR("default"), .text = STR("w1"), .k = 1 };
    ck_assert_ok(rig_search(&r, &c, &s), &s.op.err);
    ck_assert(s.hits[0].score > 0.999f);
}
END_TEST

/* The disk is full from the moment that "w2" is committed and published. */
static bool wait_at_gate_then_fill(void)
{
    if (atomic_load(&gate_reached)) fault_disk_full(true);
    return wait_at_gate();
}

START_TEST(second_round_that_fails_is_an_error)
{
    struct race x;
    enum err_code codes[3];
    race_begin(&x, wait_at_gate_then_fill);
    race_end(&x, codes);
    fault_disk_full(false);
    ck_assert_err(codes[0], ERR_OK);
    ck_assert_err(codes[1], ERR_OK);
    ck_assert_err(codes[2], ERR_FULL);
    char key[64];
    rig_find(&r, "default", "w2", 1, key);
    ck_assert_str_eq(key, "x");
    rig_check_items(&r, "default", 2);
}
END_TEST

START_TEST(many_requests_share_a_commit)
{
    enum { N = 100 };
    static struct call calls[N];
    static struct upsert_item items[N];
    static struct upsert_op ops[N];
    static char keys[N][16];
    struct err e = ERR_INIT;
    rig_put(&r, "default", "first", "w1", NULL);
    rig_close(&r);
    rig_open(&r);
    r.g->writer.fail_publish = wait_at_gate;
    atomic_store(&gate_closed, true);
    atomic_store(&gate_reached, false);
    for (size_t i = 0; i < N; i++) {
        call_init(&calls[i]);
        snprintf(keys[i], sizeof keys[i], "k%zu", i);
        items[i] = item_of(keys[i], i == 50 ? "w1 \xff" : "w1 w2");
        ops[i] = (struct upsert_op){
            .collection = STR("default"), .items = &items[i], .n = 1, .all_or_nothing = true
        };
        call_begin(&calls[i], &ops[i].op);
        ck_assert_ok(engine_upsert(r.g, &ops[i], &e), &e);
        while (!atomic_load(&gate_reached)) /* the first is being published */
            sleep_ms(1);
    }
    while (queue_length(r.g->writer.queue, LANE_BULK) < N - 2)
        sleep_ms(1);
    double before = rig_metric("kindred_commits_total");
    atomic_store(&gate_closed, false);
    for (size_t i = 0; i < N; i++) {
        ck_assert_err(
            call_wait(&calls[i], &ops[i].op, ERR_OK, NULL), i == 50 ? ERR_INVALID : ERR_OK);
        call_done(&calls[i]);
    }
    ck_assert(rig_metric("kindred_commits_total") == before + 1);
    rig_check_items(&r, "default", N);
}
END_TEST

START_TEST(full_disk_writes_nothing_and_recovers)
{
    CALL c;
    call_init(&c);
    char key[64];
    rig_put_many(&r, "default", 0, 50);
    fault_disk_full(true);
    struct upsert_item item = item_of("late", "w200 w201");
    struct upsert_op op = { .collection = STR("default"), .items = &item, .n = 1 };
    ck_assert_err(rig_upsert(&r, &c, &op), ERR_FULL);
    struct collection_op col = { .action = COLLECTION_PUT,
        .spec = { .name = STR("v"), .modality = MODALITY_VECTOR, .dimensions = 3 } };
    ck_assert_err(rig_collection(&r, &c, &col), ERR_FULL);
    struct collection_op del = { .action = COLLECTION_DELETE, .spec = { .name = STR("default") } };
    ck_assert_err(rig_collection(&r, &c, &del), ERR_FULL);         /* and it is still there: */
    ck_assert_uint_eq(rig_find(&r, "default", "w1", 60, key), 50); /* reads go on */
    fault_disk_full(false);
    rig_check_items(&r, "default", 50);
    ck_assert_ok(rig_upsert(&r, &c, &op), &op.op.err);
    ck_assert_int_eq(item.outcome, UPSERT_NEW);
    ck_assert_ok(rig_collection(&r, &c, &col), &col.op.err);
    rig_reopen(&r);
    rig_check_items(&r, "default", 51);
}
END_TEST

/* ---- dirty ---- */

static atomic_int fail_left;
static bool fail_some(void)
{
    int left = atomic_load(&fail_left);
    if (left > 0) atomic_store(&fail_left, left - 1);
    return left > 0;
}

START_TEST(what_was_not_published_is_repaired)
{
    rig_close(&r);
    rig_open(&r);
    r.g->writer.fail_publish = fail_some;
    atomic_store(&fail_left, 30);
    rig_put_many(&r, "default", 0, 40); /* acknowledged all the same */
    ck_assert_err(rig_remove(&r, "default", "k1"), ERR_OK);
    size_t found = 0;
    for (int i = 0; i < 1000 && found < 39; i++) {
        found = rig_find(&r, "default", "w1", 100, NULL);
        sleep_ms(10);
    }
    ck_assert_uint_eq(found, 39);
    rig_check_items(&r, "default", 39);
}
END_TEST

/* A repair that is under way when the engine closes. The first publication fails; the repair of it waits at
 * the gate, and goes on (in vain) while the threads are being stopped. */
static atomic_int publications;
static bool fail_and_wait(void)
{
    if (atomic_fetch_add(&publications, 1) > 0) sleep_ms(300);
    return true;
}

START_TEST(close_in_the_middle_of_a_repair)
{
    rig_close(&r);
    rig_open(&r);
    atomic_store(&publications, 0);
    r.g->writer.fail_publish = fail_and_wait;
    rig_put(&r, "default", "x", "w1", NULL);
    while (atomic_load(&publications) < 2)
        sleep_ms(1);
    rig_reopen(&r);
    char key[64] = "";
    ck_assert_uint_eq(rig_find(&r, "default", "w1", 1, key), 1);
    ck_assert_str_eq(key, "x");
}
END_TEST

/* ---- closing ---- */

START_TEST(close_finishes_what_was_accepted)
{
    enum { N = 200 };
    static struct call calls[N];
    static struct upsert_item items[N];
    static struct upsert_op ops[N];
    static char keys[N][16];
    struct err e = ERR_INIT;
    for (size_t i = 0; i < N; i++) {
        call_init(&calls[i]);
        snprintf(keys[i], sizeof keys[i], "k%zu", i);
        items[i] = item_of(keys[i], "w1 w2 w3");
        ops[i] = (struct upsert_op){ .collection = STR("default"), .items = &items[i], .n = 1 };
        call_begin(&calls[i], &ops[i].op);
        ck_assert_ok(engine_upsert(r.g, &ops[i], &e), &e);
    }
    rig_close(&r);
    for (size_t i = 0; i < N; i++) {
        ck_assert(calls[i].done);
        ck_assert_err(ops[i].op.err.code, ERR_OK);
        call_done(&calls[i]);
    }
    rig_open(&r);
    rig_check_items(&r, "default", N);
}
END_TEST

START_TEST(imports_wait_for_the_graph_others_do_not)
{
    rig_close(&r);
    rig_set(&r, "index.pending_max", "100");
    rig_set(&r, "index.link_threads", "1");
    rig_open(&r);
    for (size_t i = 0; i < 10; i++)
        rig_put_many(&r, "default", i * 200, 200);
    rig_put(&r, "default", "single", "w1 w2", NULL);
    rig_check_items(&r, "default", 2001);
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    struct collection_info info;
    ck_assert_ok(engine_collection_get(r.g, STR("default"), c.arena, &info, &e), &e);
    ck_assert_uint_le(info.index.pending, 100 + 200 + 1);
}
END_TEST

/* ---- kill -9 ---- */

static void child_writes(int fd)
{
    struct rig mine = r;
    struct err e = ERR_INIT;
    if (engine_open(&mine.cfg, &mine.g, &e) != ERR_OK) _exit(1);
    for (uint32_t i = 0;; i++) {
        rig_put_many(&mine, "default", (size_t)i * 20, 20);
        if (write(fd, &i, sizeof i) != sizeof i) _exit(2);
    }
}

START_TEST(killed_in_the_middle)
{
    rig_close(&r);
    uint32_t acked = 0;
    for (int round = 0; round < 3; round++) {
        int fds[2];
        ck_assert_int_eq(pipe(fds), 0);
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            close(fds[0]);
            child_writes(fds[1]);
        }
        close(fds[1]);
        uint32_t last = 0, i;
        int status;
        while (last < 10 + (uint32_t)round * 3 && read(fds[0], &i, sizeof i) == sizeof i)
            last = i;
        kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
        while (read(fds[0], &i, sizeof i) == sizeof i)
            last = i;
        close(fds[0]);
        if (last > acked) acked = last;
        rig_open(&r);
        size_t want = ((size_t)acked + 1) * 20, count;
        struct err e = ERR_INIT;
        CALL c;
        call_init(&c);
        ck_assert_ok(engine_items_count(r.g, STR("default"), NULL, 0, &count, &e), &e);
        ck_assert_uint_ge(count, want);
        rig_check_items(&r, "default", count);
        for (size_t k = 0; k < want; k += 7) {
            char key[64], text[64], name[32];
            rig_text(k, text);
            snprintf(name, sizeof name, "k%zu", k);
            ck_assert_uint_eq(rig_find(&r, "default", text, 1, key), 1);
            ck_assert_str_eq(key, name);
        }
        rig_close(&r);
    }
    rig_open(&r);
}
END_TEST

/* ---- all at once ---- */

enum { WRITERS = 4, ROUNDS = 12, PER_ROUND = 25 };
static atomic_bool stop_readers;

static void write_much(void *arg)
{
    size_t me = (size_t)(uintptr_t)arg;
    for (size_t i = 0; i < ROUNDS; i++) {
        size_t first = (me * ROUNDS + i) * PER_ROUND;
        char key[32];
        rig_put_many(&r, "default", first, PER_ROUND);
        snprintf(key, sizeof key, "k%zu", first + i);
        ck_assert_err(rig_remove(&r, "default", key), ERR_OK);
    }
}
static void read_much(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;
    while (!atomic_load(&stop_readers)) {
        CALL c;
        call_init(&c);
        char text[64];
        rig_text(i++, text);
        struct search_op op = { .collection = STR("default"),
            .text = str_from(text),
            .k = 5,
            .exact = i % 3 == 0,
            .with = VIEW_TEXT | VIEW_METADATA };
        ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
        for (size_t h = 0; h < op.n_hits; h++)
            ck_assert(op.hits[h].key.n && op.hits[h].text.p);
    }
}

START_TEST(writers_and_readers_at_once)
{
    struct thread writers[WRITERS] = { 0 }, readers[2] = { 0 };
    struct err e = ERR_INIT;
    atomic_store(&stop_readers, false);
    for (size_t i = 0; i < 2; i++)
        ck_assert_ok(thread_start(&readers[i], "read", read_much, (void *)i, &e), &e);
    for (size_t i = 0; i < WRITERS; i++)
        ck_assert_ok(thread_start(&writers[i], "write", write_much, (void *)i, &e), &e);
    for (size_t i = 0; i < WRITERS; i++)
        thread_join(&writers[i]);
    atomic_store(&stop_readers, true);
    for (size_t i = 0; i < 2; i++)
        thread_join(&readers[i]);
    rig_check_items(&r, "default", WRITERS * ROUNDS * (PER_ROUND - 1));

    AUTO_COLLECTION struct collection *col = registry_find(&r.g->registry, STR("default"));
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    struct index_stats stats;
    for (index_stats(gen->index, &stats); stats.pending; index_stats(gen->index, &stats))
        sleep_ms(5);
    ck_assert_ok(index_verify(gen->index, &e), &e);
}
END_TEST

TEST_SUITE(writer)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, stale_item_is_written_in_a_second_round);
    tcase_add_test(tc, second_round_that_fails_is_an_error);
    tcase_add_test(tc, many_requests_share_a_commit);
    tcase_add_test(tc, full_disk_writes_nothing_and_recovers);
    tcase_add_test(tc, what_was_not_published_is_repaired);
    tcase_add_test(tc, close_in_the_middle_of_a_repair);
    tcase_add_test(tc, close_finishes_what_was_accepted);
    tcase_add_test(tc, imports_wait_for_the_graph_others_do_not);
    tcase_add_test(tc, killed_in_the_middle);
    tcase_add_test(tc, writers_and_readers_at_once);
    suite_add_tcase(s, tc);
}
