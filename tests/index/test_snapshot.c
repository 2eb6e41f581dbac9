/* Saving and loading: what comes back is what was there; what is damaged is refused, whatever is damaged.
 * Tests index/snapshot_save.c, index/snapshot_load.c and index/snapshot_check.c. */
#include "index/snapshot_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/thread.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

static struct tmpdir folder;
static char path[TMPDIR_PATH_BYTES];
static const struct snapshot_mark mark = { .seq = 4711, .label = "words/3" };

static void set_up(void)
{
    tmpdir_make(&folder);
    tmpdir_file(&folder, "index", path);
}
static void tear_down(void)
{
    tmpdir_remove(&folder);
}

/* ---- an index with everything in it ---- */
struct world {
    struct oracle x;
    struct index *ix;
    struct index_scratch *s;
    struct rng r;
};

/** Linked nodes, twins, tombstones, vacant places, vectors that wait. */
static void open_world(struct world *w, const struct index_options *o, size_t n)
{
    struct err e = ERR_INIT;
    float v[INDEX_DIM_MAX];
    size_t worked;
    ck_assert_ok(index_new(o, &w->ix, &e), &e);
    w->s = index_scratch_new();
    oracle_init(&w->x, o, n);
    rng_init(&w->r, 5 + o->dim);
    for (size_t i = 0; i < n - n / 8; i++) {
        if (i % 9 != 8) random_vector(&w->r, v, o->dim); /* else a twin */
        oracle_put(&w->x, w->ix, i, v);
    }
    link_all(w->ix, w->s);
    for (size_t i = 0; i < n - n / 8; i += 5)
        oracle_delete(&w->x, w->ix, i);
    for (size_t i = 0; i < 50; i++)
        ck_assert_ok(index_maintain(w->ix, n, true, w->s, &worked, &e), &e);
    link_all(w->ix, w->s);
    for (size_t i = 1; i < n / 4; i += 5)
        oracle_delete(&w->x, w->ix, i);
    for (size_t i = n - n / 8; i < n; i++) {
        random_vector(&w->r, v, o->dim);
        oracle_put(&w->x, w->ix, i, v);
    }
}

static void close_world(struct world *w)
{
    oracle_done(&w->x);
    index_scratch_free(w->s);
    index_free(w->ix);
}

/** Every way of searching against the oracle. */
static void must_answer(struct world *w, const struct index *ix)
{
    float v[INDEX_DIM_MAX];
    for (size_t i = 0; i < 30; i++) {
        random_vector(&w->r, v, w->x.o.dim);
        struct index_query q = {
            .vector = v, .k = 1 + i, .ef = i % 2 ? 40 : 0, .exact = i % 3 == 0
        };
        double recall = oracle_check(&w->x, ix, &q, w->s, q.exact);
        ck_assert(recall > 0.5);
    }
}

static struct index *load(const struct index_options *o, bool map)
{
    struct err e = ERR_INIT;
    struct index *ix = NULL;
    struct snapshot_mark got;
    ck_assert_ok(index_load(path, o, map, &ix, &got, &e), &e);
    ck_assert_int_eq(got.seq, mark.seq);
    ck_assert_str_eq(got.label, mark.label);
    must_verify(ix);
    return ix;
}

START_TEST(what_was_saved_comes_back)
{
    static const size_t dims[] = { 3, 40, 129 };
    struct err e = ERR_INIT;
    struct world w;
    struct index_stats before, after;
    struct index_options o = small_options(dims[_i % 3], (enum metric_kind)(_i / 3 % 3));
    size_t bytes;
    o.bits = _i < 9 ? 24 : 12;
    open_world(&w, &o, 600);
    index_stats(w.ix, &before);
    ck_assert_ok(index_save(w.ix, path, &mark, &bytes, &e), &e);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq((size_t)st.st_size, bytes);
    for (int map = 0; map < 2; map++) {
        struct index *ix = load(&o, map);
        size_t linked;
        index_stats(ix, &after);
        ck_assert_uint_eq(after.live, before.live);
        ck_assert_uint_eq(after.pending, before.pending);
        ck_assert_uint_eq(after.deleted, before.deleted);
        ck_assert_uint_eq(after.vacant, before.vacant);
        ck_assert_uint_eq(after.max_level, before.max_level);
        if (o.bits == 24) must_answer(&w, ix);
        ck_assert_ok(index_link(ix, 10000, w.s, &linked, &e), &e); /* it lives on */
        ck_assert_uint_eq(linked, before.pending);
        must_verify(ix);
        for (size_t i = 0; i < 60; i++)
            ck_assert_ok(index_maintain(ix, 1000, true, w.s, &linked, &e), &e);
        must_verify(ix);
        index_free(ix);
    }
    close_world(&w);
}
END_TEST

