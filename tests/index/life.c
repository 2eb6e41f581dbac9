/* Lives; see life.h. */
#include "tests/index/life.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "index/force.h"
#include "index/index_internal.h"
#include "index/snapshot.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

enum { SLOTS = 200, DIM_MOST = 300, VECTORS = 400, FINAL_QUERIES = 5 };

static const char *const names[OP_KINDS] = { [OP_PUT] = "put",
    [OP_SAME] = "same",
    [OP_NEAR] = "near",
    [OP_DELETE] = "delete",
    [OP_LINK] = "link",
    [OP_MAINTAIN] = "maintain",
    [OP_SEARCH] = "search",
    [OP_RANGE] = "range",
    [OP_FILTER] = "filter",
    [OP_BATCH] = "batch",
    [OP_GET] = "get",
    [OP_STATS] = "stats",
    [OP_ENTER] = "enter",
    [OP_LEAVE] = "leave",
    [OP_FAIL] = "fail",
    [OP_RELOAD] = "reload",
    [OP_VERIFY] = "verify" };

/* ---- made, written, read ---- */
static struct index_options options_of(uint64_t seed)
{
    static const size_t dims[] = { 1, 2, 3, 7, 16, 31, 32, 33, 64, 257 };
    struct rng r;
    rng_init(&r, seed ^ 0x6f7074696f6e73);
    struct index_options o =
        small_options(dims[rng_below(&r, 10)], (enum metric_kind)rng_below(&r, 3));
    o.m = 6 + rng_below(&r, 10); /* with fewer links some nodes may stay unreachable */
    o.ef_construction = 16 + rng_below(&r, 60);
    o.bits = rng_below(&r, 3) ? 24 : 12;
    o.seed = seed;
    return o;
}

void life_init(struct life *l, uint64_t seed, size_t n)
{
    /* how often each kind comes, before the seed favours some */
    static const unsigned often[OP_KINDS] = { [OP_PUT] = 30,
        [OP_SAME] = 8,
        [OP_NEAR] = 6,
        [OP_DELETE] = 16,
        [OP_LINK] = 16,
        [OP_MAINTAIN] = 12,
        [OP_SEARCH] = 8,
        [OP_RANGE] = 2,
        [OP_FILTER] = 4,
        [OP_BATCH] = 1,
        [OP_GET] = 2,
        [OP_STATS] = 2,
        [OP_ENTER] = 2,
        [OP_LEAVE] = 2,
        [OP_FAIL] = 3,
        [OP_RELOAD] = 1,
        [OP_VERIFY] = 2 };
    uint64_t weights[OP_KINDS], all = 0;
    struct rng r;
    rng_init(&r, seed);
    for (size_t k = 0; k < OP_KINDS; k++)
        all += weights[k] = often[k] * (1 + rng_below(&r, 4));
    *l = (struct life){ .seed = seed, .ops = mem_alloc(n, sizeof *l->ops), .n = n };
    ck_assert_ptr_nonnull(l->ops);
    for (size_t i = 0; i < n; i++) {
        uint64_t dice = rng_below(&r, all);
        size_t kind = 0;
        for (; dice >= weights[kind]; kind++)
            dice -= weights[kind];
        l->ops[i] = (struct op){ .kind = (enum op_kind)kind,
            .a = (unsigned)rng_below(&r, SLOTS),
            .b = (unsigned)rng_below(&r, VECTORS),
            .c = (unsigned)rng_below(&r, SLOTS) };
    }
}

void life_done(struct life *l)
{
    mem_free(l->ops);
    l->ops = NULL;
}

char *life_print(const struct life *l)
{
    char *text = mem_zalloc(l->n + 1, 64), *at = text;
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < l->n; i++) {
        const struct op *o = &l->ops[i];
        at += sprintf(at, "%s%s", i ? "; " : "", names[o->kind]);
        if (o->a | o->b | o->c) at += sprintf(at, " %u", o->a);
        if (o->b | o->c) at += sprintf(at, " %u", o->b);
        if (o->c) at += sprintf(at, " %u", o->c);
    }
    return text;
}

