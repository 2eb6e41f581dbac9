/* Filters against a naive evaluation, on random items and random filters: once on declared fields (answered
 * from memory), once on twins of the same values that are not declared (answered from the metadata). */
#include "base/arena.h"
#include "base/buf.h"
#include "base/rng.h"
#include "engine/fields.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ITEMS = 400, FIELDS = 4, VALUES_MAX = 3, FILTERS = 300, UPDATES = 300 };

/* One field of one item as the test remembers it. */
struct cell {
    enum { MISSING, NULL_VALUE, OBJECT, SCALAR, LIST } kind;
    struct filter_value values[VALUES_MAX]; /* SCALAR: one; LIST: n */
    size_t n;
};
struct model_item {
    bool live;
    uint32_t slot;
    struct cell cells[FIELDS];
};

static const char *const declared[FIELDS] = { "kind", "size", "deep.tag", "when" };
static const char *const undeclared[FIELDS] = { "u_kind", "u_size", "u_deep.tag", "u_when" };
static const char *const texts[] = { "red", "green", "Dark Red", "", "a\"b\\c", "2024-05-01",
    "2024-05-01T10:00:00Z", "2024-05-01T12:00:00+02:00", "5", "true" };

static struct {
    struct tmpdir dir;
    struct catalog *catalog;
    struct catalog_collection col;
    struct catalog_field fields[FIELDS];
    struct fields *columns;
    struct arena *arena;
    struct model_item items[ITEMS];
    struct rng rng;
    uint64_t seed;
} t;

static size_t below(size_t n)
{
    return (size_t)rng_below(&t.rng, n);
}

static void setup(void)
{
    struct err e = ERR_INIT;
    char path[600];

    memset(&t, 0, sizeof t);
    t.seed = (uint64_t)time(NULL);
    rng_init(&t.rng, t.seed);
    tmpdir_make(&t.dir);
    snprintf(path, sizeof path, "%s/catalog.db", t.dir.path);
    t.arena = arena_new(1 << 16, 0);
    for (size_t f = 0; f < FIELDS; f++)
        t.fields[f] =
            (struct catalog_field){ str_from(declared[f]), f == 3 ? FIELD_DATETIME : FIELD_STRING };
    t.col = (struct catalog_collection){ .name = STR("c"),
        .modality = MODALITY_VECTOR,
        .m = 16,
        .ef_construction = 100,
        .ef_search = 100,
        .fields = t.fields,
        .n_fields = FIELDS,
        .serving = { .model_name = STR(""), .dimensions = 1 } };
    ck_assert_ok(catalog_open(path, &t.catalog, &e), &e);
    ck_assert_ok(catalog_collection_create(t.catalog, &t.col, &e), &e);
    ck_assert_ok(fields_new(t.fields, FIELDS, &t.columns, &e), &e);
}

static void teardown(void)
{
    fields_free(t.columns);
    catalog_close(t.catalog);
    arena_free(t.arena);
    tmpdir_remove(&t.dir);
}

/* ---- random items ---- */

static struct filter_value random_value(size_t field)
{
    switch (field == 1 ? below(2) : below(4)) {
    case 0: return (struct filter_value){ .type = VALUE_INTEGER, .v.i = (int64_t)below(12) - 4 };
    case 1:
        return (
            struct filter_value){ .type = VALUE_NUMBER, .v.d = (double)((int)below(40) - 20) / 4 };
    case 2: return (struct filter_value){ .type = VALUE_BOOLEAN, .v.i = (int64_t)below(2) };
    default:
        return (struct filter_value){ .type = VALUE_STRING, .v.s = str_from(texts[below(10)]) };
    }
}

static struct cell random_cell(size_t field)
{
    struct cell c = { .kind = MISSING };

    switch (below(8)) {
    case 0: break;
    case 1: c.kind = NULL_VALUE; break;
    case 2: c.kind = OBJECT; break;
    case 3:
        c.kind = LIST;
        c.n = below(VALUES_MAX + 1);
        break;
    default:
        c.kind = SCALAR;
        c.n = 1;
        break;
    }
    for (size_t i = 0; i < c.n; i++)
        c.values[i] = random_value(field);
    return c;
}

