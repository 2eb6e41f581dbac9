/* jansson builds the tree; the bounds it lacks (nesting it recurses by, vectors it would allocate number by
 * number) are kept by the pass of json_vector.c, which comes first.
 */
#include "server/json_read.h"

#include "base/buf.h"
#include "base/mem.h"
#include "server/json_write.h"

#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* jansson does not say when it fails for lack of memory, at least not always. */
static _Thread_local bool out_of_memory;

static void *json_alloc(size_t n)
{
    void *p = mem_alloc(n, 1);
    if (!p) out_of_memory = true;
    return p;
}

void json_init(void)
{
    json_set_alloc_funcs(json_alloc, mem_free);
    uint32_t seed;
    randombytes_buf(&seed, sizeof seed);
    json_object_seed(seed ? seed : 1); /* 0 would ask jansson to choose by itself */
}

/* What is wrong with a value that stands in well-formed JSON; NULL where it is not well-formed. */
static const char *refusal(const json_error_t *je)
{
    enum json_error_code code = json_error_code(je);
    if (code == json_error_null_character || code == json_error_null_byte_in_key)
        return "\\u0000 is not allowed in a string";
    return code == json_error_numeric_overflow ? "a number is beyond 64 bits" : NULL;
}

static enum err_code parse_failed(
    const json_error_t *je, const struct json_vectors *v, struct err *e)
{
    if (out_of_memory || json_error_code(je) == json_error_out_of_memory)
        return err_set(e, ERR_NOMEM, "no memory for the JSON text");
    /* "… near 'xyz'" quotes the request, which must not get into the log. */
    const char *quote = strstr(je->text, " near '");
    const char *text = refusal(je), *what = text ? "JSON is not taken" : "not valid JSON";
    int n = text ? (int)strlen(text) : quote ? (int)(quote - je->text) : (int)strlen(je->text);
    if (!text) text = je->text;
    size_t at = je->position > 0 ? (size_t)je->position : 0;
    size_t sent_at = json_vectors_offset(v, at);
    if (sent_at != at)
        return err_set(e, ERR_INVALID, "%s at byte %zu: %.*s", what, sent_at, n, text);
    return err_set(
        e, ERR_INVALID, "%s at line %d, column %d: %.*s", what, je->line, je->column, n, text);
}

enum err_code json_read(char *text, size_t n, const char *const *vector_paths, struct arena *a,
    struct json_doc *ret, struct err *e)
{
    struct json_doc d = { 0 };
    if (n == 0) return err_set(e, ERR_INVALID, "the body is empty; a JSON object is expected");
    TRY(json_vector_lift(text, &n, vector_paths, JSON_DEPTH_MAX, a, &d.vectors, e));
    json_error_t je;
    out_of_memory = false;
    d.root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    if (!d.root) {
        ret->refused = refusal(&je) != NULL;
        return parse_failed(&je, &d.vectors, e);
    }
    *ret = d;
    return ERR_OK;
}

void json_doc_done(struct json_doc *d)
{
    json_decref(d->root);
    *d = (struct json_doc){ 0 };
}

/* ---- a tree as text ---- */

struct member {
    struct str name;
    const json_t *value;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int c = memcmp(x->name.p, y->name.p, n);
    return c ? c : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

static enum err_code write_value(
    struct json_write *w, const json_t *v, struct arena *a, struct err *e);

static enum err_code write_object(
    struct json_write *w, const json_t *v, struct arena *a, struct err *e)
{
    /* jansson's iterators and getters take pointers to non-const, and change nothing. */
    json_t *object = (json_t *)(uintptr_t)v;
    size_t n = json_object_size(v), i = 0;
    struct member *m = arena_alloc(a, n, sizeof *m);
    if (!m) return err_set(e, ERR_NOMEM, "no memory for a JSON object");
    for (void *it = json_object_iter(object); it && i < n;
         it = json_object_iter_next(object, it), i++) {
        m[i].name = str_from(json_object_iter_key(it));
        m[i].value = json_object_iter_value(it);
    }
    qsort(m, n, sizeof *m, compare_members);
    json_write_object(w);
    for (i = 0; i < n; i++) {
        json_write_key_str(w, m[i].name);
        TRY(write_value(w, m[i].value, a, e));
    }
    json_write_object_end(w);
    return ERR_OK;
}

/* A real number stays one: 5.0, not 5. */
static void write_real(struct json_write *w, double v)
{
    size_t before = w->b->n;
    json_write_f64(w, v);
    if (w->b->failed == ERR_OK && !strpbrk(w->b->p + before, ".e")) (void)buf_puts(w->b, ".0");
}

static enum err_code write_value(
    struct json_write *w, const json_t *v, struct arena *a, struct err *e)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return write_object(w, v, a, e);
    case JSON_ARRAY:
        json_write_array(w);
        for (size_t i = 0; i < json_array_size(v); i++)
            TRY(write_value(w, json_array_get(v, i), a, e));
        json_write_array_end(w);
        return ERR_OK;
    case JSON_STRING:
        json_write_str(w, (struct str){ json_string_value(v), json_string_length(v) });
        return ERR_OK;
    case JSON_INTEGER: json_write_i64(w, json_integer_value(v)); return ERR_OK;
    case JSON_REAL: write_real(w, json_real_value(v)); return ERR_OK;
    case JSON_TRUE: json_write_bool(w, true); return ERR_OK;
    case JSON_FALSE: json_write_bool(w, false); return ERR_OK;
    case JSON_NULL: json_write_null(w); return ERR_OK;
    }
    return err_set(e, ERR_INTERNAL, "a JSON value of no known type");
}

enum err_code json_text(const json_t *v, struct arena *a, struct str *ret, struct err *e)
{
    struct buf b = BUF_INIT(0);
    struct json_write w = JSON_WRITE_INIT(&b);
    enum err_code code = write_value(&w, v, a, e);
    if (code == ERR_OK) code = buf_check(&b, e);
    if (code == ERR_OK) {
        char *p = arena_strndup(a, b.p, b.n);
        if (p) {
            *ret = (struct str){ p, b.n };
        } else {
            code = err_set(e, ERR_NOMEM, "no memory for JSON text");
        }
    }
    buf_done(&b);
    return code;
}