START_TEST(more_than_one_block)
{
    struct err e = ERR_INIT;
    struct index *ix, *back;
    struct index_options o = small_options(1024, INDEX_COSINE); /* few nodes to a block */
    struct index_scratch *s = index_scratch_new();
    struct rng r;
    float v[1024];
    size_t bytes, n, nodes;
    rng_init(&r, 1);
    ck_assert_ok(index_new(&o, &ix, &e), &e);
    nodes = 2 * ((size_t)ix->block_mask + 1) + 77;
    for (size_t i = 0; i < nodes; i++) {
        random_vector(&r, v, o.dim);
        ck_assert_ok(index_put(ix, i, v, &e), &e);
    }
    ck_assert_ok(index_link(ix, 500, s, &n, &e), &e);
    ck_assert_ok(index_save(ix, path, &mark, &bytes, &e), &e);
    for (int map = 0; map < 2; map++) {
        back = load(&o, map);
        for (uint64_t id = 0; id < nodes; id += 97) {
            float a[1024], b[1024];
            ck_assert_ok(index_get(ix, id, a, &e), &e);
            ck_assert_ok(index_get(back, id, b, &e), &e);
            ck_assert_mem_eq(a, b, sizeof a);
        }
        index_free(back);
    }
    index_free(ix);
    index_scratch_free(s);
}
END_TEST

START_TEST(empty_index)
{
    struct err e = ERR_INIT;
    struct index *ix;
    struct index_options o = small_options(64, INDEX_DOT);
    size_t bytes;
    ck_assert_ok(index_new(&o, &ix, &e), &e);
    ck_assert_ok(index_save(ix, path, &mark, &bytes, &e), &e);
    index_free(ix);
    index_free(load(&o, false));
    index_free(load(&o, true));
}
END_TEST

START_TEST(the_curve_is_kept)
{
    struct err e = ERR_INIT;
    struct world w;
    struct index_options o = small_options(40, INDEX_COSINE);
    struct index_curve before, after;
    size_t bytes;
    open_world(&w, &o, 500);
    ck_assert_ok(index_measure(w.ix, NULL, 20, NULL, NULL, w.s, &e), &e);
    index_curve(w.ix, &before);
    ck_assert_ok(index_save(w.ix, path, &mark, &bytes, &e), &e);
    struct index *ix = load(&o, false);
    index_curve(ix, &after);
    ck_assert_mem_eq(&before, &after, sizeof before);
    index_free(ix);
    close_world(&w);
}
END_TEST

/* ---- refusals ---- */
static void must_refuse(const struct index_options *o, enum err_code code, const char *says)
{
    struct err e = ERR_INIT;
    struct index *ix = (void *)&e;
    struct snapshot_mark got = { .seq = 1 };
    for (int map = 0; map < 2; map++) {
        ck_assert_int_eq(index_load(path, o, map, &ix, &got, &e), code);
        ck_assert_msg(strstr(e.msg, says) != NULL, "\"%s\" does not say \"%s\"", e.msg, says);
        ck_assert_ptr_eq(ix, (void *)&e); /* not touched */
        ck_assert_int_eq(got.seq, 1);
    }
}

