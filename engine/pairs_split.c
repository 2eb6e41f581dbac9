/* What is held out, and the files.
 *
 * The first round marks the texts of all held-out pairs, chooses the pairs to judge by, and finds the documents
 * of the lowest hashes. The second fetches the texts of what was chosen and writes what is to be learned from,
 * which must not touch a marked text. Only hashes are kept in between: 32 bytes a held-out pair, 8 a line that
 * was written.
 */
#include "engine/pairs_internal.h"

#include <stdlib.h>

enum mark {
    MARK_HELDOUT = 1,  /* in a held-out pair */
    MARK_QUERY = 2,    /* chosen */
    MARK_DOCUMENT = 4, /* chosen; of views also the text that it was drawn from */
    MARK_ANSWER = 8,   /* to a chosen query */
};

struct held {
    uint64_t key, anchor, positive;
    struct str query, document; /* of a chosen one, once seen in the second round; owned */
};
struct held_list {
    struct held *p;
    size_t n, cap;
};
/* The lowest `max` hashes of documents so far. */
struct lowest {
    uint64_t *p;
    struct str *texts; /* second round; owned */
    size_t n, cap, max;
    uint64_t bound; /* higher ones need not be looked at */
};

struct pairs_split {
    struct pairs_work *w;
    struct u64_map marks; /* hash of a text -> marks */
    struct held_list held, chosen;
    struct u64_map chosen_at; /* pair of hashes -> place in chosen */
    struct lowest documents;
    struct u64_map written; /* pairs of hashes */
    size_t n_train, n_heldout;
    /* second round */
    struct pairs_files *files;
    struct pairs_report report;
};

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for the pairs of a collection");
}

static uint32_t marks_of(const struct pairs_split *s, uint64_t hash)
{
    uint32_t marks = 0;
    (void)u64_map_get(&s->marks, hash, &marks);
    return marks;
}

static enum err_code mark(struct pairs_split *s, uint64_t hash, uint32_t marks, struct err *e)
{
    uint32_t old = marks_of(s, hash);
    if ((old & marks) == marks) return ERR_OK;
    return u64_map_set(&s->marks, hash, old | marks) == ERR_OK ? ERR_OK : no_memory(e);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* ---- first round ---- */

static enum err_code held_add(struct held_list *l, struct held held, struct err *e)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 1024;
        struct held *p = mem_realloc(l->p, cap, sizeof *p);
        if (!p) return no_memory(e);
        l->p = p;
        l->cap = cap;
    }
    l->p[l->n++] = held;
    return ERR_OK;
}

static enum err_code survey_pair(void *arg, const struct pair *p, struct err *e)
{
    struct pairs_split *s = arg;
    if (!pairs__heldout(p->key)) {
        s->n_train++;
        return ERR_OK;
    }
    s->n_heldout++;
    TRY(mark(s, p->anchor_hash, MARK_HELDOUT, e));
    TRY(mark(s, p->positive_hash, MARK_HELDOUT, e));
    struct held held = { .key = p->key, .anchor = p->anchor_hash, .positive = p->positive_hash };
    return held_add(&s->held, held, e);
}

/* Sort, drop equal ones, keep the lowest. */
static void lowest_settle(struct lowest *l)
{
    size_t n = 0;
    if (l->n) qsort(l->p, l->n, sizeof *l->p, by_value);
    for (size_t i = 0; i < l->n; i++)
        if (n == 0 || l->p[i] != l->p[n - 1]) l->p[n++] = l->p[i];
    l->n = n < l->max ? n : l->max;
    if (l->n == l->max && l->n) l->bound = l->p[l->n - 1];
}

static enum err_code survey_document(void *arg, struct str text, uint64_t hash, struct err *e)
{
    struct lowest *l = &((struct pairs_split *)arg)->documents;
    (void)text;
    (void)e;
    if (hash > l->bound) return ERR_OK;
    if (l->n == l->cap) lowest_settle(l);
    if (l->n < l->cap) l->p[l->n++] = hash;
    return ERR_OK;
}

/* ---- choosing ---- */

static int by_key(const void *a, const void *b)
{
    const struct held *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    if (x->anchor != y->anchor) return x->anchor < y->anchor ? -1 : 1;
    return (x->positive > y->positive) - (x->positive < y->positive);
}

struct answer {
    uint64_t query, document;
};

static int by_query(const void *a, const void *b)
{
    const struct answer *x = a, *y = b;
    if (x->query != y->query) return x->query < y->query ? -1 : 1;
    return (x->document > y->document) - (x->document < y->document);
}

