/* Random lives of an index against the oracle (life.h). One that fails is cut down to what it takes and
 * printed so that it can be run again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/index/life.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

enum { STEPS = 400, LOOPS = 12 };

static void show(const struct life *l, size_t runs)
{
    char *text = life_print(l);
    fprintf(stderr, "cut down in %zu runs to:\n  INDEX_SEED=%llu INDEX_OPS='%s'\n", runs,
        (unsigned long long)l->seed, text);
    mem_free(text);
}

/** The life, in this process: a failure is this test's. */
static void run_here(uint64_t seed, const char *ops, const char *path)
{
    struct life l;
    if (ops)
        life_parse(&l, seed, ops);
    else
        life_init(&l, seed, STEPS);
    l.path = path;
    life_run(&l);
    life_done(&l);
}

/** In a child; if it fails there, what is left of it is run here, so that what it says is the test's own. */
static void run_and_shrink(uint64_t seed, const char *path)
{
    struct life l;
    life_init(&l, seed, STEPS);
    l.path = path;
    if (life_fails(life_run, &l, true)) {
        fprintf(stderr, "INDEX_SEED=%llu fails\n", (unsigned long long)seed);
        size_t runs = life_shrink(&l, life_run);
        show(&l, runs);
        life_run(&l);
        ck_abort_msg("INDEX_SEED=%llu failed, but not again", (unsigned long long)seed);
    }
    life_done(&l);
}

static void random_lives(int i, struct tmpdir *folder)
{
    char path[TMPDIR_PATH_BYTES];
    const char *one = getenv("INDEX_SEED"), *many = getenv("INDEX_SEEDS");
    tmpdir_file(folder, "index", path);
    if (one) {
        if (i == 0) run_here(strtoull(one, NULL, 10), getenv("INDEX_OPS"), path);
        return;
    }
    uint64_t n = many ? strtoull(many, NULL, 10) : test_is_slow_run() ? 1 : 4;
    for (uint64_t seed = (uint64_t)i * 1000; seed < (uint64_t)i * 1000 + n; seed++) {
        if (test_forks())
            run_and_shrink(seed, path);
        else /* one process: the seed is named before it can fail */
            run_here(seed, NULL, path);
    }
}

START_TEST(lives)
{
    struct tmpdir folder;
    tmpdir_make(&folder);
    random_lives(_i, &folder);
    tmpdir_remove(&folder);
}
END_TEST

/* ---- does the cutting down work? ---- */
/** Fails where slot 5 or a later one was deleted, then something was linked, then statistics were asked for. */
static void fails_after_three(const struct life *l)
{
    int seen = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct op *o = &l->ops[i];
        seen += seen == 0 && o->kind == OP_DELETE && o->a >= 5;
        seen += seen == 1 && o->kind == OP_LINK;
        if (seen == 2 && o->kind == OP_STATS) _exit(1);
    }
}

START_TEST(shrinks_to_the_three_it_takes)
{
    size_t found = 0;
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct life l;
        life_init(&l, seed, STEPS);
        if (!life_fails(fails_after_three, &l, true)) continue;
        found++;
        size_t runs = life_shrink(&l, fails_after_three);
        char *text = life_print(&l);
        ck_assert_str_eq(text, "delete 5; link; stats");
        ck_assert_uint_lt(runs, 2000);
        mem_free(text);
        life_done(&l);
    }
    ck_assert_uint_ge(found, 3);
}
END_TEST

/** Crashes count, and so does what is wrong only by way of the index: here an oracle that forgets some deletes. */
static void crashes_at_a_batch(const struct life *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->ops[i].kind == OP_BATCH) abort();
}

START_TEST(shrinks_crashes)
{
    struct life l;
    life_init(&l, 1, STEPS);
    ck_assert(life_fails(crashes_at_a_batch, &l, true));
    life_shrink(&l, crashes_at_a_batch);
    ck_assert_uint_eq(l.n, 1);
    ck_assert(l.ops[0].kind == OP_BATCH && l.ops[0].a + l.ops[0].b + l.ops[0].c == 0);
    life_done(&l);
}
END_TEST

static void run_with_a_wrong_oracle(const struct life *l)
{
    struct life wrong = *l;
    wrong.forgets = true;
    life_run(&wrong);
}

START_TEST(shrinks_real_lives)
{
    if (!test_forks()) return; /* a failed assertion would not end the child */
    struct life l;
    life_init(&l, 3, 120);
    ck_assert(life_fails(run_with_a_wrong_oracle, &l, true));
    life_shrink(&l, run_with_a_wrong_oracle);
    char *text = life_print(&l);
    ck_assert_str_eq(text, "delete");
    mem_free(text);
    life_done(&l);
}
END_TEST

START_TEST(lives_can_be_written_and_read)
{
    struct life l, back;
    life_init(&l, 9, STEPS);
    char *text = life_print(&l);
    life_parse(&back, 9, text);
    char *again = life_print(&back);
    ck_assert_str_eq(text, again);
    ck_assert_uint_eq(l.n, back.n);
    for (size_t i = 0; i < l.n; i++)
        ck_assert(l.ops[i].kind == back.ops[i].kind && l.ops[i].a == back.ops[i].a &&
            l.ops[i].b == back.ops[i].b && l.ops[i].c == back.ops[i].c);
    mem_free(text);
    mem_free(again);
    life_done(&l);
    life_done(&back);
    life_parse(&l, 9, "put 3 4;link 5;; stats ");
    ck_assert_uint_eq(l.n, 2); /* nothing between two semicolons ends it */
    life_done(&l);
}
END_TEST

TEST_SUITE(random)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, lives, 0, LOOPS);
    suite_add_tcase(s, tc);
    tc = tcase_create("shrinking");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, shrinks_to_the_three_it_takes);
    tcase_add_test(tc, shrinks_crashes);
    tcase_add_test(tc, shrinks_real_lives);
    tcase_add_test(tc, lives_can_be_written_and_read);
    suite_add_tcase(s, tc);
}