START_TEST(other_options_are_refused)
{
    struct err e = ERR_INIT;
    struct world w;
    struct index_options o = small_options(40, INDEX_COSINE), other;
    size_t bytes;
    must_refuse(&o, ERR_NOT_FOUND, "there is no");
    open_world(&w, &o, 200);
    ck_assert_ok(index_save(w.ix, path, &mark, &bytes, &e), &e);
    const char *says = "other options";
    other = o;
    other.dim = 41;
    must_refuse(&other, ERR_CORRUPT, says);
    other = o;
    other.metric = INDEX_L2;
    must_refuse(&other, ERR_CORRUPT, says);
    other = o;
    other.m = 9;
    must_refuse(&other, ERR_CORRUPT, says);
    other = o;
    other.bits = 12;
    must_refuse(&other, ERR_CORRUPT, says);
    other = o;
    other.seed = 99;
    must_refuse(&other, ERR_CORRUPT, says);
    other = o;
    other.ef_search = 77; /* no matter */
    index_free(load(&other, false));
    close_world(&w);
}
END_TEST

/** The file of a small index in memory, and its options. */
static char *small_file(struct index_options *ret_o, size_t *ret_n)
{
    struct err e = ERR_INIT;
    struct world w;
    char *p;
    size_t bytes;
    *ret_o = small_options(40, INDEX_COSINE);
    open_world(&w, ret_o, 90);
    ck_assert_ok(index_save(w.ix, path, &mark, &bytes, &e), &e);
    ck_assert_ok(file_read(path, 1 << 24, &p, ret_n, &e), &e);
    close_world(&w);
    return p;
}

static enum err_code try_bytes(const char *p, size_t n, const struct index_options *o)
{
    struct err e = ERR_INIT;
    struct index *ix = NULL;
    struct snapshot_mark got;
    enum err_code code = index_load_bytes(p, n, o, &ix, &got, &e);
    if (code == ERR_OK) index_free(ix);
    return code;
}

START_TEST(every_byte_is_guarded)
{
    struct index_options o;
    size_t n;
    AUTO_FREE char *p = small_file(&o, &n);
    struct snapshot_header h;
    memcpy(&h, p, sizeof h);
    ck_assert_int_eq(try_bytes(p, n, &o), ERR_OK);
    for (size_t at = 0; at < n; at += at < SNAPSHOT_HEADER ? 1 : 7) {
        p[at] ^= 0x10;
        /* Padding between sections is nobody's. */
        bool padding = (at >= h.centre.offset + h.centre.bytes && at < h.upper.offset) ||
            (at >= h.upper.offset + h.upper.bytes && at < h.sums.offset) ||
            (at >= h.sums.offset + h.sums.bytes && at < h.blocks_offset);
        enum err_code code = try_bytes(p, n, &o);
        ck_assert_msg(padding || code == ERR_CORRUPT, "byte %zu of %zu: %s", at, n, err_name(code));
        p[at] ^= 0x10;
    }
}
END_TEST

START_TEST(cut_or_longer)
{
    struct index_options o;
    size_t n;
    AUTO_FREE char *p = small_file(&o, &n);
    AUTO_FREE char *longer = mem_zalloc(n + 100, 1);
    memcpy(longer, p, n);
    for (size_t cut = 0; cut < n; cut += cut < 5000 ? 501 : 97)
        ck_assert_int_eq(try_bytes(p, cut, &o), ERR_CORRUPT);
    ck_assert_int_eq(try_bytes(longer, n + 1, &o), ERR_CORRUPT);
    ck_assert_int_eq(try_bytes(longer, n + 100, &o), ERR_CORRUPT);
}
END_TEST

/* What checksums do not stop: someone who can make them. */
struct forged {
    const char *what;
    size_t at; /* in the array */
    uint32_t value;
    int array; /* 0 links, 1 metas, 2 states, 3 rows */
    size_t bytes;
};

