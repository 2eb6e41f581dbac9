#include "server/json_spec.h"

#include "base/mem.h"
#include "tests/support/test.h"

#include <string.h>

enum color { RED, GREEN };
static const char *const colors[] = { "red", "green", NULL };

struct thing {
    struct str name;
    size_t k;
    uint32_t m;
    int64_t offset;
    float score;
    double weight;
    bool exact, has_k, has_vector;
    enum color color;
    struct json_strs ids;
    struct json_vector vector;
    const json_t *any;
    size_t pair[2];
};

static enum err_code read_pair(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    static const struct json_field number = { .type = JSON_SIZE, .min = 0, .max = 9 };
    size_t *pair = field;
    if (!json_is_array(v) || json_array_size(v) != 2) return json_fail_type(at, "a pair", v, e);
    for (size_t i = 0; i < 2; i++)
        TRY(json_spec_value(r, &JSON_ELEMENT(at, i), &number, json_array_get(v, i), &pair[i], e));
    return ERR_OK;
}

static const struct json_field fields[] = {
    { "name", JSON_STR, JSON_AT(struct thing, name), .min = 1, .max = 8, .required = true },
    { "k", JSON_SIZE, JSON_AT(struct thing, k), .min = 1, .max = 10000,
        JSON_HAS(struct thing, has_k) },
    { "m", JSON_U32, JSON_AT(struct thing, m) },
    { "offset", JSON_I64, JSON_AT(struct thing, offset) },
    { "score", JSON_F32, JSON_AT(struct thing, score) },
    { "weight", JSON_F64, JSON_AT(struct thing, weight), .min = -1, .max = 1 },
    { "exact", JSON_BOOL, JSON_AT(struct thing, exact) },
    { "color", JSON_ENUM, JSON_AT(struct thing, color), .names = colors },
    { "ids", JSON_STRS, JSON_AT(struct thing, ids), .min = 1, .max = 3 },
    { "vector", JSON_VECTOR, JSON_AT(struct thing, vector), .min = 1, .max = 4,
        JSON_HAS(struct thing, has_vector) },
    { "any", JSON_VALUE, JSON_AT(struct thing, any) },
    { "pair~/x", JSON_CUSTOM, JSON_AT(struct thing, pair), .read = read_pair },
};
static const char *const vectors[] = { "/vector", NULL };
static const struct json_spec spec = JSON_SPEC(fields, .vectors = vectors);

struct outcome {
    struct arena *a;
    struct json_doc d;
    struct thing t;
    struct err e;
    enum err_code code;
};

static void read_thing(struct outcome *o, const char *json)
{
    o->a = arena_new(1024, 0);
    o->d = (struct json_doc){ 0 };
    o->t = (struct thing){ .k = 10 };
    o->e = ERR_INIT;
    char *copy = mem_strdup(json);
    ck_assert_ok(json_read(copy, strlen(copy), spec.vectors, o->a, &o->d, &o->e), &o->e);
    mem_free(copy);
    const struct json_reader r = { .arena = o->a, .doc = &o->d };
    o->code = json_spec_object(&r, &JSON_ROOT, &spec, o->d.root, &o->t, &o->e);
}
static void forget(struct outcome *o)
{
    json_doc_done(&o->d);
    arena_free(o->a);
}

START_TEST(reads_every_type)
{
    struct outcome o;
    read_thing(&o,
        "{\"name\":\"n\\u00e4\",\"k\":7,\"m\":4294967295,\"offset\":-5,\"score\":0.5,"
        "\"weight\":1,\"exact\":true,\"color\":\"green\",\"ids\":[\"a\",\"\"],"
        "\"vector\":[1,2.5],\"any\":null,\"pair~/x\":[3,4]}");
    ck_assert_ok(o.code, &o.e);
    ck_assert(str_is(o.t.name, "n\xc3\xa4"));
    ck_assert(o.t.k == 7 && o.t.has_k && o.t.m == UINT32_MAX && o.t.offset == -5);
    ck_assert(o.t.score == 0.5f && o.t.weight == 1 && o.t.exact && o.t.color == GREEN);
    ck_assert(o.t.ids.n == 2 && str_is(o.t.ids.p[0], "a") && o.t.ids.p[1].n == 0);
    ck_assert(o.t.vector.n == 2 && o.t.vector.p[1] == 2.5f && o.t.has_vector);
    ck_assert(o.t.any && json_is_null(o.t.any));
    ck_assert(o.t.pair[0] == 3 && o.t.pair[1] == 4);
    forget(&o);
}
END_TEST

START_TEST(keeps_defaults)
{
    struct outcome o;
    read_thing(&o, "{\"name\":\"n\",\"k\":null,\"vector\":null}");
    ck_assert_ok(o.code, &o.e);
    ck_assert(o.t.k == 10 && !o.t.has_k && !o.t.has_vector && o.t.vector.n == 0);
    forget(&o);
}
END_TEST

START_TEST(reads_vectors_in_three_forms)
{
    static const char *const rows[] = { "{\"name\":\"n\",\"vector\":[1,-2]}",
        "{\"name\":\"n\",\"vector\":\"AACAPwAAAMA=\"}" };
    static const float want[] = { 1, -2 };
    for (size_t i = 0; i < 2; i++) {
        struct outcome o;
        read_thing(&o, rows[i]);
        ck_assert_ok(o.code, &o.e);
        ck_assert_uint_eq(o.t.vector.n, 2);
        ck_assert_near(o.t.vector.p, want, 2, 0, 0);
        forget(&o);
    }
}
END_TEST

