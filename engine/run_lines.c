#include "engine/run_lines.h"

#include "core/text/utf8.h"

#include <math.h>
#include <stdlib.h>

static const char *const words[] = { [LINE_PHASE] = "phase",
    [LINE_PROGRESS] = "progress",
    [LINE_DATA] = "data",
    [LINE_METRIC] = "metric",
    [LINE_WEIGHTS] = "weights",
    [LINE_DECISION] = "decision",
    [LINE_ERROR] = "error",
    [LINE_END] = "end" };
enum { N_WORDS = sizeof words / sizeof *words };

/* ---- words and numbers, shared by reading and writing ---- */

static bool all_of(struct str s, const char *set, size_t max)
{
    if (s.n == 0 || s.n > max) return false;
    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !strchr(set, s.p[i])) return false;
    return true;
}

static bool is_hash(struct str s)
{
    return all_of(s, "0123456789abcdef", RUN_HASH_MAX);
}

static bool is_name(struct str s)
{
    return all_of(s, "abcdefghijklmnopqrstuvwxyz0123456789_.", RUN_NAME_MAX);
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7F;
}

/* ---- reading ---- */

/* Everything up to the next space, which is taken too. */
static struct str take_word(struct str *rest)
{
    const char *space = rest->n ? memchr(rest->p, ' ', rest->n) : NULL;
    struct str word = { rest->p, space ? (size_t)(space - rest->p) : rest->n };
    size_t used = word.n + (space != NULL);
    rest->p += used;
    rest->n -= used;
    return word;
}

static bool parse_count(struct str s, int64_t *ret)
{
    int64_t v = 0;
    if (s.n == 0) return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || v > (INT64_MAX - (s.p[i] - '0')) / 10) return false;
        v = 10 * v + (s.p[i] - '0');
    }
    *ret = v;
    return true;
}

static bool parse_number(struct str s, double *ret)
{
    char text[40], *end;
    if (!all_of(s, "0123456789+-.e", sizeof text - 1)) return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    *ret = strtod(text, &end);
    return *end == '\0' && isfinite(*ret);
}

static bool parse_phase(struct str s, enum run_status *ret)
{
    *ret = str_is(s, "evaluating") ? RUN_EVALUATING : RUN_RUNNING;
    return str_is(s, "evaluating") || str_is(s, "running");
}

static bool parse_promote(struct str s, bool *ret)
{
    *ret = str_is(s, "promote");
    return *ret || str_is(s, "reject");
}

static bool parse_code(struct str s, enum err_code *ret)
{
    static const enum err_code codes[] = {
#define X(name, text) ERR_##name,
        ERR_MAP(X)
#undef X
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (codes[i] == ERR_OK || !str_is(s, err_name(codes[i]))) continue;
        *ret = codes[i];
        return true;
    }
    return false;
}

static bool parse_kind(struct str s, enum run_line_kind *ret)
{
    for (size_t i = 0; i < N_WORDS; i++) {
        if (!str_is(s, words[i])) continue;
        *ret = (enum run_line_kind)i;
        return true;
    }
    return false;
}

/* What follows the kind; *rest is what follows that. */
static bool parse_rest(struct str *rest, struct run_line *line)
{
    switch (line->kind) {
    case LINE_PHASE: return parse_phase(take_word(rest), &line->phase);
    case LINE_PROGRESS:
        return parse_count(take_word(rest), &line->step) &&
            parse_count(take_word(rest), &line->steps) &&
            parse_number(take_word(rest), &line->value);
    case LINE_DATA:
    case LINE_WEIGHTS: line->name = take_word(rest); return is_hash(line->name);
    case LINE_METRIC:
        line->name = take_word(rest);
        return is_name(line->name) && parse_number(take_word(rest), &line->value);
    case LINE_DECISION:
    case LINE_ERROR:
        if (line->kind == LINE_ERROR ? !parse_code(take_word(rest), &line->code)
                                     : !parse_promote(take_word(rest), &line->promote))
            return false;
        line->text = *rest;
        *rest = (struct str){ rest->p + rest->n, 0 };
        return true;
    case LINE_END: return true;
    }
    return false;
}

enum err_code run_line_parse(struct str line, struct run_line *ret, struct err *e)
{
    struct run_line got = { .kind = LINE_END };
    struct str rest = line;
    bool good = line.n > 0 && line.n <= RUN_LINE_MAX;
    if (good && line.p[line.n - 1] == '\n') rest.n--;
    for (size_t i = 0; good && i < rest.n; i++)
        good = !is_control(rest.p[i]);
    good = good && utf8_valid(rest, NULL) && parse_kind(take_word(&rest), &got.kind) &&
        parse_rest(&rest, &got) && rest.n == 0;
    if (!good) return err_set(e, ERR_CORRUPT, "a line of the training process cannot be read");
    *ret = got;
    return ERR_OK;
}

/* ---- writing ---- */

/* As much of the text as leaves room for the newline. */
static void put_text(struct buf *b, struct str text, size_t room)
{
    if (text.n > RUN_LINE_MAX) text.n = RUN_LINE_MAX; /* a byte in is a byte out */
    for (size_t used = 0; text.n;) {
        size_t bad_at, n;
        if (is_control(*text.p) || (!utf8_valid(text, &bad_at) && bad_at == 0)) {
            if (used == room) return;
            buf_putc(b, is_control(*text.p) ? ' ' : '?');
            n = 1;
        } else {
            uint32_t cp;
            n = utf8_decode(text.p, text.p + text.n, &cp);
            if (n > room - used) return;
            buf_append(b, text.p, n);
        }
        used += n;
        text.p += n;
        text.n -= n;
    }
}

static bool can_write(const struct run_line *line)
{
    switch (line->kind) {
    case LINE_PHASE: return line->phase == RUN_RUNNING || line->phase == RUN_EVALUATING;
    case LINE_PROGRESS: return line->step >= 0 && line->steps >= 0 && isfinite(line->value);
    case LINE_DATA:
    case LINE_WEIGHTS: return is_hash(line->name);
    case LINE_METRIC: return is_name(line->name) && isfinite(line->value);
    case LINE_DECISION:
    case LINE_END: return true;
    case LINE_ERROR: return line->code != ERR_OK;
    }
    return false;
}

enum err_code run_line_write(struct buf *b, const struct run_line *line, struct err *e)
{
    size_t start = b->n;
    if (!can_write(line))
        return err_set(e, ERR_INVALID, "a line for the server has a value it cannot read back");
    buf_puts(b, words[line->kind]);
    switch (line->kind) {
    case LINE_PHASE: buf_puts(b, line->phase == RUN_EVALUATING ? " evaluating" : " running"); break;
    case LINE_PROGRESS:
        buf_printf(
            b, " %lld %lld %.9g", (long long)line->step, (long long)line->steps, line->value);
        break;
    case LINE_DATA:
    case LINE_WEIGHTS: buf_printf(b, " %.*s", STR_ARG(line->name)); break;
    case LINE_METRIC: buf_printf(b, " %.*s %.17g", STR_ARG(line->name), line->value); break;
    case LINE_DECISION: buf_puts(b, line->promote ? " promote " : " reject "); break;
    case LINE_ERROR: buf_printf(b, " %s ", err_name(line->code)); break;
    case LINE_END: break;
    }
    if (line->kind == LINE_DECISION || line->kind == LINE_ERROR)
        put_text(b, line->text, RUN_LINE_MAX - 1 - (b->n - start));
    buf_putc(b, '\n');
    return buf_check(b, e);
}
