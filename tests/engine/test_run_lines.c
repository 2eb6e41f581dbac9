#include "engine/run_lines.h"

#include "core/text/utf8.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* Write, compare, read back. */
static struct run_line both_ways(const struct run_line *line, const char *want)
{
    static struct buf b;
    struct err e = ERR_INIT;
    struct run_line got = { .step = -1 };
    buf_done(&b);
    ck_assert_ok(run_line_write(&b, line, &e), &e);
    ck_assert_str_eq(b.p, want);
    ck_assert_ok(run_line_parse(buf_str(&b), &got, &e), &e);
    ck_assert_int_eq(got.kind, line->kind);
    b.n--; /* without the newline, too */
    ck_assert_ok(run_line_parse(buf_str(&b), &got, &e), &e);
    return got;
}

START_TEST(every_kind_goes_both_ways)
{
    struct run_line g;
    g = both_ways(
        &(struct run_line){ .kind = LINE_PHASE, .phase = RUN_RUNNING }, "phase running\n");
    ck_assert_int_eq(g.phase, RUN_RUNNING);
    g = both_ways(
        &(struct run_line){ .kind = LINE_PHASE, .phase = RUN_EVALUATING }, "phase evaluating\n");
    ck_assert_int_eq(g.phase, RUN_EVALUATING);
    g = both_ways(
        &(struct run_line){ .kind = LINE_PROGRESS, .step = 20, .steps = 400, .value = 1.5 },
        "progress 20 400 1.5\n");
    ck_assert_int_eq(g.step, 20);
    ck_assert_int_eq(g.steps, 400);
    ck_assert_double_eq(g.value, 1.5);
    g = both_ways(
        &(struct run_line){ .kind = LINE_DATA, .name = STR("00ff12ab") }, "data 00ff12ab\n");
    ck_assert(str_is(g.name, "00ff12ab"));
    g = both_ways(
        &(struct run_line){ .kind = LINE_METRIC, .name = STR("before.recall_at_10"), .value = 0.1 },
        "metric before.recall_at_10 0.10000000000000001\n");
    ck_assert(str_is(g.name, "before.recall_at_10"));
    ck_assert(g.value == 0.1);
    g = both_ways(
        &(struct run_line){ .kind = LINE_METRIC, .name = STR("gain"), .value = -2.5e-300 },
        "metric gain -2.5e-300\n");
    ck_assert(g.value == -2.5e-300);
    g = both_ways(&(struct run_line){ .kind = LINE_WEIGHTS, .name = STR("a0") }, "weights a0\n");
    ck_assert(str_is(g.name, "a0"));
    g = both_ways(
        &(struct run_line){
            .kind = LINE_DECISION, .promote = true, .text = STR("recall rose from 0.5 to 0.6") },
        "decision promote recall rose from 0.5 to 0.6\n");
    ck_assert(g.promote && str_is(g.text, "recall rose from 0.5 to 0.6"));
    g = both_ways(
        &(struct run_line){ .kind = LINE_DECISION, .text = STR("") }, "decision reject \n");
    ck_assert(!g.promote && g.text.n == 0);
    g = both_ways(
        &(struct run_line){
            .kind = LINE_ERROR, .code = ERR_UNPROCESSABLE, .text = STR("no pairs") },
        "error unprocessable no pairs\n");
    ck_assert(g.code == ERR_UNPROCESSABLE && str_is(g.text, "no pairs"));
    both_ways(&(struct run_line){ .kind = LINE_END }, "end\n");
}
END_TEST

START_TEST(texts_stay_on_their_line)
{
    struct run_line g = both_ways(
        &(struct run_line){
            .kind = LINE_ERROR, .code = ERR_IO, .text = STR("a\nb\tc\x01\x7F\xFF \xC3\xA9\xC3") },
        "error io a b c  ? \xC3\xA9?\n");
    ck_assert(str_is(g.text, "a b c  ? \xC3\xA9?"));
}
END_TEST

