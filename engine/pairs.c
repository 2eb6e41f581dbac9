#include "engine/pairs.h"

#include "engine/pairs_internal.h"

const char *pairs_source_name(enum pairs_source s)
{
    static const char *const names[] = { [PAIRS_FIELDS] = "fields",
        [PAIRS_LABELS] = "labels",
        [PAIRS_FEEDBACK] = "feedback",
        [PAIRS_VIEWS] = "views" };
    return s < PAIRS_SOURCE_COUNT ? names[s] : "none";
}

static void split_free(struct pairs_split **s)
{
    pairs__split_free(*s);
}

/* What would help, as far as it can be known. */
static enum err_code too_few(
    const struct pairs_work *w, const struct pairs_report *r, struct err *e)
{
    static const char *const more[] = { [PAIRS_FIELDS] = "items with both fields",
        [PAIRS_LABELS] = "items that share a label",
        [PAIRS_FEEDBACK] = "clicks on different items",
        [PAIRS_VIEWS] = "items with a text of three words or more" };
    size_t learn = r->train ? (PAIRS_MIN + r->train - 1) / r->train : 0;
    size_t judge = r->heldout ? (PAIRS_HELDOUT_MIN + r->heldout - 1) / r->heldout : 0;
    size_t times = learn > judge ? learn : judge;
    if (!learn || !judge)
        return err_set(e, ERR_UNPROCESSABLE,
            "the collection gives %zu pairs to learn from and %zu to judge by (%s), at least %d "
            "and "
            "%d are needed: some 600 %s",
            r->train, r->heldout, pairs_source_name(w->source), PAIRS_MIN, PAIRS_HELDOUT_MIN,
            more[w->source]);
    return err_set(e, ERR_UNPROCESSABLE,
        "the collection gives %zu pairs to learn from and %zu to judge by (%s), at least %d and %d "
        "are needed: about %zu times as many %s",
        r->train, r->heldout, pairs_source_name(w->source), PAIRS_MIN, PAIRS_HELDOUT_MIN, times,
        more[w->source]);
}

/* The first round; without a source that was named, of the better one. */
static enum err_code survey(struct pairs_work *w, struct pairs_split **ret, struct err *e)
{
    AUTO(split_free) struct pairs_split *s = NULL;
    size_t feedback;
    if (w->source == PAIRS_SOURCE_COUNT) {
        TRY(catalog_feedback_count(w->rq->catalog, w->rq->col, &feedback, e));
        if (feedback >= PAIRS_FEEDBACK_MIN) {
            w->source = PAIRS_FEEDBACK;
            TRY(pairs__split_new(w, &s, e));
            if (pairs__split_pairs(s) >= PAIRS_FEEDBACK_MIN &&
                pairs__split_heldout(s) >= PAIRS_HELDOUT_MIN) {
                *ret = steal_ptr(&s);
                return ERR_OK;
            }
            pairs__split_free(steal_ptr(&s));
        }
        w->source = PAIRS_VIEWS;
    }
    return pairs__split_new(w, ret, e);
}

static enum err_code write_pairs(
    struct pairs_work *w, struct pairs_files *f, struct pairs_report *ret, struct err *e)
{
    AUTO(split_free) struct pairs_split *s = NULL;
    TRY(pairs__choose(w, e));
    if (w->source == PAIRS_LABELS) {
        TRY(pairs__labels_write(w, f, ret, e));
    } else {
        TRY(survey(w, &s, e));
        TRY(pairs__split_write(s, f, ret, e));
    }
    if (ret->train < PAIRS_MIN || ret->heldout < PAIRS_HELDOUT_MIN) return too_few(w, ret, e);
    return ERR_OK;
}

enum err_code pairs_write(
    const struct pairs_request *rq, const char *dir, struct pairs_report *ret, struct err *e)
{
    AUTO(pairs__work_done) struct pairs_work w;
    AUTO(pairs__files_done) struct pairs_files files = { 0 };
    struct pairs_report report;
    TRY(pairs__work_init(&w, rq, e));
    TRY(pairs__files_open(&files, dir, rq->text_max, e));
    TRY(write_pairs(&w, &files, &report, e));
    TRY(pairs__files_publish(&files, dir, report.data_hash, e));
    *ret = report;
    return ERR_OK;
}