static void put_value(struct buf *b, const struct filter_value *v)
{
    if (v->type == VALUE_INTEGER)
        buf_printf(b, "%lld", (long long)v->v.i);
    else if (v->type == VALUE_NUMBER)
        buf_printf(b, "%.17g", v->v.d);
    else if (v->type == VALUE_BOOLEAN)
        buf_puts(b, v->v.i ? "true" : "false");
    else {
        buf_putc(b, '"');
        for (size_t i = 0; i < v->v.s.n; i++) {
            if (v->v.s.p[i] == '"' || v->v.s.p[i] == '\\') buf_putc(b, '\\');
            buf_putc(b, v->v.s.p[i]);
        }
        buf_putc(b, '"');
    }
}

static void put_cell(struct buf *b, const char *key, const struct cell *c, bool *first)
{
    const char *dot = strchr(key, '.');

    if (c->kind == MISSING) return;
    buf_puts(b, *first ? "" : ",");
    *first = false;
    if (dot)
        buf_printf(b, "\"%.*s\":{\"%s\":", (int)(dot - key), key, dot + 1);
    else
        buf_printf(b, "\"%s\":", key);
    if (c->kind == NULL_VALUE) buf_puts(b, "null");
    if (c->kind == OBJECT) buf_puts(b, "{\"x\":5}");
    if (c->kind == LIST) buf_putc(b, '[');
    for (size_t i = 0; i < c->n; i++) {
        if (i) buf_putc(b, ',');
        put_value(b, &c->values[i]);
    }
    if (c->kind == LIST) buf_putc(b, ']');
    if (dot) buf_putc(b, '}');
}

static void write_item(size_t i)
{
    struct buf metadata = BUF_INIT(0);
    struct catalog_put put = { .vector = (const float[]){ 1 } };
    struct catalog_put_result r;
    struct field_value *values;
    struct err e = ERR_INIT;
    char key[16];
    bool first = true;

    for (size_t f = 0; f < FIELDS; f++)
        t.items[i].cells[f] = random_cell(f);
    buf_putc(&metadata, '{');
    for (size_t f = 0; f < FIELDS; f++) {
        put_cell(&metadata, declared[f], &t.items[i].cells[f], &first);
        put_cell(&metadata, undeclared[f], &t.items[i].cells[f], &first);
    }
    buf_putc(&metadata, '}');
    put.key = (struct str){ key, (size_t)snprintf(key, sizeof key, "k%zu", i) };
    put.metadata = buf_str(&metadata);
    for (size_t h = 0; h < CATALOG_HASH_BYTES; h++)
        put.metadata_hash[h] = (unsigned char)below(256);
    ck_assert_ok(catalog_fields_extract(
                     t.catalog, &t.col, put.metadata, t.arena, &values, &put.n_values, &e),
        &e);
    put.values = values;
    ck_assert_ok(catalog_item_put(t.catalog, &t.col, &t.col.serving, &put, t.arena, &r, &e), &e);
    ck_assert_ok(
        fields_put(t.columns, r.slot, r.old_values, r.n_old_values, put.values, put.n_values, &e),
        &e);
    t.items[i].live = true;
    t.items[i].slot = r.slot;
    buf_done(&metadata);
}

static void delete_item(size_t i)
{
    struct catalog_put_result r;
    struct err e = ERR_INIT;
    char key[16];
    struct str k = { key, (size_t)snprintf(key, sizeof key, "k%zu", i) };

    ck_assert_ok(catalog_item_delete(t.catalog, &t.col, k, t.arena, &r, &e), &e);
    fields_delete(t.columns, r.slot, r.old_values, r.n_old_values);
    t.items[i].live = false;
}

