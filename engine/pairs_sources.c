/* Fields and views; what feedback gives is in pairs_feedback.c. */
#include "base/rng.h"
#include "core/learn/views.h"
#include "engine/pairs_internal.h"

/* ---- pages ---- */

void pairs__pages_init(const struct pairs_work *w, const struct str *paths, size_t n_paths,
    bool with_text, struct pairs_pages *ret)
{
    *ret = (struct pairs_pages){ .q = { .after = -1,
                                     .limit = PAIRS_PAGE,
                                     .paths = paths,
                                     .n_paths = n_paths,
                                     .with_text = with_text,
                                     .bytes_max = w->rq->text_max } };
}

enum err_code pairs__pages_next(struct pairs_work *w, struct pairs_pages *p,
    const struct catalog_values **ret_row, struct err *e)
{
    if (p->at == p->n && !p->ended) {
        arena_clear(w->page);
        TRY(catalog_values_page(w->rq->catalog, w->rq->col, &p->q, w->page, &p->rows, &p->n, e));
        p->at = 0;
        p->ended = p->n == 0;
        if (p->n) p->q.after = p->rows[p->n - 1].slot;
    }
    *ret_row = p->at < p->n ? &p->rows[p->at++] : NULL;
    return ERR_OK;
}

/* ---- fields ---- */

struct side {
    struct str texts[CATALOG_PATH_VALUES_MAX];
    uint64_t hashes[CATALOG_PATH_VALUES_MAX];
    size_t n;
};

static enum err_code side_add(struct pairs_work *w, struct side *s, struct str text, struct err *e)
{
    TRY(pairs__hash(w, text, &s->hashes[s->n], e));
    s->texts[s->n] = text;
    s->n += s->hashes[s->n] != PAIRS_NO_HASH;
    return ERR_OK;
}

/* path: position among the row's paths, or -1 for the text. */
static enum err_code side_read(struct pairs_work *w, const struct catalog_values *row, int path,
    struct side *ret, struct err *e)
{
    ret->n = 0;
    if (path < 0) return row->text.p ? side_add(w, ret, row->text, e) : ERR_OK;
    for (size_t i = 0; i < row->n_values[path]; i++)
        TRY(side_add(w, ret, row->values[path][i], e));
    return ERR_OK;
}

static enum err_code fields_row(const struct side *anchor, const struct side *positive,
    const struct pairs_sink *sink, struct err *e)
{
    size_t n = 0;
    for (size_t i = 0; i < anchor->n; i++) {
        for (size_t k = 0; k < positive->n && n < PAIRS_ITEM_MAX; k++) {
            if (anchor->hashes[i] == positive->hashes[k]) continue;
            struct pair p = { .anchor = anchor->texts[i],
                .positive = positive->texts[k],
                .anchor_hash = anchor->hashes[i],
                .positive_hash = positive->hashes[k],
                .key = positive->hashes[k] };
            TRY(sink->pair(sink->arg, &p, e));
            n++;
        }
    }
    for (size_t k = 0; k < positive->n; k++)
        TRY(sink->document(sink->arg, positive->texts[k], positive->hashes[k], e));
    return ERR_OK;
}

static enum err_code fields_each(struct pairs_work *w, const struct pairs_sink *sink, struct err *e)
{
    struct str fields[2] = { pairs__path(w->rq->anchor), pairs__path(w->rq->positive) }, paths[2];
    int at[2];
    size_t n_paths = 0;
    struct pairs_pages pages;
    for (size_t i = 0; i < 2; i++) {
        at[i] = fields[i].p ? (int)n_paths : -1;
        if (fields[i].p) paths[n_paths++] = fields[i];
    }
    pairs__pages_init(w, paths, n_paths, n_paths < 2, &pages);
    for (const struct catalog_values *row;;) {
        struct side anchor, positive;
        TRY(pairs__pages_next(w, &pages, &row, e));
        if (!row) return ERR_OK;
        TRY(side_read(w, row, at[0], &anchor, e));
        TRY(side_read(w, row, at[1], &positive, e));
        TRY(fields_row(&anchor, &positive, sink, e));
    }
}

/* ---- views ---- */

/* Seed of a held-out text's views: not the run's, so that they are the same in every run. */
#define HELDOUT_SEED 0x9E3779B97F4A7C15u

static enum err_code view(struct pairs_work *w, struct str text, uint64_t hash, uint64_t seed,
    const struct pairs_sink *sink, struct err *e)
{
    struct pair p = { .key = hash };
    struct rng rng;
    bool drawn;
    rng_init(&rng, pairs__mix(hash, seed, HELDOUT_SEED));
    TRY(views_draw(text, &rng, w->page, &p.anchor, &p.positive, &drawn, e));
    if (!drawn) return ERR_OK;
    TRY(pairs__hash(w, p.anchor, &p.anchor_hash, e));
    TRY(pairs__hash(w, p.positive, &p.positive_hash, e));
    if (p.anchor_hash == PAIRS_NO_HASH || p.positive_hash == PAIRS_NO_HASH ||
        p.anchor_hash == p.positive_hash)
        return ERR_OK;
    return sink->pair(sink->arg, &p, e);
}

/* Views of one text: as many as the collection's size leaves room for. */
static enum err_code views_count(struct pairs_work *w, size_t *ret_draws, struct err *e)
{
    size_t items, draws;
    TRY(catalog_items_count(w->rq->catalog, w->rq->col, &items, e));
    draws = w->rq->pairs_max / (items ? items : 1);
    *ret_draws = draws < 1 ? 1 : draws > PAIRS_VIEWS_MAX ? PAIRS_VIEWS_MAX : draws;
    return ERR_OK;
}

static enum err_code views_each(struct pairs_work *w, const struct pairs_sink *sink, struct err *e)
{
    struct pairs_pages pages;
    size_t draws;
    TRY(views_count(w, &draws, e));
    pairs__pages_init(w, NULL, 0, true, &pages);
    for (const struct catalog_values *row;;) {
        uint64_t hash;
        TRY(pairs__pages_next(w, &pages, &row, e));
        if (!row) return ERR_OK;
        if (!row->text.p) continue;
        TRY(pairs__hash(w, row->text, &hash, e));
        if (hash == PAIRS_NO_HASH) continue;
        TRY(sink->document(sink->arg, row->text, hash, e));
        if (sink->n_train && !pairs__heldout(hash)) {
            *sink->n_train += draws;
            continue;
        }
        struct arena_mark mark = arena_mark(w->page);
        for (size_t i = 0; i < (pairs__heldout(hash) ? 1 : draws); i++) {
            uint64_t seed = pairs__heldout(hash) ? 0 : pairs__mix(w->rq->seed, i, 0);
            TRY(view(w, row->text, hash, seed, sink, e));
        }
        arena_rewind(w->page, mark);
    }
}

enum err_code pairs__each(struct pairs_work *w, const struct pairs_sink *sink, struct err *e)
{
    switch (w->source) {
    case PAIRS_FIELDS: return fields_each(w, sink, e);
    case PAIRS_FEEDBACK: return pairs__feedback_each(w, sink, e);
    case PAIRS_VIEWS: return views_each(w, sink, e);
    case PAIRS_LABELS:
    case PAIRS_SOURCE_COUNT: break;
    }
    return err_set(e, ERR_INTERNAL, "pairs: no such source");
}