static enum op_kind kind_of(const char *name)
{
    for (size_t k = 0; k < OP_KINDS; k++)
        if (strcmp(name, names[k]) == 0) return (enum op_kind)k;
    ck_abort_msg("no operation is called \"%s\"", name);
}

void life_parse(struct life *l, uint64_t seed, const char *text)
{
    size_t most = 1;
    for (const char *p = text; *p; p++)
        most += *p == ';';
    *l = (struct life){ .seed = seed, .ops = mem_zalloc(most, sizeof *l->ops) };
    ck_assert_ptr_nonnull(l->ops);
    while (*text) {
        char name[16];
        struct op *o = &l->ops[l->n];
        if (sscanf(text, " %15[a-z] %u %u %u", name, &o->a, &o->b, &o->c) < 1) break;
        o->kind = kind_of(name);
        l->n++;
        text += strcspn(text, ";");
        text += *text == ';';
    }
}

/* ---- run ---- */
struct being {
    const struct life *l;
    struct index_options o;
    struct oracle x;
    struct index *ix;
    struct index_scratch *s;
    bool inside; /* a reader is */
    unsigned token;
    long fail; /* -1, or the allocation that the next operation does not get */
};

static void vector_of(const struct being *t, unsigned number, float *ret)
{
    struct rng r;
    number %= VECTORS;
    rng_init(&r, number);
    random_vector(&r, ret, t->o.dim);
    if (number == 0 && t->o.metric != INDEX_COSINE) memset(ret, 0, t->o.dim * sizeof *ret);
}

/** Between the two an allocation fails if OP_FAIL said so. */
static void begin_failing(struct being *t)
{
    if (t->fail >= 0) mem_fail_after(t->fail);
}
/** Was it in the way? Then the operation is done again. */
static bool end_failing(struct being *t, enum err_code code, const struct err *e)
{
    bool armed = t->fail >= 0;
    if (armed) mem_fail_after(-1);
    t->fail = -1;
    if (armed && code == ERR_NOMEM) return true;
    ck_assert_ok(code, e);
    return false;
}

static void put_vector(struct being *t, unsigned slot, const float *v)
{
    struct err e = ERR_INIT;
    bool zero = true;
    for (size_t d = 0; d < t->o.dim; d++)
        zero &= v[d] <= 0 && v[d] >= 0;
    if (zero && t->o.metric == INDEX_COSINE) return;
    begin_failing(t);
    enum err_code code = index_put(t->ix, oracle_id(slot), v, &e);
    if (end_failing(t, code, &e)) oracle_get(&t->x, t->ix, slot); /* nothing has changed */
    oracle_put(&t->x, t->ix, slot, v);
}

static void put(struct being *t, const struct op *o)
{
    float v[DIM_MOST];
    unsigned slot = o->a % SLOTS;
    const float *other = t->x.v + o->b % SLOTS * t->o.dim;
    struct rng r;
    rng_init(&r, o->a);
    if (o->kind == OP_PUT)
        vector_of(t, o->b, v);
    else
        memcpy(v, other, t->o.dim * sizeof *v);
    for (size_t d = 0; o->kind == OP_NEAR && d < t->o.dim; d++)
        v[d] += (float)(pow(10, -(double)(o->c % 8)) * rng_normal(&r));
    put_vector(t, slot, v);
}

static void delete (struct being *t, const struct op *o)
{
    unsigned slot = o->a % SLOTS;
    oracle_delete(&t->x, t->ix, slot);
    if (t->l->forgets && slot % 7 == 0) t->x.live[slot] = true;
}

static void leave(struct being *t)
{
    if (t->inside) epoch__leave(t->ix, t, t->token);
    t->inside = false;
}

