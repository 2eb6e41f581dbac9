/* Pairs of items with a label in common. pairs.h says what is held out.
 *
 * All items' hashes and labels are in memory (some 32 bytes an item and 4 a label), their texts are fetched when
 * lines are written. What is held out must not move to the training side when items are added, so whatever is
 * chosen by order is chosen by slot: new items have the highest slots.
 */
#include "base/rng.h"
#include "engine/pairs_internal.h"

#include <stdlib.h>

#define NONE UINT32_MAX

enum { LINES_A_BATCH = 128 };

struct item {
    uint64_t hash;
    uint32_t slot;
    uint32_t labels; /* first of them in `labels_of` */
    uint8_t n_labels;
    uint8_t as_anchor, as_positive; /* in pairs for training */
    bool document, query, out;      /* out: held out for a document's sake */
};
struct label {
    uint32_t document; /* item, or NONE */
    uint32_t first, second;
    uint32_t members, n_members; /* for training; in `members` */
    bool asked;                  /* a chosen query has it */
};
/* Items; a distractor has no left side. */
struct line {
    uint32_t left, right;
};
struct lines {
    struct line *p;
    size_t n, cap;
};

struct labels {
    struct pairs_work *w;
    struct item *items;
    size_t n_items, cap_items;
    uint32_t *labels_of;
    size_t n_labels_of, cap_labels_of;
    struct label *labels;
    size_t n_labels, cap_labels;
    struct u64_map by_text, by_value; /* hash -> item, label */
    uint32_t *members;
    struct lines heldout, train;
    size_t n_distractors;
};

static void labels_done(struct labels *l)
{
    mem_free(l->items);
    mem_free(l->labels_of);
    mem_free(l->labels);
    mem_free(l->members);
    mem_free(l->heldout.p);
    mem_free(l->train.p);
    u64_map_done(&l->by_text);
    u64_map_done(&l->by_value);
}

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for the labels of a collection");
}

static bool room(void *pp, size_t n, size_t *cap, size_t size)
{
    void *p, *grown;
    if (n < *cap) return true;
    memcpy(&p, pp, sizeof p);
    size_t more = *cap ? 2 * *cap : 1024;
    if (!(grown = mem_realloc(p, more, size))) return false;
    memcpy(pp, &grown, sizeof grown);
    *cap = more;
    return true;
}

static enum err_code line_add(struct lines *l, uint32_t left, uint32_t right, struct err *e)
{
    if (!room(&l->p, l->n, &l->cap, sizeof *l->p)) return no_memory(e);
    l->p[l->n++] = (struct line){ left, right };
    return ERR_OK;
}

static inline uint32_t label_of(const struct labels *l, const struct item *it, size_t i)
{
    return l->labels_of[it->labels + i];
}

/* ---- reading ---- */

static enum err_code label_find(
    struct labels *l, struct str value, uint32_t *ret_label, struct err *e)
{
    uint64_t key = hash_bytes(value.p, value.n, 1);
    if (u64_map_get(&l->by_value, key, ret_label)) return ERR_OK;
    if (!room(&l->labels, l->n_labels, &l->cap_labels, sizeof *l->labels)) return no_memory(e);
    l->labels[l->n_labels] = (struct label){ .document = NONE, .first = NONE, .second = NONE };
    *ret_label = (uint32_t)l->n_labels++;
    return u64_map_set(&l->by_value, key, *ret_label) == ERR_OK ? ERR_OK : no_memory(e);
}

static enum err_code item_add(
    struct labels *l, const struct catalog_values *row, uint64_t hash, struct err *e)
{
    uint32_t number = (uint32_t)l->n_items;
    if (!room(&l->items, l->n_items, &l->cap_items, sizeof *l->items)) return no_memory(e);
    struct item *it = &l->items[l->n_items++];
    *it = (struct item){ .hash = hash, .slot = row->slot, .labels = (uint32_t)l->n_labels_of };
    for (size_t i = 0; i < row->n_values[0]; i++) {
        uint32_t label;
        bool twice = false;
        TRY(label_find(l, row->values[0][i], &label, e));
        for (size_t k = 0; k < it->n_labels; k++)
            twice = twice || label_of(l, it, k) == label;
        if (twice) continue;
        if (!room(&l->labels_of, l->n_labels_of, &l->cap_labels_of, sizeof *l->labels_of))
            return no_memory(e);
        l->labels_of[l->n_labels_of++] = label;
        it->n_labels++;
        struct label *of = &l->labels[label];
        if (of->first == NONE)
            of->first = number;
        else if (of->second == NONE)
            of->second = number;
    }
    return u64_map_set(&l->by_text, hash, number) == ERR_OK ? ERR_OK : no_memory(e);
}

