#include "core/text/bert_normalize.h"

#include "tests/support/test.h"

#include <string.h>

static const struct bert_options UNCASED = { true, true, true, true };

static struct bert_expansion expand(const struct bert_options *o, uint32_t cp)
{
    struct bert_expansion x;
    bert_expand(o, cp, &x);
    return x;
}

START_TEST(classes)
{
    ck_assert(bert_is_space(' ') && bert_is_space('\v') && bert_is_space(0x85));
    ck_assert(bert_is_space(0xA0) && bert_is_space(0x3000) && bert_is_space(0x2028));
    ck_assert(!bert_is_space(0x200B) && !bert_is_space(0x180E));
    for (const char *p = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"; *p; p++)
        ck_assert(bert_is_punctuation((uint32_t)*p));
    ck_assert(!bert_is_punctuation('a') && !bert_is_punctuation('0') && !bert_is_punctuation(' '));
    ck_assert(bert_is_punctuation(0x2019) && bert_is_punctuation(0x3002));
    ck_assert(!bert_is_punctuation(0x20AC)); /* a currency sign is a symbol */
}
END_TEST

START_TEST(control_characters_are_dropped_and_white_space_is_a_space)
{
    const uint32_t dropped[] = { 0, 1, 0x7F, 0x85, 0x0B, 0xAD, 0x200B, 0x200D, 0xFEFF, 0xFFFD,
        0xE000 };
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        ck_assert_uint_eq(expand(&UNCASED, dropped[i]).n, 0);
    const uint32_t space[] = { '\t', '\n', '\r', ' ', 0xA0, 0x3000 };
    for (size_t i = 0; i < sizeof space / sizeof *space; i++) {
        struct bert_expansion x = expand(&UNCASED, space[i]);
        ck_assert_uint_eq(x.n, 1);
        ck_assert_uint_eq(x.out[0].class, BERT_SPACE);
        ck_assert_uint_eq(x.out[0].cp, ' ');
    }
    ck_assert_uint_eq(expand(&UNCASED, 0x378).n, 1); /* unassigned: stays */
    struct bert_options raw = { 0 };
    ck_assert_uint_eq(expand(&raw, 1).out[0].cp, 1);
    ck_assert_uint_eq(expand(&raw, 0xA0).out[0].class, BERT_SPACE);
}
END_TEST

START_TEST(accents_and_case)
{
    struct bert_options keep = UNCASED;
    keep.strip_accents = false;
    ck_assert_uint_eq(expand(&UNCASED, 0xC9).out[0].cp, 'e');
    ck_assert_uint_eq(expand(&UNCASED, 0xC9).n, 1);
    ck_assert_uint_eq(expand(&keep, 0xC9).out[0].cp, 0xE9);
    ck_assert_uint_eq(expand(&UNCASED, 0x301).n, 0);
    ck_assert_uint_eq(expand(&keep, 0x301).n, 1);
    ck_assert_uint_eq(expand(&UNCASED, 0x130).n, 1);  /* I, the dot is dropped */
    ck_assert_uint_eq(expand(&keep, 0x130).n, 2);     /* i and a dot */
    ck_assert_uint_eq(expand(&UNCASED, 0xAC01).n, 3); /* a Hangul syllable: three letters */
    ck_assert(expand(&UNCASED, 0x34F).new_run);       /* a starter that is dropped */
    ck_assert_uint_eq(expand(&UNCASED, 0x302E).out[0].combining_class, 224);
}
END_TEST

START_TEST(ideographs_stand_alone)
{
    ck_assert(expand(&UNCASED, 0x4E00).alone && expand(&UNCASED, 0x20000).alone);
    ck_assert(expand(&UNCASED, 0xF900).alone);
    ck_assert(!expand(&UNCASED, 0x3042).alone && !expand(&UNCASED, 0xAC00).alone);
    struct bert_options o = UNCASED;
    o.handle_chinese_chars = false;
    ck_assert(!expand(&o, 0x4E00).alone);
}
END_TEST

START_TEST(every_character_fits)
{
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xD800 && cp < 0xE000) continue;
        struct bert_expansion x = expand(&UNCASED, cp);
        bool bad = x.n > BERT_EXPANSION_MAX;
        for (unsigned i = 0; i < x.n && !bad; i++)
            bad = x.out[i].cp >= 0x110000;
        if (bad) ck_abort_msg("U+%04X", cp);
    }
}
END_TEST

TEST_SUITE(bert_normalize)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, classes);
    tcase_add_test(tc, control_characters_are_dropped_and_white_space_is_a_space);
    tcase_add_test(tc, accents_and_case);
    tcase_add_test(tc, ideographs_stand_alone);
    tcase_add_test(tc, every_character_fits);
    suite_add_tcase(s, tc);
}
