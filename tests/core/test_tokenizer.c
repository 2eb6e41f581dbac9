/* What the `tokenizers` library says (tests/data/core/wordpiece, made by
 * tools/text_parity/make_fixture.py), and what it does not say: limits,
 * truncation, hostile input.
 */
#include "core/text/tokenizer.h"

#include "base/mem.h"
#include "tests/core/model_fixture.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char FIXTURE[] = "tests/data/core/wordpiece";

static struct tokenizer_scratch *scratch;
static struct token_ids out;

static void set_up(void)
{
    scratch = tokenizer_scratch_new();
    ck_assert_ptr_nonnull(scratch);
    out = (struct token_ids){ .want_spans = true };
}

static void tear_down(void)
{
    tokenizer_scratch_free(scratch);
    token_ids_done(&out);
}

static struct tokenizer *load_fixture(void)
{
    struct err e = ERR_INIT;
    struct tokenizer *t;
    ck_assert_ok(tokenizer_load(FIXTURE, &t, &e), &e);
    return t;
}

/* The fixture's tokenizer with other settings of the normaliser. */
static struct tokenizer *load_variant(const json_t *flags)
{
    struct tmpdir dir;
    struct err e = ERR_INIT;
    struct tokenizer *t;
    json_t *j = json_load_file("tests/data/core/wordpiece/tokenizer.json", 0, NULL);
    ck_assert_ptr_nonnull(j);
    json_object_update(json_object_get(j, "normalizer"), (json_t *)flags);
    char *text = json_dumps(j, 0);
    tmpdir_make(&dir);
    fixture_write(&dir, "tokenizer.json", text);
    ck_assert_ok(tokenizer_load(dir.path, &t, &e), &e);
    tmpdir_remove(&dir);
    free(text);
    json_decref(j);
    return t;
}

static void check_case(const struct tokenizer *t, const json_t *c, int variant, size_t number)
{
    const json_t *text = json_array_get(c, 0), *ids = json_array_get(c, 1);
    const json_t *spans = json_array_get(c, 2);
    struct err e = ERR_INIT;
    struct str s = { json_string_value(text), json_string_length(text) };
    ck_assert_ok(tokenizer_encode(t, s, 0, scratch, &out, &e), &e);
    ck_assert_msg(out.n == json_array_size(ids), "variant %d, text %zu: %zu tokens, expected %zu",
        variant, number, out.n, json_array_size(ids));
    for (size_t i = 0; i < out.n; i++) {
        uint32_t id = (uint32_t)json_integer_value(json_array_get(ids, i));
        uint32_t begin = (uint32_t)json_integer_value(json_array_get(spans, 2 * i));
        uint32_t end = (uint32_t)json_integer_value(json_array_get(spans, 2 * i + 1));
        ck_assert_msg(out.ids[i] == id, "variant %d, text %zu: id %zu is %u, expected %u", variant,
            number, i, out.ids[i], id);
        ck_assert_msg(out.spans[i].begin == begin && out.spans[i].end == end,
            "variant %d, text %zu: span %zu is %u…%u, expected %u…%u", variant, number, i,
            out.spans[i].begin, out.spans[i].end, begin, end);
    }
}

START_TEST(equals_the_library)
{
    json_t *variants = json_load_file("tests/data/core/wordpiece/cases.json", JSON_ALLOW_NUL, NULL);
    ck_assert_ptr_nonnull(variants);
    ck_assert_uint_eq(json_array_size(variants), 5);
    const json_t *v = json_array_get(variants, (size_t)_i), *cases = json_object_get(v, "cases");
    struct tokenizer *t = load_variant(json_object_get(v, "normalizer"));
    ck_assert_uint_gt(json_array_size(cases), 100);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(t, json_array_get(cases, i), _i, i);
    tokenizer_free(t);
    json_decref(variants);
}
END_TEST

START_TEST(truncation_keeps_the_beginning_and_the_special_tokens)
{
    static const struct str text = STR("The cat sat on the mat, and the dog.");
    struct tokenizer *t = load_fixture();
    uint32_t whole[64], cls, sep;
    ck_assert(tokenizer_id(t, STR("[CLS]"), &cls) && tokenizer_id(t, STR("[SEP]"), &sep));
    ck_assert_ok(tokenizer_encode(t, text, 0, scratch, &out, NULL));
    size_t n = out.n;
    ck_assert(!out.truncated && n > 8 && n < 64);
    memcpy(whole, out.ids, n * sizeof *whole);
    for (size_t max = 1; max <= n + 1; max++) {
        ck_assert_ok(tokenizer_encode(t, text, max, scratch, &out, NULL));
        ck_assert_uint_eq(out.n, max < n ? max : n);
        ck_assert_int_eq(out.truncated, max < n);
        ck_assert_uint_eq(out.ids[0], cls);
        if (max == 1) continue;
        ck_assert_uint_eq(out.ids[out.n - 1], sep);
        ck_assert_mem_eq(out.ids + 1, whole + 1, (out.n - 2) * sizeof *whole);
    }
    out.no_specials = true;
    ck_assert_ok(tokenizer_encode(t, text, n - 2, scratch, &out, NULL));
    ck_assert(!out.truncated && out.n == n - 2 && out.ids[0] == whole[1]);
    ck_assert_ok(tokenizer_encode(t, text, n - 3, scratch, &out, NULL));
    ck_assert(out.truncated && out.n == n - 3);
    ck_assert_ok(tokenizer_encode(t, STR("  the  "), 1, scratch, &out, NULL));
    ck_assert(!out.truncated && out.n == 1);
    ck_assert_ok(tokenizer_encode(t, STR("  "), 1, scratch, &out, NULL));
    ck_assert(!out.truncated && out.n == 0);
    tokenizer_free(t);
}
END_TEST