START_TEST(long_texts_are_cut_at_a_character)
{
    static char text[4096];
    struct err e = ERR_INIT;
    /* "decision reject " has 16 bytes; the shift moves the cut through a character of 3 bytes. */
    for (size_t shift = 0; shift < 3; shift++) {
        struct buf b = BUF_INIT(0);
        struct run_line line = { .kind = LINE_DECISION }, got;
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 <= sizeof text; i += 3)
            memcpy(text + i, "\xE2\x82\xAC", 3);
        line.text = (struct str){ text, sizeof text / 3 * 3 };
        ck_assert_ok(run_line_write(&b, &line, &e), &e);
        ck_assert_uint_le(b.n, RUN_LINE_MAX);
        ck_assert_uint_gt(b.n, RUN_LINE_MAX - 3);
        ck_assert_ok(run_line_parse(buf_str(&b), &got, &e), &e);
        ck_assert(utf8_valid(got.text, NULL));
        buf_done(&b);
    }
}
END_TEST

START_TEST(names_that_could_not_be_read_back_are_refused)
{
    static const struct run_line bad[] = {
        { .kind = LINE_PHASE, .phase = RUN_QUEUED },
        { .kind = LINE_PROGRESS, .step = -1 },
        { .kind = LINE_PROGRESS, .value = NAN },
        { .kind = LINE_METRIC, .name = { "a", 1 }, .value = INFINITY },
        { .kind = LINE_METRIC, .name = { "a b", 3 } },
        { .kind = LINE_METRIC, .name = { "", 0 } },
        { .kind = LINE_DATA, .name = { "", 0 } },
        { .kind = LINE_DATA, .name = { "A0", 2 } },
        { .kind = LINE_ERROR, .code = ERR_OK },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf b = BUF_INIT(0);
        ck_assert_err(run_line_write(&b, &bad[i], NULL), ERR_INVALID);
        ck_assert_uint_eq(b.n, 0);
        buf_done(&b);
    }
}
END_TEST

START_TEST(other_lines_are_corrupt)
{
    static const char *const bad[] = { "", "\n", "phase", "phase queued", "phase running x",
        "phase running\n\n", "phase running\r\n", " phase running", "progress 1 2",
        "progress 1 2 x", "progress -1 2 3", "progress 1 2 nan", "progress 1 2 1e999",
        "progress 1 2 0x1", "progress 1 2 3 4", "progress 9223372036854775808 2 3",
        "progress  1 2 3", "data", "data xyz", "data AB", "metric a", "metric A 1", "metric a inf",
        "metric  1", "weights", "decision", "decision maybe x", "error", "error ok x",
        "error nothing x", "error io a\tb", "error io \xFF", "end x", "ends", "END" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct run_line got;
        if (run_line_parse(str_from(bad[i]), &got, NULL) != ERR_CORRUPT)
            ck_abort_msg("\"%s\" was read", bad[i]);
    }
    ck_assert_err(run_line_parse(STR("data 0\0"), &(struct run_line){ 0 }, NULL), ERR_CORRUPT);
    ck_assert_err(
        run_line_parse((struct str){ NULL, 0 }, &(struct run_line){ 0 }, NULL), ERR_CORRUPT);
    static char text[RUN_LINE_MAX + 8] = "error io ";
    memset(text + 9, 'x', RUN_LINE_MAX - 9);
    ck_assert_ok(run_line_parse((struct str){ text, RUN_LINE_MAX }, &(struct run_line){ 0 }, NULL));
    text[RUN_LINE_MAX] = 'x';
    ck_assert_err(
        run_line_parse((struct str){ text, RUN_LINE_MAX + 1 }, &(struct run_line){ 0 }, NULL),
        ERR_CORRUPT);
}
END_TEST

TEST_SUITE(run_lines)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, every_kind_goes_both_ways);
    tcase_add_test(tc, texts_stay_on_their_line);
    tcase_add_test(tc, long_texts_are_cut_at_a_character);
    tcase_add_test(tc, names_that_could_not_be_read_back_are_refused);
    tcase_add_test(tc, other_lines_are_corrupt);
    suite_add_tcase(s, tc);
}