static void seal(char *p, size_t n, const struct block_shape *b)
{
    struct snapshot_header h;
    (void)n;
    memcpy(&h, p, sizeof h);
    const char *block = p + h.blocks_offset;
    struct snapshot_block_sums sums = { checksum64(block, b->links),
        checksum64(block + b->links, b->bytes - b->links) };
    memcpy(p + h.sums.offset, &sums, sizeof sums);
    h.sums.sum = checksum64(p + h.sums.offset, h.sums.bytes);
    h.sum = checksum64(&h, offsetof(struct snapshot_header, sum));
    memcpy(p, &h, sizeof h);
}

/** A size that a file claims is not believed before memory is taken for it. */
START_TEST(forged_counts_are_refused)
{
    struct index_options o;
    size_t n;
    AUTO_FREE char *p = small_file(&o, &n);
    struct snapshot_header h;
    struct index *ix;
    struct snapshot_mark found;
    memcpy(&h, p, sizeof h);
    const uint64_t lives[] = { h.live + 1, (uint64_t)h.n_nodes + 1, 1ull << 28, UINT64_MAX };
    for (size_t i = 0; i < sizeof lives / sizeof *lives; i++) {
        struct err e = ERR_INIT;
        h.live = lives[i];
        h.sum = checksum64(&h, offsetof(struct snapshot_header, sum));
        memcpy(p, &h, sizeof h);
        ck_assert_int_eq(index_load_bytes(p, n, &o, &ix, &found, &e), ERR_CORRUPT);
        if (lives[i] > h.n_nodes) ck_assert_ptr_nonnull(strstr(e.msg, "more ids than places"));
    }
}
END_TEST

START_TEST(forged_nodes_are_refused)
{
    static const struct forged forged[] = {
        { "a link out of range", 0, 90000, 0, 4 },
        { "a hole", 0, NODE_NONE, 0, 4 },
        { "twins out of range", 8, 5000, 1, 4 },
        { "upper lists", 12, 0, 1, 4 },
        { "state", 0, 2, 2, 2 },
        { "level without lists", 1, 3, 2, 1 },
        { "level too high", 1, 200, 2, 1 },
        { "scale", 0, 0x7fc00000, 3, 4 },
        { "norm", 4, 0x7f800000, 3, 4 },
    };
    struct index_options o;
    size_t n;
    AUTO_FREE char *p = small_file(&o, &n);
    AUTO_FREE char *q = mem_alloc(n, 1);
    struct snapshot_header h;
    struct index *ix;
    struct err e = ERR_INIT;
    memcpy(&h, p, sizeof h);
    ck_assert_ok(index_new(&o, &ix, &e), &e);
    struct block_shape b = index__shape(ix, h.n_nodes);
    const size_t starts[] = { b.links, b.meta, b.state, 0 };
    const size_t strides[] = { ix->m0 * 4, sizeof(struct node_meta), 2, ix->row_bytes };
    for (size_t f = 0; f < sizeof forged / sizeof *forged; f++) {
        size_t refused = 0;
        for (size_t node = 0; node < h.n_nodes; node++) {
            memcpy(q, p, n);
            memcpy(q + h.blocks_offset + starts[forged[f].array] + node * strides[forged[f].array] +
                    forged[f].at,
                &forged[f].value, forged[f].bytes);
            seal(q, n, &b);
            enum err_code code = try_bytes(q, n, &o);
            ck_assert(code == ERR_OK || code == ERR_CORRUPT);
            refused += code == ERR_CORRUPT;
        }
        ck_assert_msg(refused > 0, "%s was never refused", forged[f].what);
    }
    index_free(ix);
}
END_TEST

START_TEST(a_save_that_fails_leaves_the_old_one)
{
    struct err e = ERR_INIT;
    struct world w;
    struct index_options o = small_options(40, INDEX_L2);
    char nowhere[TMPDIR_PATH_BYTES], tmp[TMPDIR_PATH_BYTES];
    size_t bytes;
    struct stat st;
    open_world(&w, &o, 100);
    ck_assert_ok(index_save(w.ix, path, &mark, &bytes, &e), &e);
    tmpdir_file(&folder, "no/folder", nowhere);
    ck_assert_int_eq(index_save(w.ix, nowhere, &mark, &bytes, &e), ERR_IO);
    tmpdir_file(&folder, "index.tmp", tmp);
    ck_assert_int_eq(mkdir(tmp, 0700), 0); /* stands where the new one would be written */
    ck_assert_int_eq(index_save(w.ix, path, &mark, &bytes, &e), ERR_IO);
    index_free(load(&o, false));
    ck_assert_int_eq(rmdir(tmp), 0);
    ck_assert_ok(index_save(w.ix, path, &mark, &bytes, &e), &e);
    ck_assert_int_ne(stat(tmp, &st), 0);
    close_world(&w);
}
END_TEST