START_TEST(bad_utf8_names_the_byte)
{
    struct tokenizer *t = load_fixture();
    struct err e = ERR_INIT;
    ck_assert_err(tokenizer_encode(t, STR("abc\xC3"), 0, scratch, &out, &e), ERR_INVALID);
    ck_assert_str_eq(e.msg, "the text is not valid UTF-8: byte 3");
    tokenizer_free(t);
}
END_TEST

static struct str repeated(char *buf, size_t n, const char *piece)
{
    size_t len = strlen(piece);
    for (size_t i = 0; i < n; i++)
        buf[i] = piece[i % len];
    return (struct str){ buf, n - n % len };
}

/* One word of a megabyte; a megabyte of words; of ideographs; of marks; of brackets. */
START_TEST(a_megabyte_of_anything)
{
    static const struct {
        const char *piece;
        size_t min, max; /* tokens without the special ones */
    } cases[] = { { "a", 1, 1 }, { "é", 1, 1 }, { "a ", 1 << 19, 1 << 19 },
        { "漢", 349525, 349525 }, { "\xCC\x81", 0, 0 }, { "[", 1 << 20, 1 << 20 },
        { "[CLS]", 209715, 209715 }, { "\xE3\x80\xAE\xE1\xAD\x84", 1, 1 }, { "\x01", 0, 0 },
        { "👨\u200d👩", 1, 1 } };
    enum { N = 1 << 20 };
    struct tokenizer *t = load_fixture();
    char *buf = mem_alloc(N, 1);
    ck_assert_ptr_nonnull(buf);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str text = repeated(buf, N, cases[i].piece);
        ck_assert_ok(tokenizer_encode(t, text, 0, scratch, &out, NULL));
        ck_assert_msg(out.n >= cases[i].min + 2 && out.n <= cases[i].max + 2,
            "case %zu: %zu tokens", i, out.n);
        ck_assert_ok(tokenizer_encode(t, text, 10, scratch, &out, NULL));
        ck_assert_uint_le(out.n, 10);
    }
    mem_free(buf);
    tokenizer_free(t);
}
END_TEST

START_TEST(pieces_and_ids)
{
    struct tokenizer *t = load_fixture();
    size_t n = tokenizer_vocab_size(t);
    for (uint32_t id = 0; id < n; id++) {
        uint32_t back;
        struct str piece = tokenizer_piece(t, id);
        ck_assert(piece.n > 0 && tokenizer_id(t, piece, &back));
        ck_assert_uint_eq(back, id);
    }
    ck_assert_uint_eq(tokenizer_piece(t, (uint32_t)n).n, 0);
    ck_assert(!tokenizer_id(t, STR("no such piece"), &(uint32_t){ 0 }));
    tokenizer_free(t);
}
END_TEST

static const struct tokenizer *oom_tokenizer;

static enum err_code encode_once(void)
{
    struct tokenizer_scratch *s = tokenizer_scratch_new();
    struct token_ids ids = { .want_spans = true };
    enum err_code code = s ? ERR_OK : ERR_NOMEM;
    static const char text[] =
        "The cat, unbelievable! ne\u0301e [CLS] x x x x x x x x x x x x x x x x x x x x x x x x "
        "x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x";
    if (s) code = tokenizer_encode(oom_tokenizer, str_from(text), 0, s, &ids, NULL);
    token_ids_done(&ids);
    tokenizer_scratch_free(s);
    return code;
}

static enum err_code load_once(void)
{
    struct tokenizer *t;
    enum err_code code = tokenizer_load(FIXTURE, &t, NULL);
    if (code == ERR_OK) tokenizer_free(t);
    return code;
}

START_TEST(out_of_memory)
{
    struct tokenizer *t = load_fixture();
    oom_tokenizer = t;
    OOM_LOOP(encode_once);
    tokenizer_free(t);
    OOM_LOOP(load_once);
}
END_TEST

TEST_SUITE(tokenizer)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, equals_the_library, 0, 5);
    tcase_add_test(tc, truncation_keeps_the_beginning_and_the_special_tokens);
    tcase_add_test(tc, bad_utf8_names_the_byte);
    tcase_add_test(tc, a_megabyte_of_anything);
    tcase_add_test(tc, pieces_and_ids);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
