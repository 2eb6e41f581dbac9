/* What a request asks for, and whether the collection could give it. */
#include "base/thread.h"
#include "engine/pairs_internal.h"

#define METADATA "metadata."

/* ---- the request ---- */

struct str pairs__path(struct str field)
{
    size_t n = sizeof METADATA - 1;
    if (field.n <= n || memcmp(field.p, METADATA, n) != 0) return (struct str){ NULL, 0 };
    return (struct str){ field.p + n, field.n - n };
}

/* "text" or "metadata." and a path that the catalog takes. */
static enum err_code field_check(
    struct pairs_work *w, struct str field, bool may_be_text, const char *at, struct err *e)
{
    struct catalog_values *rows;
    struct err why = ERR_INIT;
    struct str path = pairs__path(field);
    size_t n;
    if (may_be_text && str_is(field, "text")) return ERR_OK;
    if (!path.p)
        return err_set_field(e, ERR_INVALID, at, "\"%.*s\" is %s\"" METADATA "\" and a key",
            STR_ARG(field), may_be_text ? "neither \"text\" nor " : "not ");
    struct catalog_values_query q = { .after = -1, .paths = &path, .n_paths = 1, .bytes_max = 1 };
    enum err_code code =
        catalog_values_page(w->rq->catalog, w->rq->col, &q, w->page, &rows, &n, &why);
    return code == ERR_OK ? ERR_OK : err_set_field(e, code, at, "%s", why.msg);
}

enum err_code pairs__choose(struct pairs_work *w, struct err *e)
{
    const struct pairs_request *rq = w->rq;
    bool anchor = rq->anchor.n, positive = rq->positive.n;
    if (anchor != positive)
        return err_set_field(e, ERR_INVALID, anchor ? "/pairs/positive" : "/pairs/anchor",
            "anchor and positive go together, one of them is missing");
    if (anchor) {
        TRY(field_check(w, rq->anchor, true, "/pairs/anchor", e));
        TRY(field_check(w, rq->positive, true, "/pairs/positive", e));
        if (str_eq(rq->anchor, rq->positive))
            return err_set_field(e, ERR_INVALID, "/pairs/positive",
                "anchor and positive are the same field, there is nothing to learn");
    }
    if (rq->labels.n) TRY(field_check(w, rq->labels, false, "/labels", e));
    w->source = anchor ? PAIRS_FIELDS : rq->labels.n ? PAIRS_LABELS : PAIRS_SOURCE_COUNT;
    return ERR_OK;
}

/* ---- the collection ---- */

enum { ENOUGH = PAIRS_MIN + PAIRS_HELDOUT_MIN };

/* Items with something at each of two places; `text`: the first or second place is the text. */
struct looking {
    struct pairs_work *w;
    int64_t deadline_ns;
    struct str fields[2]; /* "": not looked at */
    size_t seen[2], both;
};

static bool has(const struct catalog_values *row, int path)
{
    if (path < 0) return row->text.n > 0;
    for (size_t i = 0; i < row->n_values[path]; i++)
        if (row->values[path][i].n) return true;
    return false;
}

/* *ret_sure false: there are enough, or the deadline has passed. */
static enum err_code look(struct looking *l, bool *ret_sure, struct err *e)
{
    struct str paths[2];
    int at[2] = { -1, -1 };
    size_t n_paths = 0;
    struct pairs_pages pages;
    for (size_t i = 0; i < 2; i++) {
        struct str path = pairs__path(l->fields[i]);
        if (!path.p) continue;
        at[i] = (int)n_paths;
        paths[n_paths++] = path;
    }
    pairs__pages_init(l->w, paths, n_paths, n_paths < 2, &pages);
    *ret_sure = false;
    while (l->both < ENOUGH) {
        const struct catalog_values *row;
        if (pages.at == pages.n && l->deadline_ns && time_mono_ns() >= l->deadline_ns)
            return ERR_OK;
        TRY(pairs__pages_next(l->w, &pages, &row, e));
        if (!row) {
            *ret_sure = true;
            return ERR_OK;
        }
        bool first = has(row, at[0]), second = has(row, at[1]);
        l->seen[0] += first;
        l->seen[1] += second;
        l->both += first && second;
    }
    return ERR_OK;
}

static enum err_code check_fields(struct pairs_work *w, int64_t deadline_ns, struct err *e)
{
    static const char *const at[] = { "/pairs/anchor", "/pairs/positive" };
    struct looking l = {
        .w = w, .deadline_ns = deadline_ns, .fields = { w->rq->anchor, w->rq->positive }
    };
    bool sure;
    TRY(look(&l, &sure, e));
    if (!sure) return ERR_OK;
    for (size_t i = 0; i < 2; i++)
        if (l.seen[i] == 0)
            return err_set_field(e, ERR_UNPROCESSABLE, at[i], "no item has a text at \"%.*s\"",
                STR_ARG(l.fields[i]));
    return err_set(e, ERR_UNPROCESSABLE,
        "%zu items have both \"%.*s\" and \"%.*s\"; learning needs at least %d", l.both,
        STR_ARG(l.fields[0]), STR_ARG(l.fields[1]), ENOUGH);
}

static enum err_code check_labels(struct pairs_work *w, int64_t deadline_ns, struct err *e)
{
    struct looking l = {
        .w = w, .deadline_ns = deadline_ns, .fields = { w->rq->labels, STR("text") }
    };
    bool sure;
    TRY(look(&l, &sure, e));
    if (!sure) return ERR_OK;
    if (l.seen[0] == 0)
        return err_set_field(e, ERR_UNPROCESSABLE, "/labels", "no item has a value at \"%.*s\"",
            STR_ARG(w->rq->labels));
    return err_set_field(e, ERR_UNPROCESSABLE, "/labels",
        "%zu items have a text and a value at \"%.*s\"; learning needs at least %d", l.both,
        STR_ARG(w->rq->labels), ENOUGH);
}

/* Feedback, or else texts. */
static enum err_code check_any(struct pairs_work *w, int64_t deadline_ns, struct err *e)
{
    struct looking l = { .w = w, .deadline_ns = deadline_ns };
    size_t feedback;
    bool sure;
    TRY(catalog_feedback_count(w->rq->catalog, w->rq->col, &feedback, e));
    if (feedback >= PAIRS_FEEDBACK_MIN) return ERR_OK;
    TRY(look(&l, &sure, e));
    if (!sure) return ERR_OK;
    return err_set(e, ERR_UNPROCESSABLE,
        "the collection has %zu items with a text and %zu signals of feedback; learning needs at "
        "least %d texts, or %d signals",
        l.both, feedback, ENOUGH, PAIRS_FEEDBACK_MIN);
}

static enum err_code check(struct pairs_work *w, int64_t deadline_ns, struct err *e)
{
    TRY(pairs__choose(w, e));
    switch (w->source) {
    case PAIRS_FIELDS: return check_fields(w, deadline_ns, e);
    case PAIRS_LABELS: return check_labels(w, deadline_ns, e);
    case PAIRS_FEEDBACK:
    case PAIRS_VIEWS:
    case PAIRS_SOURCE_COUNT: break;
    }
    return check_any(w, deadline_ns, e);
}

enum err_code pairs_check(const struct pairs_request *rq, int64_t deadline_ns, struct err *e)
{
    AUTO(pairs__work_done) struct pairs_work w;
    TRY(pairs__work_init(&w, rq, e));
    return check(&w, deadline_ns, e);
}
