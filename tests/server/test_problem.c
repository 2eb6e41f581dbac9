#include "server/problem.h"

#include "tests/support/test.h"

#include <jansson.h>
#include <string.h>

/* The table of the contract, written once more. */
START_TEST(maps_every_code)
{
    static const struct {
        enum err_code code;
        unsigned status;
        const char *wire;
    } rows[] = { { ERR_INVALID, 400, "invalid_request" },
        { ERR_UNKNOWN_FIELD, 400, "unknown_field" }, { ERR_EMPTY, 400, "empty_input" },
        { ERR_NOT_FOUND, 404, "not_found" }, { ERR_CONFLICT, 409, "conflict" },
        { ERR_RUN_IN_PROGRESS, 409, "run_in_progress" }, { ERR_VERSION, 409, "version_mismatch" },
        { ERR_LIMIT, 413, "payload_too_large" }, { ERR_TOO_MANY, 413, "too_many_inputs" },
        { ERR_UNPROCESSABLE, 422, "unprocessable" }, { ERR_BUSY, 429, "overloaded" },
        { ERR_TIMEOUT, 504, "timeout" }, { ERR_CANCELLED, 503, "draining" },
        { ERR_NOT_READY, 503, "not_ready" }, { ERR_DRAINING, 503, "draining" },
        { ERR_FULL, 507, "storage_full" }, { ERR_CORRUPT, 500, "internal" },
        { ERR_IO, 500, "internal" }, { ERR_NOMEM, 500, "internal" },
        { ERR_INTERNAL, 500, "internal" } };
    ck_assert_uint_eq(sizeof rows / sizeof rows[0], ERR_INTERNAL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct problem_info *info = problem_info(problem_of(rows[i].code));
        ck_assert_uint_eq(info->status, rows[i].status);
        ck_assert_str_eq(info->code, rows[i].wire);
        ck_assert_str_eq(problem_code_of(rows[i].code), rows[i].wire);
        ck_assert_int_eq(problem_is_internal(rows[i].code), rows[i].status == 500);
        if (info->status == 429 || info->status == 503) ck_assert_uint_gt(info->retry_after_s, 0);
    }
}
END_TEST

START_TEST(renders_rfc_9457)
{
    struct buf b = BUF_INIT(0);
    problem_render(&b, PROBLEM_INVALID_REQUEST, "k is \"0\"", "/k");
    ck_assert_str_eq(b.p,
        "{\"type\":\"urn:kindred:problem:invalid_request\",\"title\":\"Invalid request\","
        "\"status\":400,\"detail\":\"k is \\\"0\\\"\",\"code\":\"invalid_request\","
        "\"field\":\"/k\"}");
    buf_clear(&b);
    problem_render(&b, PROBLEM_NOT_FOUND, "no", "");
    ck_assert_ptr_null(strstr(b.p, "field"));
    buf_done(&b);
}
END_TEST

START_TEST(renders_openai)
{
    static const struct {
        const char *field, *param;
    } rows[] = { { "/input", "input" }, { "/input/3", "input[3]" },
        { "/input/3/text", "input[3].text" }, { "", NULL } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = BUF_INIT(0);
        problem_render_openai(&b, PROBLEM_INVALID_REQUEST, "bad", rows[i].field);
        json_t *root = json_loads(b.p, 0, NULL), *error = json_object_get(root, "error");
        ck_assert_uint_eq(json_object_size(error), 4);
        ck_assert_str_eq(json_string_value(json_object_get(error, "message")), "bad");
        ck_assert_str_eq(
            json_string_value(json_object_get(error, "type")), "invalid_request_error");
        ck_assert_str_eq(json_string_value(json_object_get(error, "code")), "invalid_request");
        json_t *param = json_object_get(error, "param");
        if (rows[i].param) {
            ck_assert_str_eq(json_string_value(param), rows[i].param);
        } else {
            ck_assert(json_is_null(param));
        }
        json_decref(root);
        buf_done(&b);
    }
}
END_TEST

START_TEST(bounds_the_param)
{
    char field[ERR_FIELD_BYTES];
    for (size_t i = 0; i < sizeof field - 1; i++)
        field[i] = i % 2 ? '1' : '/';
    field[sizeof field - 1] = '\0';
    struct buf b = BUF_INIT(0);
    problem_render_openai(&b, PROBLEM_INTERNAL, "bad", field);
    ck_assert_ok(buf_check(&b, NULL));
    buf_done(&b);
}
END_TEST

TEST_SUITE(problem)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, maps_every_code);
    tcase_add_test(tc, renders_rfc_9457);
    tcase_add_test(tc, renders_openai);
    tcase_add_test(tc, bounds_the_param);
    suite_add_tcase(s, tc);
}
