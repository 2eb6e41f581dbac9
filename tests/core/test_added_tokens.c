#include "core/text/added_tokens.h"

#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static enum err_code add(struct added_tokens *a, const char *content, uint32_t id)
{
    char copy[64];
    memcpy(copy, content, strlen(content) + 1);
    return added_tokens_add(
        a, &(struct added_token){ .content = copy, .len = strlen(copy), .id = id }, NULL);
}

/* Ids of all tokens in a text, as digits with the places between them: "1@4 2@9". */
static void check(const struct added_tokens *a, const char *text, const char *want)
{
    char got[256] = "";
    struct str s = str_from(text);
    size_t at = 0, n = 0;
    const struct added_token *t;
    for (size_t from = 0; (t = added_tokens_next(a, s, from, &at)); from = at + t->len)
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%u@%zu", n ? " " : "", t->id, at);
    ck_assert_str_eq(got, want);
}

START_TEST(leftmost_then_longest)
{
    struct added_tokens a = { 0 };
    ck_assert_ok(add(&a, "[A]", 1));
    ck_assert_ok(add(&a, "[A][B]", 2));
    ck_assert_ok(add(&a, "[", 3));
    ck_assert_int_eq(a.only_first_byte, '[');
    check(&a, "", "");
    check(&a, "none", "");
    check(&a, "[A]", "1@0");
    check(&a, "x[A][B]y[A]", "2@1 1@8");
    check(&a, "[[A]", "3@0 1@1");
    check(&a, "[A", "3@0");
    ck_assert_ok(add(&a, "<s>", 4)); /* from here on several first bytes */
    ck_assert_int_eq(a.only_first_byte, -1);
    check(&a, "<<s>[A]<s", "4@1 1@4");
    added_tokens_done(&a);
}
END_TEST

START_TEST(none_at_all)
{
    struct added_tokens a = { 0 };
    check(&a, "[A]", "");
    added_tokens_done(&a);
}
END_TEST

START_TEST(limits)
{
    struct added_tokens a = { 0 };
    ck_assert_ok(add(&a, "x", 1));
    ck_assert_err(add(&a, "x", 2), ERR_UNPROCESSABLE);
    for (uint32_t i = 1; i < ADDED_TOKENS_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%u", i);
        ck_assert_ok(add(&a, name, i));
    }
    ck_assert_err(add(&a, "more", 1), ERR_UNPROCESSABLE);
    ck_assert_ptr_nonnull(added_tokens_find(&a, STR("t7")));
    ck_assert_ptr_null(added_tokens_find(&a, STR("more")));
    added_tokens_done(&a);
}
END_TEST

static enum err_code add_three(void)
{
    struct added_tokens a = { 0 };
    enum err_code code = add(&a, "a", 1);
    if (code == ERR_OK) code = add(&a, "b", 2);
    if (code == ERR_OK) code = add(&a, "cc", 3);
    added_tokens_done(&a);
    return code;
}

START_TEST(out_of_memory)
{
    OOM_LOOP(add_three);
}
END_TEST

TEST_SUITE(added_tokens)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, leftmost_then_longest);
    tcase_add_test(tc, none_at_all);
    tcase_add_test(tc, limits);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
