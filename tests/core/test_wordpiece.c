#include "core/text/wordpiece.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <string.h>

enum { MAX_PIECES = 600 };

/* A vocabulary being put together. */
struct vocab {
    char bytes[16384];
    uint32_t offsets[MAX_PIECES + 1];
    bool skip[MAX_PIECES];
    size_t n;
    struct wordpiece wp;
};

static void add(struct vocab *v, const char *piece)
{
    size_t len = strlen(piece);
    memcpy(v->bytes + v->offsets[v->n], piece, len);
    v->offsets[v->n + 1] = v->offsets[v->n] + (uint32_t)len;
    v->n++;
}

static enum err_code build(struct vocab *v, const char *prefix, size_t max_chars)
{
    struct wordpiece_config c = { .bytes = v->bytes,
        .offsets = v->offsets,
        .n_pieces = v->n,
        .skip = v->skip,
        .prefix = str_from(prefix),
        .unk_id = 0,
        .max_chars = max_chars };
    v->wp = (struct wordpiece){ 0 };
    return wordpiece_init(&v->wp, &c, NULL);
}

static size_t split(const struct vocab *v, const char *word, uint32_t *ids, uint32_t *ends)
{
    char padded[256] = { 0 };
    memcpy(padded, word, strlen(word));
    return wordpiece_split(&v->wp, padded, strlen(word), strlen(word), ids, ends);
}