static void link_some(struct being *t, const struct op *o)
{
    struct err e = ERR_INIT;
    size_t n;
    if (codes__wants_centre(t->ix)) leave(t); /* that waits until nobody is inside */
    begin_failing(t);
    enum err_code code = index_link(t->ix, o->a % 16, t->s, &n, &e);
    if (end_failing(t, code, &e)) ck_assert_ok(index_link(t->ix, o->a % 16, t->s, &n, &e), &e);
    ck_assert_uint_le(n, o->a % 16);
}

static void maintain(struct being *t, const struct op *o)
{
    struct err e = ERR_INIT;
    size_t n;
    begin_failing(t);
    enum err_code code = index_maintain(t->ix, o->a, o->b % 2, t->s, &n, &e);
    if (end_failing(t, code, &e))
        ck_assert_ok(index_maintain(t->ix, o->a, o->b % 2, t->s, &n, &e), &e);
}

static void search(struct being *t, struct index_query *q, bool exact)
{
    struct index_hit hits[300];
    struct err e = ERR_INIT;
    size_t n;
    q->k = 1 + q->k % 300;
    begin_failing(t);
    enum err_code code = index_search(t->ix, q, t->s, hits, &n, NULL, &e);
    if (end_failing(t, code, &e))
        ck_assert_ok(index_search(t->ix, q, t->s, hits, &n, NULL, &e), &e);
    oracle_judge(&t->x, q, hits, n, exact || q->exact);
}

static void ask(struct being *t, const struct op *o)
{
    float v[DIM_MOST];
    uint64_t bits[SLOTS * 3 / 64 + 1] = { 0 };
    struct index_allow allow = { .bits = bits, .n_bits = SLOTS * 3 };
    vector_of(t, o->b ? o->b : 1, v);
    struct index_query q = {
        .vector = v, .k = o->a, .ef = o->c % 3 ? 1 : 0, .exact = o->c % 4 == 3
    };
    bool scan = false;
    if (o->kind == OP_RANGE) {
        q.has_min_score = true;
        q.min_score = (float)oracle_score(&t->x, o->c % SLOTS, v);
        if (isnan(q.min_score)) q.min_score = 0; /* a slot that was never put has no cosine */
    } else if (o->kind == OP_FILTER) {
        struct rng r;
        rng_init(&r, o->c);
        for (size_t slot = 0; slot < SLOTS; slot++)
            if (rng_below(&r, 7) < o->c % 7 && oracle_id(slot) < allow.n_bits)
                allow_id(bits, &allow, oracle_id(slot));
        q.allow = &allow;
        enum index_forced way = (enum index_forced)(o->c / 7 % (INDEX_FORCE_TWO_HOP + 1));
        scan = way == INDEX_FORCE_SCAN_IDS || way == INDEX_FORCE_SCAN_ALL;
        if (!q.exact) index_force(t->s, way);
    } else if (o->c % 5 == 0 && !q.exact) {
        index_force(t->s, INDEX_FORCE_WALK);
    }
    search(t, &q, scan);
    index_force(t->s, INDEX_FORCE_NONE);
}

static void ask_batch(struct being *t, const struct op *o)
{
    enum { MOST = 6, K = 20 };
    float v[MOST][DIM_MOST];
    struct index_query q[MOST];
    struct index_hit hits[MOST][K], *ret_hits[MOST];
    size_t n = o->c % (MOST + 1), ret_n[MOST], failed;
    struct err e = ERR_INIT;
    for (size_t i = 0; i < n; i++) {
        vector_of(t, o->b + (unsigned)i, v[i]);
        if (t->o.metric == INDEX_COSINE && (o->b + i) % VECTORS == 0) v[i][0] = 1;
        q[i] = (struct index_query){ .vector = v[i], .k = 1 + (o->a + i) % K, .exact = i % 2 };
        ret_hits[i] = hits[i];
    }
    begin_failing(t);
    enum err_code code = index_search_batch(t->ix, q, n, t->s, ret_hits, ret_n, &failed, &e);
    if (end_failing(t, code, &e)) {
        ck_assert_uint_lt(failed, n);
        ck_assert_ok(index_search_batch(t->ix, q, n, t->s, ret_hits, ret_n, &failed, &e), &e);
    }
    for (size_t i = 0; i < n; i++)
        oracle_judge(&t->x, &q[i], hits[i], ret_n[i], q[i].exact);
}

