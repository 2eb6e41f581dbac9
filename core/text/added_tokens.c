/* A handful of tokens that nearly always begin with the same byte, in texts
 * that nearly never hold it: memchr finds the places, the list decides.
 */
#include "core/text/added_tokens.h"

#include "base/mem.h"

#include <string.h>

enum err_code added_tokens_add(struct added_tokens *a, const struct added_token *t, struct err *e)
{
    struct str content = { t->content, t->len };
    if (a->n >= ADDED_TOKENS_MAX)
        return err_set(e, ERR_UNPROCESSABLE, "more than %d added tokens", ADDED_TOKENS_MAX);
    if (added_tokens_find(a, content))
        return err_set(
            e, ERR_UNPROCESSABLE, "added token \"%.*s\" is there twice", STR_ARG(content));
    struct added_token *v = mem_realloc(a->v, a->n + 1, sizeof *v);
    if (!v) return err_set(e, ERR_NOMEM, "no memory for the added tokens");
    a->v = v;
    char *copy = mem_strndup(t->content, t->len);
    if (!copy) return err_set(e, ERR_NOMEM, "no memory for the added tokens");

    size_t at = 0;
    while (at < a->n && v[at].len >= t->len)
        at++;
    memmove(&v[at + 1], &v[at], (a->n - at) * sizeof *v);
    v[at] = *t;
    v[at].content = copy;
    a->n++;

    unsigned char first = (unsigned char)copy[0];
    if (a->n == 1)
        a->only_first_byte = first;
    else if (a->only_first_byte != first)
        a->only_first_byte = -1;
    a->first_byte[first] = true;
    return ERR_OK;
}

void added_tokens_done(struct added_tokens *a)
{
    for (size_t i = 0; i < a->n; i++)
        mem_free(a->v[i].content);
    mem_free(a->v);
    *a = (struct added_tokens){ 0 };
}

static size_t next_candidate(const struct added_tokens *a, struct str text, size_t from)
{
    if (a->only_first_byte >= 0) {
        const char *hit = memchr(text.p + from, a->only_first_byte, text.n - from);
        return hit ? (size_t)(hit - text.p) : text.n;
    }
    while (from < text.n && !a->first_byte[(unsigned char)text.p[from]])
        from++;
    return from;
}

const struct added_token *added_tokens_next(
    const struct added_tokens *a, struct str text, size_t from, size_t *ret_at)
{
    if (a->n == 0) return NULL;
    for (; from < text.n; from++) {
        from = next_candidate(a, text, from);
        for (size_t i = 0; i < a->n && from < text.n; i++) {
            const struct added_token *t = &a->v[i];
            if (t->len > text.n - from || memcmp(text.p + from, t->content, t->len) != 0) continue;
            *ret_at = from;
            return t;
        }
    }
    return NULL;
}

const struct added_token *added_tokens_find(const struct added_tokens *a, struct str content)
{
    for (size_t i = 0; i < a->n; i++)
        if (str_eq((struct str){ a->v[i].content, a->v[i].len }, content)) return &a->v[i];
    return NULL;
}