/* ---- while it serves ---- */
struct busy {
    struct index *ix;
    atomic_bool stop;
    uint64_t first;
};

static void be_busy(void *arg)
{
    struct busy *b = arg;
    struct index_scratch *s = index_scratch_new();
    struct err e = ERR_INIT;
    struct rng r;
    float v[40];
    rng_init(&r, b->first);
    while (!atomic_load(&b->stop)) {
        uint64_t id = b->first + rng_below(&r, 300);
        size_t n;
        random_vector(&r, v, 40);
        if (rng_below(&r, 3) == 0)
            (void)index_delete(b->ix, id);
        else
            ck_assert_ok(index_put(b->ix, id, v, &e), &e);
        ck_assert_ok(index_link(b->ix, 2, s, &n, &e), &e);
        ck_assert_ok(index_maintain(b->ix, 50, false, s, &n, &e), &e);
    }
    index_scratch_free(s);
}

START_TEST(while_it_is_written_to)
{
    struct err e = ERR_INIT;
    struct index_options o = small_options(40, INDEX_COSINE);
    struct index *ix;
    struct index_scratch *s = index_scratch_new();
    struct rng r;
    float v[40], still[200][40];
    size_t n, bytes;
    rng_init(&r, 77);
    ck_assert_ok(index_new(&o, &ix, &e), &e);
    for (uint64_t id = 0; id < 200; id++) { /* these are let alone, and must be in each snapshot */
        random_vector(&r, still[id], 40);
        ck_assert_ok(index_put(ix, id, still[id], &e), &e);
    }
    struct busy busy[2] = { { .ix = ix, .first = 1000 }, { .ix = ix, .first = 2000 } };
    struct thread t[2];
    for (size_t i = 0; i < 2; i++)
        ck_assert_ok(thread_start(&t[i], "busy", be_busy, &busy[i], &e), &e);
    for (size_t round = 0; round < 25; round++) {
        ck_assert_ok(index_save(ix, path, &mark, &bytes, &e), &e);
        struct index *back = load(&o, round % 2);
        for (uint64_t id = 0; id < 200; id++) {
            float a[40];
            ck_assert_ok(index_get(ix, id, v, &e), &e);
            ck_assert_ok(index_get(back, id, a, &e), &e);
            for (size_t d = 0; d < 40; d++)
                ck_assert_float_eq_tol(a[d], v[d], 1e-6f);
        }
        index_free(back);
    }
    for (size_t i = 0; i < 2; i++) {
        atomic_store(&busy[i].stop, true);
        thread_join(&t[i]);
    }
    ck_assert_ok(index_link(ix, 100000, s, &n, &e), &e);
    must_verify(ix);
    index_scratch_free(s);
    index_free(ix);
}
END_TEST

TEST_SUITE(snapshot)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, what_was_saved_comes_back, 0, 18);
    tcase_add_test(tc, more_than_one_block);
    tcase_add_test(tc, empty_index);
    tcase_add_test(tc, the_curve_is_kept);
    tcase_add_test(tc, other_options_are_refused);
    tcase_add_test(tc, every_byte_is_guarded);
    tcase_add_test(tc, cut_or_longer);
    tcase_add_test(tc, forged_counts_are_refused);
    tcase_add_test(tc, forged_nodes_are_refused);
    tcase_add_test(tc, a_save_that_fails_leaves_the_old_one);
    tcase_add_test(tc, while_it_is_written_to);
    suite_add_tcase(s, tc);
}