static void check_stats(const struct being *t)
{
    struct index_stats st;
    index_stats(t->ix, &st);
    ck_assert_uint_eq(st.live, oracle_live(&t->x));
    ck_assert_uint_le(st.pending, st.live);
    ck_assert_uint_eq(st.dim, t->o.dim);
    ck_assert_uint_gt(st.size_bytes, 0);
}

static void reload(struct being *t, const struct op *o)
{
    struct err e = ERR_INIT;
    struct snapshot_mark mark = { .seq = o->a, .label = "a life" }, back;
    struct index *loaded = NULL;
    size_t bytes;
    if (!t->l->path || t->l->seed % 2) return;
    begin_failing(t);
    enum err_code code = index_save(t->ix, t->l->path, &mark, &bytes, &e);
    long after = t->fail;
    if (end_failing(t, code, &e))
        ck_assert_ok(index_save(t->ix, t->l->path, &mark, &bytes, &e), &e);
    if (after > 5) { /* then in loading */
        t->fail = after - 5;
        begin_failing(t);
    }
    code = index_load(t->l->path, &t->o, o->a % 2, &loaded, &back, &e);
    if (end_failing(t, code, &e))
        ck_assert_ok(index_load(t->l->path, &t->o, o->a % 2, &loaded, &back, &e), &e);
    ck_assert(back.seq == mark.seq && strcmp(back.label, mark.label) == 0);
    leave(t);
    index_free(t->ix);
    t->ix = loaded;
    must_verify(t->ix);
}

static void step(struct being *t, const struct op *o)
{
    switch (o->kind) {
    case OP_PUT:
    case OP_SAME:
    case OP_NEAR: put(t, o); break;
    case OP_DELETE: delete (t, o); break;
    case OP_LINK: link_some(t, o); break;
    case OP_MAINTAIN: maintain(t, o); break;
    case OP_SEARCH:
    case OP_RANGE:
    case OP_FILTER: ask(t, o); break;
    case OP_BATCH: ask_batch(t, o); break;
    case OP_GET: oracle_get(&t->x, t->ix, o->a % SLOTS); break;
    case OP_STATS: check_stats(t); break;
    case OP_ENTER:
        if (!t->inside) t->token = epoch__enter(t->ix, t);
        t->inside = true;
        break;
    case OP_LEAVE: leave(t); break;
    case OP_FAIL: t->fail = (long)(o->a % 32); return;
    case OP_RELOAD: reload(t, o); break;
    case OP_VERIFY: must_verify(t->ix); break;
    case OP_KINDS: ck_abort();
    }
    t->fail = -1;
}

/** Whatever has happened: linked and repaired to the end it is whole, and finds what it has. */
static void finish(struct being *t)
{
    leave(t);
    must_verify(t->ix);
    oracle_compare(&t->x, t->ix);
    maintain_all(t->ix, t->s, true);
    must_verify(t->ix);
    oracle_compare(&t->x, t->ix);
    for (unsigned i = 0; i < FINAL_QUERIES; i++) {
        ask(t, &(struct op){ .kind = OP_SEARCH, .a = 10, .b = i + 1, .c = i });
        ask(t, &(struct op){ .kind = OP_FILTER, .a = 10, .b = i + 1, .c = 3 + 7 * i });
    }
}

/** In every second life the index has many small blocks; then there are no snapshots. */
static struct index *open_one(const struct being *t)
{
    return t->l->seed % 2 ? open_small_blocks(&t->o, (unsigned)(t->l->seed / 2 % 5))
                          : open_index(&t->o);
}

void life_run(const struct life *l)
{
    struct being t = { .l = l, .o = options_of(l->seed), .s = index_scratch_new(), .fail = -1 };
    ck_assert_ptr_nonnull(t.s);
    t.ix = open_one(&t);
    oracle_init(&t.x, &t.o, SLOTS);
    for (size_t i = 0; i < l->n; i++)
        step(&t, &l->ops[i]);
    finish(&t);
    oracle_done(&t.x);
    index_scratch_free(t.s);
    index_free(t.ix);
}