/* Answers of one query among all held-out ones, sorted by query. */
static size_t first_answer(const struct answer *all, size_t n, uint64_t query)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (all[mid].query < query)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Take the pair if neither side was used, and no document is a second answer to a query. */
static enum err_code choose_one(
    struct pairs_split *s, const struct held *h, const struct answer *answers, struct err *e)
{
    size_t first = first_answer(answers, s->held.n, h->anchor);
    if (marks_of(s, h->anchor) & (MARK_QUERY | MARK_DOCUMENT)) return ERR_OK;
    if (marks_of(s, h->positive) & (MARK_QUERY | MARK_DOCUMENT | MARK_ANSWER)) return ERR_OK;
    for (size_t i = first; i < s->held.n && answers[i].query == h->anchor; i++)
        if (marks_of(s, answers[i].document) & MARK_DOCUMENT) return ERR_OK;
    for (size_t i = first; i < s->held.n && answers[i].query == h->anchor; i++)
        TRY(mark(s, answers[i].document, MARK_ANSWER, e));
    TRY(mark(s, h->anchor, MARK_QUERY, e));
    TRY(mark(s, h->positive, MARK_DOCUMENT, e));
    TRY(mark(s, h->key, MARK_DOCUMENT, e));
    if (u64_map_set(&s->chosen_at, pairs__mix(h->anchor, h->positive, 0), (uint32_t)s->chosen.n) !=
        ERR_OK)
        return no_memory(e);
    return held_add(&s->chosen, *h, e);
}

static enum err_code choose(struct pairs_split *s, struct err *e)
{
    AUTO_FREE struct answer *answers = mem_alloc(s->held.n, sizeof *answers);
    if (!answers) return no_memory(e);
    for (size_t i = 0; i < s->held.n; i++)
        answers[i] = (struct answer){ s->held.p[i].anchor, s->held.p[i].positive };
    if (s->held.n) {
        qsort(answers, s->held.n, sizeof *answers, by_query);
        qsort(s->held.p, s->held.n, sizeof *s->held.p, by_key);
    }
    for (size_t i = 0; i < s->held.n && s->chosen.n < s->w->rq->heldout_max; i++)
        TRY(choose_one(s, &s->held.p[i], answers, e));
    mem_free(s->held.p);
    s->held = (struct held_list){ 0 };
    return ERR_OK;
}

static void split_free(struct pairs_split **s)
{
    pairs__split_free(*s);
}

enum err_code pairs__split_new(struct pairs_work *w, struct pairs_split **ret_s, struct err *e)
{
    AUTO(split_free) struct pairs_split *s = mem_zalloc(1, sizeof *s);
    struct pairs_sink sink = { survey_pair, survey_document, s, NULL };
    if (!s) return no_memory(e);
    s->w = w;
    sink.n_train = &s->n_train;
    /* Some of the lowest will be documents or answers of chosen queries. */
    s->documents = (struct lowest){ .max = w->rq->distractors_max + 2 * w->rq->heldout_max,
        .bound = UINT64_MAX };
    if (w->rq->distractors_max == 0) s->documents.max = 0;
    s->documents.cap = 2 * s->documents.max;
    s->documents.p = mem_alloc(s->documents.cap, sizeof *s->documents.p);
    s->documents.texts = mem_zalloc(s->documents.max, sizeof *s->documents.texts);
    if (!s->documents.p || !s->documents.texts) return no_memory(e);
    TRY(pairs__each(w, &sink, e));
    lowest_settle(&s->documents);
    TRY(choose(s, e));
    *ret_s = steal_ptr(&s);
    return ERR_OK;
}

static void text_free(struct str *text)
{
    /* Made by keep_text, so it may be written to. */
    mem_free((void *)(uintptr_t)text->p);
}

void pairs__split_free(struct pairs_split *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->chosen.n; i++) {
        text_free(&s->chosen.p[i].query);
        text_free(&s->chosen.p[i].document);
    }
    for (size_t i = 0; s->documents.texts && i < s->documents.max; i++)
        text_free(&s->documents.texts[i]);
    mem_free(s->documents.texts);
    mem_free(s->documents.p);
    mem_free(s->chosen.p);
    mem_free(s->held.p);
    u64_map_done(&s->marks);
    u64_map_done(&s->chosen_at);
    u64_map_done(&s->written);
    mem_free(s);
}

size_t pairs__split_pairs(const struct pairs_split *s)
{
    return s->n_train + s->n_heldout;
}

size_t pairs__split_heldout(const struct pairs_split *s)
{
    return s->chosen.n;
}

