/* What the anchor set must be to be of use: in form, balanced, without repetition. */
#include "core/eval/general.h"

#include "tests/support/test.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { GRADES = 6, SENTENCES_MAX = 2000 };

static int by_text(const void *pa, const void *pb)
{
    const struct str *a = pa, *b = pb;
    size_t n = a->n < b->n ? a->n : b->n;
    int order = memcmp(a->p, b->p, n);
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

static bool is_sentence(struct str s)
{
    if (s.n < 8 || s.n > 120 || s.p[0] < 'A' || s.p[0] > 'Z') {
        bool number = s.n > 8 && s.p[0] >= '1' && s.p[0] <= '9';
        if (!number) return false;
    }
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~') return false;
    return s.p[s.n - 1] == '.' || s.p[s.n - 1] == '?';
}

START_TEST(lines_are_pairs_with_a_grade)
{
    struct str text = general_text();
    static struct str sentences[SENTENCES_MAX];
    size_t n = 0, of_grade[GRADES] = { 0 };
    ck_assert(text.n > 0 && text.p[text.n - 1] == '\n');
    for (const char *p = text.p, *end = p + text.n; p < end;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        ck_assert(stop - p > 2 && p[0] >= '0' && p[0] <= '5' && p[1] == '\t');
        of_grade[p[0] - '0']++;
        const char *tab = memchr(p + 2, '\t', (size_t)(stop - p - 2));
        ck_assert_ptr_nonnull(tab);
        ck_assert_uint_le(n + 2, SENTENCES_MAX);
        sentences[n] = (struct str){ p + 2, (size_t)(tab - p - 2) };
        sentences[n + 1] = (struct str){ tab + 1, (size_t)(stop - tab - 1) };
        ck_assert_msg(is_sentence(sentences[n]), "%.*s", STR_ARG(sentences[n]));
        ck_assert_msg(is_sentence(sentences[n + 1]), "%.*s", STR_ARG(sentences[n + 1]));
        n += 2;
        p = stop + 1;
    }
    ck_assert_uint_ge(n, 2 * 400);
    for (size_t g = 0; g < GRADES; g++)
        ck_assert_msg(of_grade[g] >= n / 2 / GRADES - 3 && of_grade[g] <= n / 2 / GRADES + 3,
            "%zu of grade %zu", of_grade[g], g);
    qsort(sentences, n, sizeof *sentences, by_text);
    for (size_t i = 1; i < n; i++)
        ck_assert_msg(
            by_text(&sentences[i - 1], &sentences[i]) != 0, "twice: %.*s", STR_ARG(sentences[i]));
}
END_TEST

TEST_SUITE(general)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, lines_are_pairs_with_a_grade);
    suite_add_tcase(s, tc);
}