START_TEST(names_every_mistake)
{
    static const struct {
        const char *json, *field, *part;
        enum err_code code;
    } rows[] = {
        { "[]", "", "must be an object, not a list", ERR_INVALID },
        { "{}", "/name", "is missing", ERR_INVALID },
        { "{\"name\":null}", "/name", "must be a string, not null", ERR_INVALID },
        { "{\"name\":5}", "/name", "must be a string, not a number", ERR_INVALID },
        { "{\"name\":\"\"}", "/name", "1 to 8 bytes", ERR_INVALID },
        { "{\"name\":\"123456789\"}", "/name", "not 9", ERR_INVALID },
        { "{\"name\":\"n\",\"nmae\":1}", "/nmae", "not a known field", ERR_UNKNOWN_FIELD },
        { "{\"name\":\"n\",\"k\":0}", "/k", "whole number from 1 to 10000, not 0", ERR_INVALID },
        { "{\"name\":\"n\",\"k\":10001}", "/k", "not 10001", ERR_INVALID },
        { "{\"name\":\"n\",\"k\":1.5}", "/k", "not 1.5", ERR_INVALID },
        { "{\"name\":\"n\",\"k\":\"1\"}", "/k", "not a string", ERR_INVALID },
        { "{\"name\":\"n\",\"k\":true}", "/k", "not true", ERR_INVALID },
        { "{\"name\":\"n\",\"m\":-1}", "/m", "not negative", ERR_INVALID },
        { "{\"name\":\"n\",\"m\":4294967296}", "/m", "whole number", ERR_INVALID },
        { "{\"name\":\"n\",\"score\":1e39}", "/score", "32-bit float", ERR_INVALID },
        { "{\"name\":\"n\",\"weight\":1.01}", "/weight", "from -1 to 1", ERR_INVALID },
        { "{\"name\":\"n\",\"exact\":1}", "/exact", "true or false", ERR_INVALID },
        { "{\"name\":\"n\",\"color\":\"blue\"}", "/color", "\"red\", \"green\"", ERR_INVALID },
        { "{\"name\":\"n\",\"color\":1}", "/color", "not a number", ERR_INVALID },
        { "{\"name\":\"n\",\"ids\":\"a\"}", "/ids", "list of strings", ERR_INVALID },
        { "{\"name\":\"n\",\"ids\":[]}", "/ids", "at least 1", ERR_INVALID },
        { "{\"name\":\"n\",\"ids\":[\"a\",2]}", "/ids/1", "must be a string", ERR_INVALID },
        { "{\"name\":\"n\",\"ids\":[\"a\",\"b\",\"c\",\"d\"]}", "/ids", "at most 3", ERR_TOO_MANY },
        { "{\"name\":\"n\",\"vector\":[]}", "/vector", "at least 1", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":[1,2,3,4,5]}", "/vector", "at most 4", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":[1,\"2\"]}", "/vector/1", "must be a number", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":[1,null]}", "/vector/1", "must be a number", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":[[1],2]}", "/vector/0", "must be a number", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":[1,1e39]}", "/vector/1", "finite", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":[1,1e400]}", "/vector/1", "finite", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":true}", "/vector", "a list of numbers", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":{}}", "/vector", "a list of numbers", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":\"AAAA\"}", "/vector", "no 32-bit floats", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":\"!\"}", "/vector", "not base64", ERR_INVALID },
        { "{\"name\":\"n\",\"vector\":\"AACAPwAAgH8=\"}", "/vector/1", "finite", ERR_INVALID },
        { "{\"name\":\"n\",\"pair~/x\":[1,10]}", "/pair~0~1x/1", "0 to 9, not 10", ERR_INVALID },
        { "{\"name\":\"n\",\"pair~/x\":null}", "/pair~0~1x", "a pair, not null", ERR_INVALID },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome o;
        read_thing(&o, rows[i].json);
        ck_assert_msg(o.code == rows[i].code, "%s: %s", rows[i].json, o.e.msg);
        ck_assert_str_eq(o.e.field, rows[i].field);
        ck_assert_msg(strstr(o.e.msg, rows[i].part) != NULL, "%s: %s", rows[i].json, o.e.msg);
        forget(&o);
    }
}
END_TEST

START_TEST(bounds_the_pointer)
{
    char name[300], pointer[ERR_FIELD_BYTES];
    memset(name, '~', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    const struct json_at root = JSON_ROOT, a = JSON_MEMBER(&root, name), b = JSON_ELEMENT(&a, 3);
    json_pointer(&b, pointer, sizeof pointer);
    ck_assert_uint_lt(strlen(pointer), sizeof pointer);
    json_pointer(&root, pointer, sizeof pointer);
    ck_assert_str_eq(pointer, "");
}
END_TEST

TEST_SUITE(json_spec)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, reads_every_type);
    tcase_add_test(tc, keeps_defaults);
    tcase_add_test(tc, reads_vectors_in_three_forms);
    tcase_add_test(tc, names_every_mistake);
    tcase_add_test(tc, bounds_the_pointer);
    suite_add_tcase(s, tc);
}
