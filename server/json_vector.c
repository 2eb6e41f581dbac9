/* One pass, no recursion: a stack of open brackets, each with the set of patterns (a bit mask) that its
 * path still agrees with. The pass knows as much grammar as it needs to tell names from values; what it
 * takes for JSON but is none stays malformed after lifting, because a list is replaced by another value,
 * followed by a blank so that it cannot grow together with what comes next, and the tree parser rejects it.
 *
 * The text is compacted in place: `out` never overtakes the reading position, since a placeholder is never
 * longer than its list.
 */
#include "server/json_vector.h"

#include "server/float_text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { LEVELS_MAX = 64, SEGMENT_BYTES = 32, STACK_FLOATS = 2048 };

struct level {
    const char *name; /* object: raw bytes of the current name, between the quotes */
    size_t n_name;
    size_t index;   /* list: of the current element */
    uint32_t mask;  /* patterns that agree with the path to this bracket */
    uint32_t child; /* patterns that agree with the path to the current member or element */
    bool is_object, expect_name, expect_value;
};

struct pattern {
    const char *segments[JSON_VECTOR_PATH_DEPTH_MAX];
    size_t lengths[JSON_VECTOR_PATH_DEPTH_MAX];
    size_t n;
};

struct lift {
    const char *p, *end; /* reading position */
    const char *run;     /* start of what was read and not yet moved */
    char *text, *out;
    struct pattern patterns[JSON_VECTOR_PATHS_MAX];
    size_t n_patterns, depth_max;
    struct level levels[LEVELS_MAX];
    size_t depth;
    struct arena *arena;
    struct json_vectors found;
};

size_t json_vectors_offset(const struct json_vectors *v, size_t at)
{
    for (size_t i = v->n; i > 0; i--) {
        if (v->p[i - 1].end <= at) return at + v->p[i - 1].removed;
    }
    return at;
}

/* ---- patterns ---- */