/* ---- processes ---- */
/* Of LeakSanitizer, where it is: a child ends without being asked. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static bool leaks(void)
{
    return __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check() != 0;
}

bool life_fails(void (*run)(const struct life *l), const struct life *l, bool quiet)
{
    enum { SECONDS_MOST = 60 };
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int nowhere = quiet ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
        if (nowhere >= 0) {
            (void)dup2(nowhere, STDOUT_FILENO);
            (void)dup2(nowhere, STDERR_FILENO);
        }
        alarm(SECONDS_MOST);
        run(l);
        _exit(leaks() ? 1 : 0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status != 0;
}

struct shrinking {
    struct life *l;
    void (*run)(const struct life *l);
    size_t runs;
};

static bool still_fails(struct shrinking *k)
{
    k->runs++;
    return life_fails(k->run, k->l, true);
}

/** Without the n operations from `at` on, if it fails all the same. */
static bool try_without(struct shrinking *k, size_t at, size_t n)
{
    struct life *l = k->l;
    struct op *gone = mem_alloc(n, sizeof *gone);
    ck_assert_ptr_nonnull(gone);
    memcpy(gone, l->ops + at, n * sizeof *gone);
    memmove(l->ops + at, l->ops + at + n, (l->n - at - n) * sizeof *gone);
    l->n -= n;
    bool fails = still_fails(k);
    if (!fails) {
        memmove(l->ops + at + n, l->ops + at, (l->n - at) * sizeof *gone);
        memcpy(l->ops + at, gone, n * sizeof *gone);
        l->n += n;
    }
    mem_free(gone);
    return fails;
}

/** Larger pieces first. */
static bool drop_ops(struct shrinking *k)
{
    bool any = false;
    for (size_t piece = k->l->n; piece > 0; piece /= 2)
        for (size_t at = 0; at < k->l->n;) {
            size_t n = piece < k->l->n - at ? piece : k->l->n - at;
            if (try_without(k, at, n))
                any = true;
            else
                at += n;
        }
    return any;
}

/** Another value for one number of an operation, if it fails all the same. */
static bool try_number(struct shrinking *k, unsigned *at, unsigned value)
{
    unsigned old = *at;
    if (value >= old) return false;
    *at = value;
    if (still_fails(k)) return true;
    *at = old;
    return false;
}

static bool lower_numbers(struct shrinking *k)
{
    bool any = false;
    for (size_t i = 0; i < k->l->n; i++) {
        unsigned *numbers[] = { &k->l->ops[i].a, &k->l->ops[i].b, &k->l->ops[i].c };
        for (size_t j = 0; j < 3; j++) {
            bool lower = try_number(k, numbers[j], 0);
            while (!lower &&
                (try_number(k, numbers[j], *numbers[j] / 2) ||
                    try_number(k, numbers[j], *numbers[j] - 1)))
                any = true;
            any |= lower;
        }
    }
    return any;
}

/** A plain put in place of a copy. */
static bool plainer_kinds(struct shrinking *k)
{
    bool any = false;
    for (size_t i = 0; i < k->l->n; i++) {
        struct op *o = &k->l->ops[i], old = *o;
        if (o->kind != OP_SAME && o->kind != OP_NEAR) continue;
        *o = (struct op){ .kind = OP_PUT, .a = old.a, .b = 1 };
        if (still_fails(k))
            any = true;
        else
            *o = old;
    }
    return any;
}

size_t life_shrink(struct life *l, void (*run)(const struct life *l))
{
    enum { ROUNDS = 5 };
    struct shrinking k = { .l = l, .run = run };
    for (int round = 0; round < ROUNDS; round++) {
        bool any = drop_ops(&k);
        any |= plainer_kinds(&k);
        any |= lower_numbers(&k);
        if (!any) break;
    }
    return k.runs;
}