/* ---- second round ---- */

static enum err_code keep_text(struct str *slot, struct str text, size_t max, struct err *e)
{
    if (slot->p) return ERR_OK;
    text = pairs__cut(text, max);
    char *copy = mem_strndup(text.p, text.n);
    if (!copy) return no_memory(e);
    *slot = (struct str){ copy, text.n };
    return ERR_OK;
}

static enum err_code keep_heldout(struct pairs_split *s, const struct pair *p, struct err *e)
{
    size_t max = s->w->rq->text_max;
    uint32_t at;
    if (!u64_map_get(&s->chosen_at, pairs__mix(p->anchor_hash, p->positive_hash, 0), &at) ||
        s->chosen.p[at].key != p->key)
        return ERR_OK;
    TRY(keep_text(&s->chosen.p[at].query, p->anchor, max, e));
    return keep_text(&s->chosen.p[at].document, p->positive, max, e);
}

static enum err_code line(struct pairs_split *s, const struct pair *p, struct err *e)
{
    struct str columns[2 + PAIRS_NEGATIVES_MAX] = { p->anchor, p->positive };
    size_t n = 2;
    for (size_t i = 0; i < p->n_negatives && n < sizeof columns / sizeof *columns; i++)
        if (!(marks_of(s, p->negative_hashes[i]) & MARK_HELDOUT)) columns[n++] = p->negatives[i];
    s->report.train++;
    return pairs__line(&s->files->train, columns, n, e);
}

static enum err_code write_pair(void *arg, const struct pair *p, struct err *e)
{
    struct pairs_split *s = arg;
    size_t max = s->w->rq->pairs_max;
    uint64_t both = pairs__mix(p->anchor_hash, p->positive_hash, s->w->rq->seed);
    uint32_t seen;
    /* A view is no document; what the seed draws must not change what is held out. */
    if (s->w->source != PAIRS_VIEWS && marks_of(s, p->anchor_hash) & MARK_QUERY)
        TRY(mark(s, p->positive_hash, MARK_ANSWER, e));
    if (pairs__heldout(p->key)) return keep_heldout(s, p, e);
    if ((marks_of(s, p->anchor_hash) | marks_of(s, p->positive_hash)) & MARK_HELDOUT) {
        s->report.shared++;
        return ERR_OK;
    }
    if (s->n_train > max && (double)both >= 0x1p64 * ((double)max / (double)s->n_train))
        return ERR_OK;
    if (s->report.train == max || u64_map_get(&s->written, both, &seen)) return ERR_OK;
    if (u64_map_set(&s->written, both, 0) != ERR_OK) return no_memory(e);
    return line(s, p, e);
}

static enum err_code write_document(void *arg, struct str text, uint64_t hash, struct err *e)
{
    struct pairs_split *s = arg;
    struct lowest *l = &s->documents;
    if (hash > l->bound || l->n == 0) return ERR_OK;
    const uint64_t *at = bsearch(&hash, l->p, l->n, sizeof *l->p, by_value);
    return at ? keep_text(&l->texts[at - l->p], text, s->w->rq->text_max, e) : ERR_OK;
}

static enum err_code write_heldout(struct pairs_split *s, struct err *e)
{
    for (size_t i = 0; i < s->chosen.n; i++) {
        const struct held *h = &s->chosen.p[i];
        if (!h->query.p || !h->document.p) continue;
        struct str columns[2] = { h->query, h->document };
        TRY(pairs__line(&s->files->heldout, columns, 2, e));
        s->report.heldout++;
    }
    for (size_t i = 0; i < s->documents.n; i++) {
        if (s->report.distractors == s->w->rq->distractors_max) break;
        if (!s->documents.texts[i].p ||
            marks_of(s, s->documents.p[i]) & (MARK_QUERY | MARK_DOCUMENT | MARK_ANSWER))
            continue;
        struct str columns[2] = { STR(""), s->documents.texts[i] };
        TRY(pairs__line(&s->files->heldout, columns, 2, e));
        s->report.distractors++;
    }
    return ERR_OK;
}

enum err_code pairs__split_write(
    struct pairs_split *s, struct pairs_files *f, struct pairs_report *ret, struct err *e)
{
    struct pairs_sink sink = { write_pair, write_document, s, NULL };
    s->files = f;
    s->report = (struct pairs_report){ .source = s->w->source };
    TRY(pairs__each(s->w, &sink, e));
    TRY(write_heldout(s, e));
    *ret = s->report;
    return ERR_OK;
}