static void check(const struct vocab *v, const char *word, size_t n, const uint32_t *want)
{
    uint32_t ids[256], ends[256];
    ck_assert_uint_eq(split(v, word, ids, ends), n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(
            ids[i] == want[i], "%s: piece %zu is %u, expected %u", word, i, ids[i], want[i]);
    ck_assert_uint_eq(ends[n - 1], strlen(word));
}

static struct vocab v; /* large; the tests run in processes of their own, or clear it */

static void build_english(void)
{
    static const char *const pieces[] = { "[UNK]", "un", "##aff", "##able", "##a", "##ff",
        "internationalisation", "##internationalisation", "inter", "##national", "é", "##é", "unaf",
        "##", "exactlytwelv", NULL };
    memset(&v, 0, sizeof v);
    for (const char *const *p = pieces; *p; p++)
        add(&v, *p);
    ck_assert_ok(build(&v, "##", 100));
}

START_TEST(greedy_longest_match)
{
    build_english();
    check(&v, "un", 1, (uint32_t[]){ 1 });
    check(&v, "unable", 2, (uint32_t[]){ 1, 3 });
    check(&v, "unaffable", 1,
        (uint32_t[]){ 0 }); /* "unaf" is longer than "un", and "##fable" is not there */
    check(&v, "unaaff", 3, (uint32_t[]){ 1, 4, 2 });
    check(&v, "internationalisation", 1, (uint32_t[]){ 6 });
    check(&v, "uninternationalisation", 2, (uint32_t[]){ 1, 7 });
    check(&v, "internationalinternationalisation", 3, (uint32_t[]){ 8, 9, 7 });
    check(&v, "exactlytwelv", 1, (uint32_t[]){ 14 });
    check(&v, "exactlytwelve", 1, (uint32_t[]){ 0 });
    check(&v, "é", 1, (uint32_t[]){ 10 });
    check(&v, "éé", 2, (uint32_t[]){ 10, 11 });
    check(&v, "xyz", 1, (uint32_t[]){ 0 });
    check(&v, "##able", 1, (uint32_t[]){ 3 }); /* where a word can begin like that */
    wordpiece_done(&v.wp);
}
END_TEST

START_TEST(long_words_are_unknown)
{
    memset(&v, 0, sizeof v);
    add(&v, "?");
    add(&v, "a");
    add(&v, "##a");
    ck_assert_ok(build(&v, "##", 5));
    check(&v, "aaaaa", 5, (uint32_t[]){ 1, 2, 2, 2, 2 });
    check(&v, "aaaaaa", 1, (uint32_t[]){ 0 });
    wordpiece_done(&v.wp);
}
END_TEST

START_TEST(without_prefix)
{
    memset(&v, 0, sizeof v);
    add(&v, "?");
    add(&v, "a");
    add(&v, "b");
    ck_assert_ok(build(&v, "", 100));
    check(&v, "abba", 4, (uint32_t[]){ 1, 2, 2, 1 });
    wordpiece_done(&v.wp);
}
END_TEST

START_TEST(skipped_pieces_are_never_matched)
{
    memset(&v, 0, sizeof v);
    add(&v, "?");
    add(&v, "added");
    v.skip[1] = true;
    ck_assert_ok(build(&v, "##", 100));
    check(&v, "added", 1, (uint32_t[]){ 0 });
    wordpiece_done(&v.wp);
}
END_TEST

static bool has_piece(const char *p, size_t n, bool first, uint32_t *ret)
{
    for (uint32_t id = 0; id < v.n; id++) {
        const char *piece = v.bytes + v.offsets[id];
        size_t len = v.offsets[id + 1] - v.offsets[id];
        if (!first) {
            if (len < 3 || memcmp(piece, "##", 2) != 0) continue;
            piece += 2;
            len -= 2;
        }
        if (len != n || memcmp(piece, p, n) != 0) continue;
        *ret = id;
        return true;
    }
    return false;
}

/* As the definition has it. */
static size_t naive(const char *word, size_t n, uint32_t *ids)
{
    size_t k = 0;
    for (size_t at = 0; at < n;) {
        size_t len = n - at;
        while (len > 0 && !has_piece(word + at, len, at == 0, &ids[k]))
            len--;
        if (len == 0) {
            ids[0] = 0;
            return 1;
        }
        at += len;
        k++;
    }
    return k;
}

START_TEST(random_words_against_the_definition)
{
    struct rng rng;
    rng_init(&rng, 11);
    memset(&v, 0, sizeof v);
    add(&v, "?");
    for (char c = 'a'; c <= 'c'; c++) {
        add(&v, (char[]){ c, '\0' });
        add(&v, (char[]){ '#', '#', c, '\0' });
    }
    while (v.n < MAX_PIECES) {
        char piece[32] = "##";
        size_t at = rng_below(&rng, 2) * 2, len = 2 + rng_below(&rng, 18);
        for (size_t i = 0; i < len; i++)
            piece[at + i] = (char)('a' + rng_below(&rng, 3));
        piece[at + len] = '\0';
        uint32_t id;
        if (!has_piece(piece, at + len, true, &id)) add(&v, piece);
    }
    ck_assert_ok(build(&v, "##", 100));
    for (int round = 0; round < 4000; round++) {
        char word[64] = { 0 };
        size_t n = 1 + rng_below(&rng, 30);
        uint32_t want[64], ids[64], ends[64];
        for (size_t i = 0; i < n; i++)
            word[i] = (char)('a' + rng_below(&rng, 3) + (rng_below(&rng, 200) == 0 ? 3 : 0));
        size_t k = naive(word, n, want);
        if (wordpiece_split(&v.wp, word, n, n, ids, ends) != k ||
            memcmp(ids, want, k * sizeof *ids) != 0)
            ck_abort_msg("other pieces of %s", word);
    }
    wordpiece_done(&v.wp);
}
END_TEST

START_TEST(find)
{
    uint32_t id;
    build_english();
    ck_assert(wordpiece_find(&v.wp, STR("##able"), &id) && id == 3);
    ck_assert(wordpiece_find(&v.wp, STR("##internationalisation"), &id) && id == 7);
    ck_assert(!wordpiece_find(&v.wp, STR("able"), &id) && !wordpiece_find(&v.wp, STR(""), &id));
    wordpiece_done(&v.wp);
}
END_TEST

static enum err_code build_once(void)
{
    memset(&v, 0, sizeof v);
    add(&v, "?");
    enum err_code code = build(&v, "##", 100);
    wordpiece_done(&v.wp);
    return code;
}

START_TEST(out_of_memory)
{
    OOM_LOOP(build_once);
}
END_TEST

TEST_SUITE(wordpiece)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, greedy_longest_match);
    tcase_add_test(tc, long_words_are_unknown);
    tcase_add_test(tc, without_prefix);
    tcase_add_test(tc, skipped_pieces_are_never_matched);
    tcase_add_test(tc, random_words_against_the_definition);
    tcase_add_test(tc, find);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
