/* Views of a text. A text is split once into words that know their sentence; every view is a choice of words. */
#include "core/learn/views.h"

#include "core/text/utf8.h"

#define DELETED_SHARE 0.3
#define KEPT_SENTENCE_SHARE 0.1
#define SHORTER_RUN_SHARE 0.3

struct word {
    const char *p;
    size_t n;
    size_t sentence;
    bool spaced; /* white space before it */
};
struct words {
    struct word *w;
    size_t n, n_sentences;
};

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for the views of a text");
}

/* ---- words and sentences ---- */

static bool is_space(uint32_t cp)
{
    return cp <= ' ' || cp == 0x7F || cp == 0x85 || cp == 0xA0 || (cp >= 0x2000 && cp <= 0x200B) ||
        cp == 0x2028 || cp == 0x2029 || cp == 0x3000 || cp == 0xFEFF;
}

static bool is_line_end(uint32_t cp)
{
    return cp == '\n' || cp == '\r' || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Written without spaces, each character about a word. */
static bool is_ideograph(uint32_t cp)
{
    return (cp >= 0x3040 && cp <= 0x30FF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
        (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0xF900 && cp <= 0xFAFF) ||
        (cp >= 0x20000 && cp <= 0x3FFFF);
}

static bool is_closing(uint32_t cp)
{
    return cp == '"' || cp == '\'' || cp == ')' || cp == ']' || cp == 0x2019 || cp == 0x201D ||
        cp == 0xBB || cp == 0x300D || cp == 0x300F;
}

/* Belongs to the word before it, also where that is a single character. */
static bool is_mark(uint32_t cp)
{
    return is_closing(cp) || cp == 0x3001 || cp == 0x3002 || cp == 0xFF01 || cp == 0xFF0C ||
        cp == 0xFF1F;
}

/* What the last characters were, as far as they end a sentence. */
enum ending { ENDING_NONE, ENDING_STOP, ENDING_STOP_SPACE, ENDING_SURE };

static enum ending ending_after(enum ending was, bool spaced, uint32_t cp)
{
    if (is_line_end(cp) || cp == 0x3002 || cp == 0xFF01 || cp == 0xFF1F) return ENDING_SURE;
    if (was == ENDING_SURE && (is_space(cp) || (!spaced && is_closing(cp)))) return ENDING_SURE;
    if (cp == '.' || cp == '!' || cp == '?' || cp == 0x2026) return ENDING_STOP;
    if (was == ENDING_STOP && is_closing(cp)) return ENDING_STOP;
    if (was >= ENDING_STOP && is_space(cp)) return ENDING_STOP_SPACE;
    return ENDING_NONE;
}

static bool ends_before(enum ending was, bool spaced, uint32_t cp)
{
    if (was == ENDING_SURE) return spaced || !is_closing(cp);
    return was == ENDING_STOP_SPACE && !(cp >= 'a' && cp <= 'z');
}

static enum err_code split(struct str text, struct arena *a, struct words *ret, struct err *e)
{
    struct words ws = { arena_alloc(a, text.n + 1, sizeof *ws.w), 0, 0 };
    enum ending ending = ENDING_SURE;
    bool open = false, spaced = false; /* the last word may grow; white space since it */
    if (!ws.w) return no_memory(e);
    for (const char *p = text.p, *end = text.p + text.n; p < end;) {
        uint32_t cp;
        if (open && ending == ENDING_NONE &&
            is_alnum(*p)) { /* the same as below, most of the time */
            ws.w[ws.n - 1].n++;
            p++;
            continue;
        }
        unsigned n = utf8_decode(p, end, &cp);
        if (!is_space(cp)) {
            bool next = ends_before(ending, spaced, cp) || ws.n == 0;
            bool grows = ws.n > 0 && !spaced && (is_mark(cp) || (open && !is_ideograph(cp)));
            ws.n_sentences += next;
            if (next || !grows) ws.w[ws.n++] = (struct word){ p, 0, ws.n_sentences - 1, spaced };
            ws.w[ws.n - 1].n += n;
        }
        open = !is_space(cp) && !is_ideograph(cp);
        ending = ending_after(ending, spaced, cp);
        spaced = is_space(cp);
        p += n;
    }
    *ret = ws;
    return ERR_OK;
}

/* The words whose bit is set, with a space where there was one. */
static enum err_code join(
    const struct words *ws, const bool *chosen, struct arena *a, struct str *ret, struct err *e)
{
    size_t bytes = 0;
    for (size_t i = 0; i < ws->n; i++)
        if (chosen[i]) bytes += ws->w[i].n + 1;
    char *p = arena_alloc(a, bytes, 1), *at = p;
    bool spaced = false;
    if (!p) return no_memory(e);
    for (size_t i = 0; i < ws->n; i++) {
        spaced = spaced || ws->w[i].spaced;
        if (!chosen[i]) continue;
        if (spaced && at > p) *at++ = ' ';
        memcpy(at, ws->w[i].p, ws->w[i].n);
        at += ws->w[i].n;
        spaced = false;
    }
    *ret = (struct str){ p, (size_t)(at - p) };
    return ERR_OK;
}

/* ---- the three kinds ---- */

/* A sentence to ask with: one of those that have enough words and leave enough. false: there is none. */
static bool draw_sentence(const struct words *ws, struct rng *rng, bool *anchor, bool *positive)
{
    size_t n_good = 0, from = 0, to = 0;
    for (size_t start = 0, i = 1; i <= ws->n; i++) {
        if (i < ws->n && ws->w[i].sentence == ws->w[start].sentence) continue;
        size_t length = i - start;
        /* Each of the good ones so far stays with equal chance. */
        if (length >= VIEW_MIN_WORDS && ws->n - length >= VIEW_MIN_WORDS &&
            rng_below(rng, ++n_good) == 0) {
            from = start;
            to = i;
        }
        start = i;
    }
    if (n_good == 0) return false;
    bool kept = rng_unit(rng) < KEPT_SENTENCE_SHARE;
    for (size_t i = 0; i < ws->n; i++) {
        anchor[i] = i >= from && i < to;
        positive[i] = kept || !anchor[i];
    }
    return true;
}

static void draw_runs(const struct words *ws, struct rng *rng, bool *anchor, bool *positive)
{
    size_t least = (size_t)((double)ws->n * SHORTER_RUN_SHARE);
    size_t cut = least + (size_t)rng_below(rng, ws->n - 2 * least + 1);
    bool swap = rng_below(rng, 2);
    for (size_t i = 0; i < ws->n; i++) {
        anchor[i] = (i < cut) != swap;
        positive[i] = !anchor[i];
    }
}

/* Three tenths of n words, at least one of them and never all. */
static void draw_kept(struct rng *rng, size_t n, bool *kept)
{
    for (size_t i = 0; i < n; i++)
        kept[i] = rng_unit(rng) >= DELETED_SHARE;
    kept[rng_below(rng, n)] = true;
}

static void draw_deletions(const struct words *ws, struct rng *rng, bool *anchor, bool *positive)
{
    do {
        draw_kept(rng, ws->n, anchor);
        draw_kept(rng, ws->n, positive);
    } while (memcmp(anchor, positive, ws->n * sizeof *anchor) == 0);
}

enum err_code views_draw(struct str text, struct rng *rng, struct arena *a, struct str *ret_anchor,
    struct str *ret_positive, bool *ret_drawn, struct err *e)
{
    struct words ws = { 0 };
    struct str left, right;
    *ret_drawn = false;
    if (text.n == 0 || !utf8_valid(text, NULL)) return ERR_OK;
    TRY(split(text, a, &ws, e));
    if (ws.n < VIEW_MIN_WORDS) return ERR_OK;
    bool *anchor = arena_alloc(a, ws.n, sizeof *anchor);
    bool *positive = arena_alloc(a, ws.n, sizeof *positive);
    if (!anchor || !positive) return no_memory(e);
    if (ws.n_sentences < 2 || !draw_sentence(&ws, rng, anchor, positive)) {
        if (ws.n >= VIEW_HALF_WORDS)
            draw_runs(&ws, rng, anchor, positive);
        else
            draw_deletions(&ws, rng, anchor, positive);
    }
    TRY(join(&ws, anchor, a, &left, e));
    TRY(join(&ws, positive, a, &right, e));
    *ret_anchor = left;
    *ret_positive = right;
    *ret_drawn = true;
    return ERR_OK;
}