static void patterns_parse(struct lift *l, const char *const *paths)
{
    for (; paths && *paths; paths++) {
        ASSERT_BUG(l->n_patterns < JSON_VECTOR_PATHS_MAX && **paths == '/');
        struct pattern *pt = &l->patterns[l->n_patterns++];
        for (const char *s = *paths; *s == '/';) {
            size_t n = strcspn(++s, "/");
            ASSERT_BUG(pt->n < JSON_VECTOR_PATH_DEPTH_MAX);
            pt->segments[pt->n] = s;
            pt->lengths[pt->n++] = n;
            s += n;
        }
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The byte that the escape after a backslash at p stands for, -1 if it is none or not ASCII; *ret_n is its
 * length without the backslash. */
static int unescape(const char *p, const char *end, size_t *ret_n)
{
    static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (p == end) return -1;
    *ret_n = 1;
    const char *at = *p ? strchr(letters, *p) : NULL;
    if (at) return bytes[at - letters];
    if (*p != 'u' || end - p < 5) return -1;
    *ret_n = 5;
    int c = 0;
    for (int i = 1; i < 5; i++) {
        int h = hex_digit(p[i]);
        if (h < 0) return -1;
        c = c * 16 + h;
    }
    return c < 0x80 ? c : -1;
}

static bool name_is(const char *name, size_t n, const char *want, size_t n_want)
{
    if (!memchr(name, '\\', n)) return n == n_want && memcmp(name, want, n) == 0;
    const char *end = name + n;
    for (size_t i = 0; i < n_want; i++) {
        if (name == end) return false;
        int c = (unsigned char)*name++;
        if (c == '\\') {
            size_t n_escape = 0;
            c = unescape(name, end, &n_escape);
            name += n_escape;
        }
        if (c != (unsigned char)want[i]) return false;
    }
    return name == end;
}

/* Patterns of v->mask that go on with the current member or element of level number `at` (0: outermost). */
static uint32_t child_mask(const struct lift *l, const struct level *v, size_t at)
{
    uint32_t mask = 0;
    for (size_t i = 0; v->mask >> i; i++) {
        const struct pattern *pt = &l->patterns[i];
        if (!(v->mask >> i & 1) || at >= pt->n) continue;
        bool same = v->is_object ? name_is(v->name, v->n_name, pt->segments[at], pt->lengths[at])
                                 : pt->lengths[at] == 2 && memcmp(pt->segments[at], "[]", 2) == 0;
        if (same) mask |= UINT32_C(1) << i;
    }
    return mask;
}

/* The pattern that ends at the current value, NULL if none does. */
static const struct pattern *pattern_here(const struct lift *l)
{
    uint32_t mask = l->depth ? l->levels[l->depth - 1].child : 0;
    for (size_t i = 0; mask >> i; i++) {
        if ((mask >> i & 1) && l->patterns[i].n == l->depth) return &l->patterns[i];
    }
    return NULL;
}

/* With a pointer to the current value, which is at a pattern. */
static enum err_code fail(const struct lift *l, const char *message, struct err *e)
{
    const struct pattern *pt = pattern_here(l);
    char pointer[ERR_FIELD_BYTES];
    size_t n = 0;
    for (size_t i = 0; i < pt->n && n < sizeof pointer; i++) {
        const struct level *v = &l->levels[i];
        int m = v->is_object ? snprintf(pointer + n, sizeof pointer - n, "/%.*s",
                                   (int)pt->lengths[i], pt->segments[i])
                             : snprintf(pointer + n, sizeof pointer - n, "/%zu", v->index);
        n += m > 0 ? (size_t)m : 0;
    }
    return err_set_field(e, ERR_INVALID, pointer, "%s %s", pointer, message);
}

/* ---- lists ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && is_blank(*p))
        p++;
    return p;
}

struct floats {
    float *p;
    size_t n, cap;
    float first[STACK_FLOATS];
};

static bool floats_push(struct floats *f, struct arena *a, float v)
{
    if (f->n == f->cap) {
        float *p = f->cap > SIZE_MAX / 2 ? NULL : arena_alloc(a, f->cap * 2, sizeof *p);
        if (!p) return false;
        memcpy(p, f->p, f->n * sizeof *p);
        f->p = p;
        f->cap *= 2;
    }
    f->p[f->n++] = v;
    return true;
}

/* Parse the list at l->p, which is not empty; *ret_end is the byte after it, NULL where it is no list of floats. */
static enum err_code list_parse(
    struct lift *l, struct floats *f, const char **ret_end, struct err *e)
{
    const char *p = l->p + 1;
    *ret_end = NULL;
    for (;;) {
        float v;
        p = skip_blanks(p, l->end);
        const char *after = float_text_read(p, &v);
        if (!after) return ERR_OK;
        if (!floats_push(f, l->arena, v)) return err_set(e, ERR_NOMEM, "no memory for a vector");
        p = skip_blanks(after, l->end);
        if (p < l->end && *p == ']') break;
        if (p == l->end || *p != ',') return ERR_OK;
        p++;
    }
    *ret_end = p + 1;
    return ERR_OK;
}

static struct json_lifted *found_add(struct lift *l)
{
    struct json_vectors *v = &l->found;
    if (v->n == v->cap) {
        size_t cap = v->cap ? v->cap * 2 : 16;
        struct json_lifted *p = arena_alloc(l->arena, cap, sizeof *p);
        if (!p) return NULL;
        if (v->n) memcpy(p, v->p, v->n * sizeof *p);
        v->p = p;
        v->cap = cap;
    }
    return &v->p[v->n++];
}

/* Move what was read since the last placeholder. */
static void flush(struct lift *l)
{
    size_t n = (size_t)(l->p - l->run);
    if (l->out != l->run) memmove(l->out, l->run, n);
    l->out += n;
    l->run = l->p;
}

/* Lift the list at l->p. *ret_lifted false: it stays, because it is empty, too short or not all floats. */
static enum err_code list_lift(struct lift *l, bool *ret_lifted, struct err *e)
{
    *ret_lifted = false;
    const char *first = skip_blanks(l->p + 1, l->end);
    if (first < l->end && *first == ']') return ERR_OK;

    struct floats f;
    f.p = f.first;
    f.n = 0;
    f.cap = STACK_FLOATS;
    const char *end = NULL;
    TRY(list_parse(l, &f, &end, e));
    if (!end) return ERR_OK;
    char text[24];
    size_t n_text = (size_t)snprintf(text, sizeof text, "%zu ", l->found.n);
    if (n_text > (size_t)(end - l->p)) return ERR_OK;

    if (f.p == f.first) {
        f.p = arena_alloc(l->arena, f.n, sizeof *f.p);
        if (f.p) memcpy(f.p, f.first, f.n * sizeof *f.p);
    }
    struct json_lifted *slot = f.p ? found_add(l) : NULL;
    if (!slot) return err_set(e, ERR_NOMEM, "no memory for a vector");
    flush(l);
    memcpy(l->out, text, n_text);
    l->out += n_text;
    l->p = l->run = end;
    slot->v = (struct json_vector){ f.p, f.n };
    slot->end = (size_t)(l->out - l->text);
    slot->removed = (size_t)(end - l->out);
    *ret_lifted = true;
    return ERR_OK;
}

/* ---- the pass ---- */

static enum err_code push(struct lift *l, bool is_object, struct err *e)
{
    if (l->depth == l->depth_max)
        return err_set(
            e, ERR_INVALID, "the JSON text is nested deeper than %zu levels", l->depth_max);
    uint32_t mask =
        l->depth ? l->levels[l->depth - 1].child : (uint32_t)((UINT64_C(1) << l->n_patterns) - 1);
    struct level *v = &l->levels[l->depth++];
    *v = (struct level){
        .is_object = is_object, .mask = mask, .expect_name = is_object, .expect_value = !is_object
    };
    if (!is_object && mask) v->child = child_mask(l, v, l->depth - 1);
    l->p++;
    return ERR_OK;
}

static const char *string_end(const char *p, const char *end)
{
    while (p < end && *p != '"') {
        if (*p == '\\') p++;
        p++;
    }
    return p < end ? p : end;
}

static void read_string(struct lift *l, struct level *v)
{
    const char *start = l->p + 1, *quote = string_end(start, l->end);
    if (v && v->expect_name) {
        v->name = start;
        v->n_name = (size_t)(quote - start);
        v->expect_name = false;
        v->child = v->mask ? child_mask(l, v, l->depth - 1) : 0;
    }
    l->p = quote < l->end ? quote + 1 : l->end;
}

/* The first byte of a value where a vector belongs. A number could be taken for a placeholder, so it is
 * refused here; what else does not belong is left to the reader, which knows whose fault it is. */
static enum err_code vector_value(struct lift *l, bool *ret_lifted, struct err *e)
{
    *ret_lifted = false;
    if (*l->p == '[') return list_lift(l, ret_lifted, e);
    if (*l->p == '-' || (*l->p >= '0' && *l->p <= '9'))
        return fail(l, "must be a list of numbers, or base64", e);
    return ERR_OK;
}

/* One structural byte or string; *ret_done after the outermost bracket, and where this is no JSON. */
static enum err_code step(struct lift *l, bool *ret_done, struct err *e)
{
    struct level *v = l->depth ? &l->levels[l->depth - 1] : NULL;
    char c = *l->p;
    if (v && v->expect_value && !is_blank(c) && !(c == ']' && !v->is_object)) {
        v->expect_value = false;
        bool lifted = false;
        if (v->child && pattern_here(l)) TRY(vector_value(l, &lifted, e));
        if (lifted) return ERR_OK;
    }
    switch (c) {
    case '"': read_string(l, v); return ERR_OK;
    case '{':
    case '[': return push(l, c == '{', e);
    case '}':
    case ']':
        l->p++;
        if (!v || v->is_object != (c == '}') || --l->depth == 0) *ret_done = true;
        return ERR_OK;
    case ',':
        if (v && v->is_object) {
            v->expect_name = true;
            v->child = 0;
        } else if (v) {
            v->index++;
            v->expect_value = true;
        }
        break;
    case ':':
        if (v && v->is_object) v->expect_value = true;
        break;
    default: break;
    }
    l->p++;
    return ERR_OK;
}

enum err_code json_vector_lift(char *text, size_t *n_text, const char *const *paths,
    size_t depth_max, struct arena *a, struct json_vectors *ret, struct err *e)
{
    struct lift l = { .p = text,
        .end = text + *n_text,
        .run = text,
        .text = text,
        .out = text,
        .depth_max = depth_max < LEVELS_MAX ? depth_max : LEVELS_MAX,
        .arena = a };
    patterns_parse(&l, paths);
    bool done = false;
    while (l.p < l.end && !done)
        TRY(step(&l, &done, e));
    if (l.found.n) {
        l.p = l.end;
        flush(&l);
        *l.out = '\0';
        *n_text = (size_t)(l.out - text);
    }
    *ret = l.found;
    return ERR_OK;
}