/* Every item once, then random updates and deletions, in one transaction. */
static void write_items(size_t updates)
{
    struct err e = ERR_INIT;

    ck_assert_ok(catalog_begin(t.catalog, &e), &e);
    for (size_t i = 0; i < ITEMS; i++)
        write_item(i);
    for (size_t i = 0; i < updates; i++) {
        size_t at = below(ITEMS);
        if (t.items[at].live && below(3) == 0)
            delete_item(at);
        else
            write_item(at);
    }
    ck_assert_ok(catalog_commit(t.catalog, &e), &e);
}

/* ---- naive evaluation ---- */

static bool as_number(const struct filter_value *v, double *ret)
{
    if (v->type == VALUE_INTEGER)
        *ret = (double)v->v.i;
    else if (v->type == VALUE_NUMBER)
        *ret = v->v.d;
    else
        return false;
    return true;
}

static bool same(const struct filter_value *a, const struct filter_value *b)
{
    double x, y;
    if (as_number(a, &x)) return as_number(b, &y) && x == y;
    if (a->type != b->type) return false;
    return a->type == VALUE_STRING ? str_eq(a->v.s, b->v.s) : a->v.i == b->v.i;
}

static bool naive_contains(struct str hay, struct str needle)
{
    for (size_t i = 0; i + needle.n <= hay.n; i++)
        if (!strncasecmp(hay.p + i, needle.p, needle.n)) return true;
    return false;
}

static bool value_matches(const struct filter_value *v, const struct filter_condition *k)
{
    const struct filter_range *r = &k->range;
    int64_t ms;
    double x;

    switch (k->kind) {
    case CONDITION_MATCH_ANY:
        for (size_t i = 0; i < k->n_values; i++)
            if (same(v, &k->values[i])) return true;
        return false;
    case CONDITION_MATCH_EXCEPT:
        for (size_t i = 0; i < k->n_values; i++)
            if (same(v, &k->values[i])) return false;
        return true;
    case CONDITION_MATCH_TEXT:
        return v->type == VALUE_STRING && naive_contains(v->v.s, k->values[0].v.s);
    case CONDITION_RANGE:
        if (r->is_time) {
            if (v->type != VALUE_STRING || !filter_time_parse(v->v.s, &ms)) return false;
            x = (double)ms;
        } else if (!as_number(v, &x)) {
            return false;
        }
        return (!r->has_gt || x > r->gt) && (!r->has_gte || x >= r->gte) &&
            (!r->has_lt || x < r->lt) && (!r->has_lte || x <= r->lte);
    case CONDITION_IS_EMPTY:
    case CONDITION_IS_NULL:
    case CONDITION_HAS_ID:
    case CONDITION_NESTED: break;
    }
    return false;
}

static bool passes(const struct model_item *item, size_t number, const struct filter *f);

static bool holds(const struct model_item *item, size_t number, const struct filter_condition *k)
{
    const struct cell *c = NULL;
    char key[16];

    if (k->kind == CONDITION_NESTED) return passes(item, number, k->nested);
    if (k->kind == CONDITION_HAS_ID) {
        snprintf(key, sizeof key, "k%zu", number);
        for (size_t i = 0; i < k->n_ids; i++)
            if (str_is(k->ids[i], key)) return true;
        return false;
    }
    for (size_t f = 0; f < FIELDS; f++)
        if (str_is(k->key, declared[f]) || str_is(k->key, undeclared[f])) c = &item->cells[f];
    if (k->kind == CONDITION_IS_NULL) return c->kind == NULL_VALUE;
    if (k->kind == CONDITION_IS_EMPTY)
        return c->kind == MISSING || c->kind == NULL_VALUE || (c->kind == LIST && c->n == 0);
    for (size_t i = 0; i < c->n; i++)
        if (value_matches(&c->values[i], k)) return true;
    return false;
}

static size_t count_held(
    const struct model_item *item, size_t number, const struct filter_conditions *cs)
{
    size_t n = 0;
    for (size_t i = 0; i < cs->n; i++)
        n += holds(item, number, &cs->c[i]);
    return n;
}