static enum err_code labels_read(struct labels *l, struct err *e)
{
    struct str path = pairs__path(l->w->rq->labels);
    struct pairs_pages pages;
    pairs__pages_init(l->w, &path, 1, true, &pages);
    for (const struct catalog_values *row;;) {
        uint64_t hash;
        uint32_t same;
        TRY(pairs__pages_next(l->w, &pages, &row, e));
        if (!row) return ERR_OK;
        if (!row->text.p || row->n_values[0] == 0) continue;
        TRY(pairs__hash(l->w, row->text, &hash, e));
        if (hash != PAIRS_NO_HASH && !u64_map_get(&l->by_text, hash, &same))
            TRY(item_add(l, row, hash, e));
    }
}

/* ---- what is held out ---- */

static void choose_documents(struct labels *l)
{
    for (uint32_t i = 0; i < l->n_items; i++) {
        struct item *it = &l->items[i];
        bool free = pairs__heldout(it->hash);
        for (size_t k = 0; k < it->n_labels; k++)
            free = free && l->labels[label_of(l, it, k)].document == NONE;
        if (!free) continue;
        it->document = true;
        for (size_t k = 0; k < it->n_labels; k++)
            l->labels[label_of(l, it, k)].document = i;
        const struct label *first = &l->labels[label_of(l, it, 0)];
        uint32_t query = first->first == i ? first->second : first->first;
        if (query != NONE) l->items[query].out = true;
    }
}

struct candidate {
    uint64_t document_hash;
    uint32_t query, document;
    uint32_t rank; /* among the document's queries */
};

/* The only document that shares a label with the item; NONE: there is none, or several. */
static uint32_t document_of(const struct labels *l, const struct item *it)
{
    uint32_t document = NONE;
    for (size_t k = 0; k < it->n_labels; k++) {
        uint32_t other = l->labels[label_of(l, it, k)].document;
        if (other == NONE) continue;
        if (document != NONE && other != document) return NONE;
        document = other;
    }
    return document;
}

/* A document's queries together: first the one that was left out of training for it. */
static int by_document(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->document != y->document) return x->document < y->document ? -1 : 1;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return (x->query > y->query) - (x->query < y->query);
}

/* Every document's first query, then the second ones, and so on. */
static int by_rank(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    if (x->document_hash != y->document_hash) return x->document_hash < y->document_hash ? -1 : 1;
    return (x->query > y->query) - (x->query < y->query);
}

static enum err_code choose_queries(struct labels *l, struct err *e)
{
    AUTO_FREE struct candidate *all = mem_alloc(l->n_items, sizeof *all);
    size_t n = 0;
    if (!all) return no_memory(e);
    for (uint32_t i = 0; i < l->n_items; i++) {
        const struct item *it = &l->items[i];
        if (it->document || !(it->out || pairs__heldout(it->hash))) continue;
        uint32_t document = document_of(l, it);
        if (document == NONE) continue;
        all[n++] = (struct candidate){ l->items[document].hash, i, document, !it->out };
    }
    if (n) qsort(all, n, sizeof *all, by_document);
    for (size_t i = 0; i < n; i++)
        all[i].rank = i && all[i].document == all[i - 1].document ? all[i - 1].rank + 1 : 0;
    if (n) qsort(all, n, sizeof *all, by_rank);
    if (n > l->w->rq->heldout_max) n = l->w->rq->heldout_max;
    for (size_t i = 0; i < n; i++) {
        struct item *query = &l->items[all[i].query];
        query->query = true;
        for (size_t k = 0; k < query->n_labels; k++)
            l->labels[label_of(l, query, k)].asked = true;
        TRY(line_add(&l->heldout, all[i].query, all[i].document, e));
    }
    return ERR_OK;
}

