/* Filters from JSON: the trees that come out, and the limits. What is refused, and where, is in
 * tests/http/cases_bad.c. */
#include "server/filter_json.h"

#include "base/mem.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct arena *arena;
static json_t *doc;

static void setup(void)
{
    arena = arena_new(4096, 0);
    ck_assert_ptr_nonnull(arena);
}

static void teardown(void)
{
    json_decref(doc);
    doc = NULL;
    arena_free(arena);
}

/* ' stands for " */
static enum err_code parse(const char *json, const struct filter **ret, struct err *e)
{
    size_t n = strlen(json);
    char *text = arena_strndup(arena, json, n);
    for (char *c = text; *c; c++)
        if (*c == '\'') *c = '"';
    json_decref(doc);
    doc = json_loadb(text, n, JSON_DECODE_ANY, NULL);
    ck_assert_msg(doc != NULL, "%s", json);
    const struct json_reader r = { .arena = arena };
    return filter_json_read(&r, &JSON_ROOT, doc, ret, e);
}

START_TEST(conditions_come_out)
{
    const struct filter *f = NULL;
    struct err e = ERR_INIT;
    ck_assert_ok(
        parse("{'must':[{'key':'a.b','match':{'value':5}},{'key':'c','match':{'any':['x',true]}},"
              "{'key':'d','match':{'except':[1]}},{'key':'e','match':{'text':'hi'}}],"
              "'should':{'key':'f','range':{'gt':1,'lte':2.5,'lt':null}},"
              "'must_not':[{'is_empty':{'key':'g'}},{'is_null':{'key':'h'}},{'has_id':['i','j']}],"
              "'min_should':{'min_count':2,'conditions':[{'should':[]}]}}",
            &f, &e),
        &e);
    ck_assert_uint_eq(f->must.n, 4);
    const struct filter_condition *c = f->must.c;
    ck_assert_int_eq(c[0].kind, CONDITION_MATCH_ANY);
    ck_assert(str_is(c[0].key, "a.b"));
    ck_assert_uint_eq(c[0].n_values, 1);
    ck_assert_int_eq(c[0].values[0].type, VALUE_INTEGER);
    ck_assert_int_eq(c[0].values[0].v.i, 5);
    ck_assert_uint_eq(c[1].n_values, 2);
    ck_assert_int_eq(c[1].values[0].type, VALUE_STRING);
    ck_assert(str_is(c[1].values[0].v.s, "x"));
    ck_assert_int_eq(c[1].values[1].type, VALUE_BOOLEAN);
    ck_assert_int_eq(c[1].values[1].v.i, 1);
    ck_assert_int_eq(c[2].kind, CONDITION_MATCH_EXCEPT);
    ck_assert_int_eq(c[3].kind, CONDITION_MATCH_TEXT);
    ck_assert(str_is(c[3].values[0].v.s, "hi"));

    ck_assert_uint_eq(f->should.n, 1);
    const struct filter_range *range = &f->should.c[0].range;
    ck_assert_int_eq(f->should.c[0].kind, CONDITION_RANGE);
    ck_assert(
        range->has_gt && range->has_lte && !range->has_lt && !range->has_gte && !range->is_time);
    ck_assert_double_eq(range->gt, 1.0);
    ck_assert_double_eq(range->lte, 2.5);

    ck_assert_uint_eq(f->must_not.n, 3);
    ck_assert_int_eq(f->must_not.c[0].kind, CONDITION_IS_EMPTY);
    ck_assert_int_eq(f->must_not.c[1].kind, CONDITION_IS_NULL);
    ck_assert_int_eq(f->must_not.c[2].kind, CONDITION_HAS_ID);
    ck_assert_uint_eq(f->must_not.c[2].n_ids, 2);
    ck_assert(str_is(f->must_not.c[2].ids[1], "j"));

    ck_assert_uint_eq(f->min_count, 2);
    ck_assert_int_eq(f->min_should.c[0].kind, CONDITION_NESTED);
    ck_assert_uint_eq(f->min_should.c[0].nested->should.n, 0);
}
END_TEST

START_TEST(times_are_milliseconds)
{
    const struct filter *f = NULL;
    struct err e = ERR_INIT;
    ck_assert_ok(
        parse("{'must':{'key':'t','range':{'gte':'1970-01-01T00:00:01Z','lt':'1970-01-02'}}}", &f,
            &e),
        &e);
    ck_assert(f->must.c[0].range.is_time);
    ck_assert_double_eq(f->must.c[0].range.gte, 1000.0);
    ck_assert_double_eq(f->must.c[0].range.lt, 86400000.0);
}
END_TEST