static bool passes(const struct model_item *item, size_t number, const struct filter *f)
{
    return item->live && count_held(item, number, &f->must) == f->must.n &&
        (!f->should.n || count_held(item, number, &f->should) > 0) &&
        count_held(item, number, &f->min_should) >= f->min_count &&
        count_held(item, number, &f->must_not) == 0;
}

/* ---- random filters ---- */

static struct filter *random_filter(const char *const *keys, unsigned depth);

static struct filter_condition random_condition(const char *const *keys, unsigned depth)
{
    static const enum condition_kind kinds[] = { CONDITION_MATCH_ANY, CONDITION_MATCH_ANY,
        CONDITION_MATCH_EXCEPT, CONDITION_MATCH_TEXT, CONDITION_RANGE, CONDITION_RANGE,
        CONDITION_IS_EMPTY, CONDITION_IS_NULL, CONDITION_HAS_ID, CONDITION_NESTED };
    size_t field = below(FIELDS);
    struct filter_condition k = { .kind = kinds[below(depth ? 10 : 9)],
        .key = str_from(keys[field]) };
    struct filter_value *values = arena_zalloc(t.arena, 3, sizeof *values);
    struct str *ids = arena_zalloc(t.arena, 3, sizeof *ids);

    k.values = values;
    k.n_values = k.kind == CONDITION_MATCH_TEXT ? 1 : 1 + below(3);
    for (size_t i = 0; i < 3; i++)
        values[i] = random_value(field);
    if (k.kind == CONDITION_MATCH_TEXT)
        values[0] =
            (struct filter_value){ .type = VALUE_STRING, .v.s = str_from(below(2) ? "RED" : "e") };
    k.range = (struct filter_range){ .is_time = below(3) == 0,
        .has_gt = below(3) == 0,
        .has_gte = below(3) == 0,
        .has_lt = below(3) == 0,
        .has_lte = below(3) == 0 };
    k.range.gt = k.range.is_time ? 1714521600000.0 : (double)below(10) - 5;
    k.range.gte = k.range.is_time ? 1714557600000.0 : (double)below(10) - 5;
    k.range.lt = k.range.is_time ? 1714557600000.0 : (double)below(10);
    k.range.lte = k.range.is_time ? 1714521600000.0 : (double)below(10);
    for (size_t i = 0; i < 3; i++) {
        const char *id = arena_printf(t.arena, "k%zu", below(ITEMS + 10));
        ids[i] = str_from(id);
    }
    k.ids = ids;
    k.n_ids = below(4);
    if (k.kind == CONDITION_NESTED) k.nested = random_filter(keys, depth - 1);
    return k;
}

static struct filter_conditions random_conditions(const char *const *keys, unsigned depth, size_t n)
{
    struct filter_condition *c = arena_zalloc(t.arena, n + 1, sizeof *c);
    for (size_t i = 0; i < n; i++)
        c[i] = random_condition(keys, depth);
    return (struct filter_conditions){ c, n };
}

static struct filter *random_filter(const char *const *keys, unsigned depth)
{
    struct filter *f = arena_zalloc(t.arena, 1, sizeof *f);

    f->must = random_conditions(keys, depth, below(3));
    f->should = random_conditions(keys, depth, below(3));
    f->must_not = random_conditions(keys, depth, below(2));
    f->min_should = random_conditions(keys, depth, below(4));
    f->min_count = f->min_should.n ? below(f->min_should.n + 2) : 0;
    return f;
}

static void check_filter(const struct filter *f, const char *what)
{
    struct filter_target target = { t.catalog, &t.col, t.columns };
    struct slot_set *set = NULL;
    struct err e = ERR_INIT;
    size_t want = 0;

    ck_assert_ok(filter_evaluate(&target, f, 0, &set, &e), &e);
    for (size_t i = 0; i < ITEMS; i++) {
        bool pass = passes(&t.items[i], i, f);
        if (!t.items[i].live) continue;
        want += pass;
        ck_assert_msg(slot_set_contains(set, t.items[i].slot) == pass,
            "seed %llu, %s: item %zu should%s pass", (unsigned long long)t.seed, what, i,
            pass ? "" : " not");
    }
    ck_assert_uint_eq(slot_set_count(set), want);
    slot_set_free(set);
}