struct ranked {
    uint64_t hash;
    uint32_t item;
};

static int by_hash(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

/* Items without a label that is asked for; so neither queries nor their documents. */
static enum err_code choose_distractors(struct labels *l, struct err *e)
{
    AUTO_FREE struct ranked *all = mem_alloc(l->n_items, sizeof *all);
    size_t n = 0;
    if (!all) return no_memory(e);
    for (uint32_t i = 0; i < l->n_items; i++) {
        const struct item *it = &l->items[i];
        bool asked = false;
        for (size_t k = 0; k < it->n_labels; k++)
            asked = asked || l->labels[label_of(l, it, k)].asked;
        if (!asked) all[n++] = (struct ranked){ it->hash, i };
    }
    if (n) qsort(all, n, sizeof *all, by_hash);
    if (n > l->w->rq->distractors_max) n = l->w->rq->distractors_max;
    for (size_t i = 0; i < n; i++)
        TRY(line_add(&l->heldout, NONE, all[i].item, e));
    return ERR_OK;
}

/* ---- what is learned from ---- */

static bool may_train(const struct item *it)
{
    return !it->out && !pairs__heldout(it->hash);
}

/* Items for training, label by label. */
static enum err_code gather_members(struct labels *l, struct err *e)
{
    uint32_t at = 0;
    l->members = mem_alloc(l->n_labels_of, sizeof *l->members);
    if (!l->members) return no_memory(e);
    for (size_t i = 0; i < l->n_items; i++)
        for (size_t k = 0; may_train(&l->items[i]) && k < l->items[i].n_labels; k++)
            l->labels[label_of(l, &l->items[i], k)].members++;
    for (size_t i = 0; i < l->n_labels; i++) {
        uint32_t n = l->labels[i].members;
        l->labels[i].members = at;
        at += n;
    }
    for (uint32_t i = 0; i < l->n_items; i++) {
        for (size_t k = 0; may_train(&l->items[i]) && k < l->items[i].n_labels; k++) {
            struct label *label = &l->labels[label_of(l, &l->items[i], k)];
            l->members[label->members + label->n_members++] = i;
        }
    }
    return ERR_OK;
}

/* Each member with the next one of a random ring. */
static enum err_code pair_ring(
    struct labels *l, const struct label *label, struct u64_map *seen, struct err *e)
{
    const uint32_t *members = l->members + label->members;
    for (uint32_t i = 0; i < label->n_members; i++) {
        uint32_t a = members[i], b = members[i + 1 < label->n_members ? i + 1 : 0], none;
        struct item *anchor = &l->items[a], *positive = &l->items[b];
        uint64_t key = a < b ? (uint64_t)a << 32 | b : (uint64_t)b << 32 | a;
        if (anchor->as_anchor == PAIRS_PARTNERS_MAX ||
            positive->as_positive == PAIRS_PARTNERS_MAX || u64_map_get(seen, key, &none))
            continue;
        if (u64_map_set(seen, key, 0) != ERR_OK) return no_memory(e);
        anchor->as_anchor++;
        positive->as_positive++;
        TRY(line_add(&l->train, a, b, e));
    }
    return ERR_OK;
}

static int by_left(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

static void sample(struct lines *l, size_t max, struct rng *rng)
{
    for (size_t i = 0; l->n > max && i < max; i++) {
        size_t k = i + (size_t)rng_below(rng, l->n - i);
        struct line other = l->p[i];
        l->p[i] = l->p[k];
        l->p[k] = other;
    }
    if (l->n > max) l->n = max;
}

static enum err_code choose_train(struct labels *l, struct err *e)
{
    AUTO(u64_map_done) struct u64_map seen;
    struct rng rng;
    u64_map_init(&seen);
    rng_init(&rng, l->w->rq->seed);
    TRY(gather_members(l, e));
    for (size_t round = 0; round < PAIRS_PARTNERS_MAX; round++) {
        for (size_t i = 0; i < l->n_labels; i++) {
            const struct label *label = &l->labels[i];
            if (label->n_members < 2) continue;
            rng_shuffle_u32(&rng, l->members + label->members, label->n_members);
            TRY(pair_ring(l, label, &seen, e));
        }
    }
    sample(&l->train, l->w->rq->pairs_max, &rng);
    if (l->train.n) qsort(l->train.p, l->train.n, sizeof *l->train.p, by_left);
    return ERR_OK;
}

/* ---- writing ---- */

/* The text of an item as it is now; p == NULL: it is gone, or has become another one. */
static enum err_code text_now(
    struct labels *l, const struct catalog_item *row, uint32_t item, struct str *ret, struct err *e)
{
    uint64_t hash = PAIRS_NO_HASH;
    if (row->key.p && row->text.p) TRY(pairs__hash(l->w, row->text, &hash, e));
    *ret = hash == l->items[item].hash ? row->text : (struct str){ NULL, 0 };
    return ERR_OK;
}

static enum err_code write_batch(struct labels *l, const struct line *lines, size_t n,
    struct pairs_file *f, size_t ret_written[2], struct err *e)
{
    uint32_t slots[2 * LINES_A_BATCH];
    struct catalog_item rows[2 * LINES_A_BATCH];
    const struct pairs_request *rq = l->w->rq;
    for (size_t i = 0; i < n; i++) {
        slots[2 * i] = l->items[lines[i].left == NONE ? lines[i].right : lines[i].left].slot;
        slots[2 * i + 1] = l->items[lines[i].right].slot;
    }
    arena_clear(l->w->page);
    TRY(catalog_items_by_slot(
        rq->catalog, rq->col, NULL, slots, 2 * n, ITEM_WITH_TEXT, l->w->page, rows, e));
    for (size_t i = 0; i < n; i++) {
        bool alone = lines[i].left == NONE;
        struct str columns[2] = { STR(""), { NULL, 0 } };
        if (!alone) TRY(text_now(l, &rows[2 * i], lines[i].left, &columns[0], e));
        TRY(text_now(l, &rows[2 * i + 1], lines[i].right, &columns[1], e));
        if (!columns[0].p || !columns[1].p) continue;
        TRY(pairs__line(f, columns, 2, e));
        ret_written[alone]++;
    }
    return ERR_OK;
}

/* ret_written: pairs, distractors. */
static enum err_code write_lines(struct labels *l, const struct lines *lines, struct pairs_file *f,
    size_t ret_written[2], struct err *e)
{
    for (size_t at = 0; at < lines->n; at += LINES_A_BATCH) {
        size_t n = lines->n - at < LINES_A_BATCH ? lines->n - at : LINES_A_BATCH;
        TRY(write_batch(l, lines->p + at, n, f, ret_written, e));
    }
    return ERR_OK;
}

static enum err_code documents_check(const struct labels *l, struct err *e)
{
    for (size_t i = 1; i < l->heldout.n; i++)
        if (l->heldout.p[i].right != l->heldout.p[0].right) return ERR_OK;
    return err_set_field(e, ERR_UNPROCESSABLE, "/labels",
        "%zu items have a value at \"%.*s\", of %zu values; learning needs at least two values "
        "that "
        "several items have, and some 600 items",
        l->n_items, STR_ARG(l->w->rq->labels), l->n_labels);
}

enum err_code pairs__labels_write(
    struct pairs_work *w, struct pairs_files *f, struct pairs_report *ret, struct err *e)
{
    AUTO(labels_done) struct labels l = { .w = w };
    size_t train[2] = { 0 }, heldout[2] = { 0 }, out = 0;
    u64_map_init(&l.by_text);
    u64_map_init(&l.by_value);
    TRY(labels_read(&l, e));
    choose_documents(&l);
    TRY(choose_queries(&l, e));
    TRY(documents_check(&l, e));
    TRY(choose_distractors(&l, e));
    TRY(choose_train(&l, e));
    TRY(write_lines(&l, &l.heldout, &f->heldout, heldout, e));
    TRY(write_lines(&l, &l.train, &f->train, train, e));
    for (size_t i = 0; i < l.n_items; i++)
        out += l.items[i].out && !pairs__heldout(l.items[i].hash);
    *ret = (struct pairs_report){ .source = PAIRS_LABELS,
        .train = train[0],
        .heldout = heldout[0],
        .distractors = heldout[1],
        .shared = out };
    return ERR_OK;
}