START_TEST(null_is_no_filter)
{
    const struct filter *f = NULL;
    struct err e = ERR_INIT;
    ck_assert_ok(parse("null", &f, &e), &e);
    ck_assert_ptr_null(f);
    ck_assert_ok(parse("{'must':null}", &f, &e), &e);
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(f->must.n, 0);
}
END_TEST

/* {"must": {"must": … {}}} with so many levels; free() */
static char *nested(int levels)
{
    static const char inner[] = "{'has_id':[]}";
    char *p = malloc((size_t)levels * 12 + sizeof inner), *end = p;
    ck_assert_ptr_nonnull(p);
    for (int i = 0; i < levels; i++)
        end = stpcpy(end, "{'must':");
    end = stpcpy(end, inner);
    for (int i = 0; i < levels; i++)
        end = stpcpy(end, "}");
    return p;
}

START_TEST(depth_has_a_limit)
{
    const struct filter *f = NULL;
    struct err e = ERR_INIT;
    char *good = nested(FILTER_DEPTH_MAX), *bad = nested(FILTER_DEPTH_MAX + 1);
    ck_assert_ok(parse(good, &f, &e), &e);
    ck_assert_err(parse(bad, &f, &e), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(e.field, "/must/must"));
    free(good);
    free(bad);
}
END_TEST

/* so many times `unit` with commas between */
static char *list(const char *before, const char *unit, int n, const char *after)
{
    char *p = malloc(strlen(before) + strlen(after) + (size_t)n * (strlen(unit) + 1) + 1);
    ck_assert_ptr_nonnull(p);
    char *end = stpcpy(p, before);
    for (int i = 0; i < n; i++) {
        if (i) *end++ = ',';
        end = stpcpy(end, unit);
    }
    (void)strcpy(end, after);
    return p;
}

START_TEST(counts_have_limits)
{
    static const struct {
        const char *before, *unit, *after;
        int most;
    } rows[] = {
        { "{'must':[", "{'has_id':[]}", "]}", FILTER_CONDITIONS_MAX },
        { "{'must':[{'should':[", "{'has_id':[]}", "]}]}", FILTER_CONDITIONS_MAX - 1 },
        { "{'must':{'has_id':[", "'a'", "]}}", FILTER_VALUES_MAX },
        { "{'must':{'key':'k','match':{'any':[", "1", "]}}}", FILTER_VALUES_MAX },
        { "{'must_not':{'has_id':['x']},'must':{'key':'k','match':{'except':[", "1", "]}}}",
            FILTER_VALUES_MAX - 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct filter *f = NULL;
        struct err e = ERR_INIT;
        char *good = list(rows[i].before, rows[i].unit, rows[i].most, rows[i].after);
        char *bad = list(rows[i].before, rows[i].unit, rows[i].most + 1, rows[i].after);
        ck_assert_ok(parse(good, &f, &e), &e);
        ck_assert_err(parse(bad, &f, &e), ERR_INVALID);
        free(good);
        free(bad);
    }
}
END_TEST

START_TEST(memory_that_runs_out_is_an_error)
{
    static const char json[] = "{'must':[{'key':'a','match':{'any':[1,2]}},{'has_id':['x']},"
                               "{'must':{'key':'b','match':{'value':1}}}]}";
    enum err_code code = ERR_NOMEM;
    for (size_t limit = 600; code != ERR_OK && limit < 100000; limit += 16) {
        const struct filter *f = NULL;
        struct err e = ERR_INIT;
        arena_free(arena);
        arena = arena_new(64, limit);
        ck_assert_ptr_nonnull(arena);
        code = parse(json, &f, &e);
        ck_assert(code == ERR_OK ? f != NULL : code == ERR_NOMEM && f == NULL);
    }
    ck_assert_int_eq(code, ERR_OK);
}
END_TEST

TEST_SUITE(filter_json)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, conditions_come_out);
    tcase_add_test(tc, times_are_milliseconds);
    tcase_add_test(tc, null_is_no_filter);
    tcase_add_test(tc, depth_has_a_limit);
    tcase_add_test(tc, counts_have_limits);
    tcase_add_test(tc, memory_that_runs_out_is_an_error);
    suite_add_tcase(s, tc);
}