START_TEST(agrees_with_a_naive_evaluation)
{
    write_items(UPDATES);
    for (size_t i = 0; i < FILTERS; i++) {
        struct rng before = t.rng;
        check_filter(random_filter(declared, 2), "declared");
        t.rng = before;
        check_filter(random_filter(undeclared, 2), "undeclared");
        arena_clear(t.arena);
    }
}
END_TEST

static enum err_code load_value(
    void *arg, uint32_t slot, const struct field_value *v, struct err *e)
{
    return fields_load(arg, slot, v, e);
}

START_TEST(columns_come_back_from_the_catalog)
{
    struct err e = ERR_INIT;

    write_items(0);
    fields_free(t.columns);
    ck_assert_ok(fields_new(t.fields, FIELDS, &t.columns, &e), &e);
    for (size_t i = 0; i < ITEMS; i++)
        fields_load_slot(t.columns, t.items[i].slot);
    ck_assert_ok(catalog_fields_scan(t.catalog, &t.col, load_value, t.columns, &e), &e);
    ck_assert_ok(fields_load_end(t.columns, &e), &e);
    for (size_t i = 0; i < FILTERS / 3; i++)
        check_filter(random_filter(declared, 2), "reloaded");
}
END_TEST

START_TEST(many_distinct_numbers_stay_sorted_and_vacant_ones_go)
{
    struct filter_condition k = { .kind = CONDITION_RANGE,
        .key = STR("size"),
        .range = { .has_gte = true, .gte = 100, .has_lt = true, .lt = 200 } };
    struct filter f = { .must = { &k, 1 } };
    struct filter_target target = { t.catalog, &t.col, t.columns };
    struct slot_set *set = NULL;
    struct err e = ERR_INIT;
    size_t before;

    for (uint32_t round = 0; round < 4; round++)
        for (uint32_t slot = 0; slot < 5000; slot++) {
            struct field_value old = {
                .field = 1, .type = VALUE_NUMBER, .v.d = slot + (round - 1) * 10000.0 + 0.5
            };
            struct field_value now = {
                .field = 1, .type = VALUE_NUMBER, .v.d = slot + round * 10000.0 + 0.5
            };
            ck_assert_ok(fields_put(t.columns, slot, &old, round > 0, &now, 1, &e), &e);
        }
    before = fields_size_bytes(t.columns);
    ck_assert_ok(filter_evaluate(&target, &f, 0, &set, &e), &e);
    ck_assert_uint_eq(slot_set_count(set), 0);
    slot_set_free(set);
    k.range.gte += 30000;
    k.range.lt += 30000;
    ck_assert_ok(filter_evaluate(&target, &f, 0, &set, &e), &e);
    ck_assert_uint_eq(slot_set_count(set), 100);
    slot_set_free(set);
    ck_assert_msg(before < 5000 * 3 * 200, "%zu bytes for 5,000 values", before);
}
END_TEST

START_TEST(size_follows_what_is_held)
{
    enum { SLOTS = 4000 };
    static const char *const shared[] = { "red", "green", "blue", "grey" };
    struct err e = ERR_INIT;
    size_t empty = fields_size_bytes(t.columns), sizes[2];
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            const char *was = shared[(slot + round) % 4], *is = shared[(slot + round + 1) % 4];
            struct field_value old = { .type = VALUE_STRING, .v.s = str_from(was) };
            struct field_value now = { .type = VALUE_STRING, .v.s = str_from(is) };
            ck_assert_ok(fields_put(t.columns, slot, &old, round > 0, &now, 1, &e), &e);
        }
        sizes[round % 2] = fields_size_bytes(t.columns);
        ck_assert_uint_gt(sizes[round % 2], empty + SLOTS * 2);
        ck_assert_uint_lt(sizes[round % 2], empty + SLOTS * 16);
    }
    ck_assert_uint_eq(sizes[0], sizes[1]);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        struct field_value old = { .type = VALUE_STRING, .v.s = str_from(shared[slot % 4]) };
        fields_delete(t.columns, slot, &old, 1);
    }
    ck_assert_uint_lt(fields_size_bytes(t.columns), empty + 4096);
}
END_TEST

static const struct {
    const char *text;
    int64_t ms;
} good_times[] = { { "1970-01-01", 0 }, { "1970-01-01T00:00:00Z", 0 },
    { "2000-02-29T12:34:56.789Z", 951827696789 }, { "2024-05-01T10:00:00+02:00", 1714550400000 },
    { "1969-12-31T23:59:59.5Z", -500 }, { "2024-05-01 08:00:00-00:30", 1714552200000 },
    { "0001-01-01", -62135596800000 }, { "9999-12-31T23:59:59.999Z", 253402300799999 } };
static const char *const bad_times[] = { "", "2024", "2024-13-01", "2023-02-29", "2024-05-01T",
    "2024-05-01T10:00", "2024-05-01T10:00:00", "2024-05-01T24:00:00Z", "2024-05-01T10:00:00.Z",
    "2024-05-01T10:00:00+2:00", "2024-05-01Z", "x024-05-01", "2024-05-01T10:00:00Zx",
    "1900-02-29" };

START_TEST(reads_times)
{
    int64_t ms;

    for (size_t i = 0; i < sizeof good_times / sizeof good_times[0]; i++) {
        ck_assert_msg(
            filter_time_parse(str_from(good_times[i].text), &ms), "%s", good_times[i].text);
        ck_assert_msg(ms == good_times[i].ms, "%s: %lld", good_times[i].text, (long long)ms);
    }
    for (size_t i = 0; i < sizeof bad_times / sizeof bad_times[0]; i++)
        ck_assert_msg(!filter_time_parse(str_from(bad_times[i]), &ms), "%s", bad_times[i]);
}
END_TEST

START_TEST(refuses_depth_and_numbers_of_conditions)
{
    struct filter_target target = { t.catalog, &t.col, t.columns };
    struct filter chain[FILTER_DEPTH_MAX + 1];
    struct filter_condition links[FILTER_DEPTH_MAX + 1];
    struct filter_condition *many = arena_zalloc(t.arena, FILTER_CONDITIONS_MAX + 1, sizeof *many);
    struct filter wide = { .should = { many, FILTER_CONDITIONS_MAX + 1 } };
    struct slot_set *set = NULL;
    struct err e = ERR_INIT;

    memset(chain, 0, sizeof chain);
    for (size_t i = 0; i < FILTER_DEPTH_MAX; i++) {
        links[i] = (struct filter_condition){ .kind = CONDITION_NESTED, .nested = &chain[i + 1] };
        chain[i].must = (struct filter_conditions){ &links[i], 1 };
    }
    ck_assert_err(filter_evaluate(&target, &chain[0], 0, &set, &e), ERR_INVALID);
    ck_assert_ok(filter_evaluate(&target, &chain[1], 0, &set, &e), &e);
    slot_set_free(set);
    for (size_t i = 0; i <= FILTER_CONDITIONS_MAX; i++)
        many[i] = (struct filter_condition){ .kind = CONDITION_IS_NULL, .key = STR("kind") };
    ck_assert_err(filter_evaluate(&target, &wide, 0, &set, &e), ERR_INVALID);
    ck_assert_err(filter_evaluate(&target, &chain[FILTER_DEPTH_MAX - 1], 1, &set, &e), ERR_TIMEOUT);
}
END_TEST

TEST_SUITE(filter)
{
    TCase *tc = tcase_create("core");

    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, agrees_with_a_naive_evaluation);
    tcase_add_test(tc, columns_come_back_from_the_catalog);
    tcase_add_test(tc, many_distinct_numbers_stay_sorted_and_vacant_ones_go);
    tcase_add_test(tc, size_follows_what_is_held);
    tcase_add_test(tc, reads_times);
    tcase_add_test(tc, refuses_depth_and_numbers_of_conditions);
    suite_add_tcase(s, tc);
}
