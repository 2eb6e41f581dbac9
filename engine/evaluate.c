#include "engine/evaluate.h"

#include "base/fileio.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/thread.h"
#include "core/eval/general.h"
#include "core/model/encoder.h"
#include "engine/bulk_encode.h"
#include "engine/hash.h"
#include "engine/models.h"
#include "engine/slices.h"

#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

/* Query i, or left sentence i, belongs to document target[i]. */
struct cases {
    float *scores; /* sts */
    struct str *queries;
    size_t *target;
    size_t n;
    struct str *docs;
    size_t n_docs, cap;       /* cap: of all four */
    struct str_map *doc_rows; /* retrieval: where a document stands in docs */
};

static void cases_done(struct cases *c)
{
    mem_free(c->scores);
    mem_free(c->queries);
    mem_free(c->target);
    mem_free(c->docs);
    str_map_free(c->doc_rows);
}

static enum err_code cases_grow(struct cases *c, struct err *e)
{
    size_t cap = c->cap ? c->cap * 2 : 1024;
    void *scores, *queries, *target, *docs;

    /* A line may bring a query whose document is there already. */
    if (c->n_docs < c->cap && c->n < c->cap) return ERR_OK;
    if ((scores = mem_realloc(c->scores, cap, sizeof *c->scores))) c->scores = scores;
    if ((queries = mem_realloc(c->queries, cap, sizeof *c->queries))) c->queries = queries;
    if ((target = mem_realloc(c->target, cap, sizeof *c->target))) c->target = target;
    if ((docs = mem_realloc(c->docs, cap, sizeof *c->docs))) c->docs = docs;
    if (!scores || !queries || !target || !docs)
        return err_set(e, ERR_NOMEM, "no memory for %zu cases", cap);
    c->cap = cap;
    return ERR_OK;
}

/* Cut the text before the next tab, or all of it; false if there is no tab. */
static bool cut_tab(struct str *rest, struct str *ret)
{
    const char *tab = rest->n ? memchr(rest->p, '\t', rest->n) : NULL;

    if (!tab) return false;
    *ret = (struct str){ rest->p, (size_t)(tab - rest->p) };
    rest->n -= ret->n + 1;
    rest->p = tab + 1;
    return true;
}

static bool parse_score(struct str s, float *ret)
{
    char text[32], *end;

    if (s.n == 0 || s.n >= sizeof text) return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    *ret = strtof(text, &end);
    return *end == '\0';
}

/* The row of a document of a retrieval file; equal ones have one. */
static enum err_code add_document(struct cases *c, struct str text, size_t *ret_row, struct err *e)
{
    uint32_t row = (uint32_t)c->n_docs;

    if (!c->doc_rows && !(c->doc_rows = str_map_new(1024, hash_seed())))
        return err_set(e, ERR_NOMEM, "no memory for documents");
    if (c->n_docs == UINT32_MAX) return err_set(e, ERR_LIMIT, "the file holds too many documents");
    if (!str_map_get(c->doc_rows, text, &row)) {
        if (str_map_set(c->doc_rows, text, row) != ERR_OK)
            return err_set(e, ERR_NOMEM, "no memory for %zu documents", c->n_docs);
        c->docs[c->n_docs++] = text;
    }
    *ret_row = row;
    return ERR_OK;
}

static enum err_code read_case(struct cases *c, enum eval_task task, struct str line, struct err *e)
{
    struct str score, query;

    TRY(cases_grow(c, e));
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    if (task != EVAL_RETRIEVAL &&
        (!cut_tab(&line, &score) || !parse_score(score, &c->scores[c->n])))
        return err_set(e, ERR_INVALID, "expected score TAB sentence TAB sentence");
    if (!cut_tab(&line, &query) || memchr(line.p, '\t', line.n))
        return err_set(e, ERR_INVALID,
            task == EVAL_RETRIEVAL ? "expected query TAB document"
                                   : "expected score TAB sentence TAB sentence");
    size_t row = c->n_docs;
    if (task == EVAL_RETRIEVAL)
        TRY(add_document(c, line, &row, e));
    else
        c->docs[c->n_docs++] = line;
    if (task == EVAL_RETRIEVAL && query.n == 0) return ERR_OK;
    c->queries[c->n] = query;
    c->target[c->n++] = row;
    return ERR_OK;
}

static enum err_code read_cases(
    struct cases *c, enum eval_task task, struct str data, size_t every, struct err *e)
{
    size_t line_no = 0;
    const char *p = data.p, *end = p + data.n;

    for (; p < end; line_no++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline ? newline : end;

        if (line_no % (every ? every : 1) == 0 &&
            read_case(c, task, (struct str){ p, (size_t)(stop - p) }, e) != ERR_OK)
            return err_wrap(e, "line %zu", line_no + 1);
        p = newline ? newline + 1 : end;
    }
    if (c->n < 2) return err_set(e, ERR_INVALID, "the file holds fewer than two cases");
    return ERR_OK;
}

/* ---- the model ---- */

/* The encoder to judge: one loaded from its folder, or one of the models that a server would have. */
struct subject {
    struct encoder *own;
    struct models models;
    struct bulk_encode bulk;
    size_t dimensions;
};

static void subject_done(struct subject *s)
{
    encoder_free(s->own);
    models_done(&s->models);
}

/* model: a folder, or a name; NULL: the default model. */
static enum err_code subject_init(
    struct subject *s, const char *model, const struct config *cfg, struct err *e)
{
    const struct vec_kernels *k = vec_select(VEC_BEST);
    AUTO_FREE char *config_path = path_join(model ? model : "", "config.json");

    if (!config_path) return err_set(e, ERR_NOMEM, "out of memory");
    if (model && (!cfg || file_exists(config_path))) {
        TRY(encoder_load(model, k, &s->own, e));
        s->bulk.encoder = s->own;
    } else {
        /* The one that is asked for has to load; the default model need not. */
        struct config asked = *cfg;
        AUTO_FREE char *name = mem_strdup(model ? model : cfg->default_model);
        if (!name) return err_set(e, ERR_NOMEM, "out of memory");
        asked.default_model = name;
        TRY(models_load(&s->models, &asked, k, e));
        s->bulk.encoder = models_find(&s->models, str_from(name))->encoder;
    }
    s->dimensions = encoder_info(s->bulk.encoder)->dimensions;
    return ERR_OK;
}

/* ---- judging ---- */

/* Queries to be ranked, cut over threads. */
struct ranking {
    const struct bulk_encode *bulk; /* threads, stop */
    const float *queries, *docs;
    size_t n_docs, dim;
    const size_t *target;
    uint32_t *ranks;
};

static enum err_code rank_slice(void *arg, size_t from, size_t to, struct err *e)
{
    enum { PIECE = 256 }; /* queries, between two looks at stop */
    const struct ranking *r = arg;

    for (; from < to; from += PIECE) {
        const size_t n = to - from < PIECE ? to - from : PIECE;
        if (r->bulk->stop && *r->bulk->stop)
            return err_set(e, ERR_CANCELLED, "stopped while ranking");
        TRY(rank_retrieval_ranks(r->queries + from * r->dim, n, r->docs, r->n_docs, r->dim,
            r->target + from, r->ranks + from, e));
    }
    return ERR_OK;
}

static enum err_code correlate(const struct cases *c, const float *left, const float *right,
    size_t dim, double *ret_rho, struct err *e)
{
    const struct vec_kernels *k = vec_select(VEC_BEST);
    AUTO_FREE float *cosines = mem_alloc(c->n, sizeof *cosines);

    if (!cosines) return err_set(e, ERR_NOMEM, "no memory for %zu cosines", c->n);
    for (size_t i = 0; i < c->n; i++)
        cosines[i] = k->dot(left + i * dim, right + c->target[i] * dim, dim);
    return rank_spearman(cosines, c->scores, c->n, ret_rho, e);
}

/* Of a retrieval task, query by query. */
struct answers {
    uint32_t *ranks;
    size_t *documents; /* which document is the right one */
};

static void answers_done(struct answers *a)
{
    mem_free(a->ranks);
    mem_free(a->documents);
}

static enum err_code judge(struct subject *s, enum eval_task task, struct str data, size_t every,
    struct eval_report *ret, struct answers *ret_answers, struct err *e)
{
    AUTO(cases_done) struct cases c = { .n = 0 };
    AUTO_FREE float *vectors = NULL;
    AUTO_FREE uint32_t *ranks = NULL;
    size_t values, dim = s->dimensions;
    struct eval_report r = { .dimensions = dim };
    int64_t start_ns;

    TRY(read_cases(&c, task, task == EVAL_GENERAL ? general_text() : data, every, e));
    r.cases = c.n;
    r.documents = c.n_docs;
    if (!mem_mul(dim, c.n + c.n_docs, &values) || !(vectors = mem_alloc(values, sizeof *vectors)) ||
        !(ranks = mem_alloc(c.n, sizeof *ranks)))
        return err_set(e, ERR_NOMEM, "no memory for %zu vectors", c.n + c.n_docs);
    float *docs = vectors + c.n * dim;
    start_ns = time_mono_ns();
    TRY(bulk_encode_texts(&s->bulk, c.queries, c.n, ENCODE_QUERY, vectors, &r.unknown, e));
    TRY(bulk_encode_texts(&s->bulk, c.docs, c.n_docs, ENCODE_DOCUMENT, docs, &r.unknown, e));
    r.encode_seconds = (double)(time_mono_ns() - start_ns) / 1e9;
    if (task == EVAL_RETRIEVAL) {
        struct ranking ranking = { &s->bulk, vectors, docs, c.n_docs, dim, c.target, ranks };
        TRY(slices_run(s->bulk.threads, c.n, rank_slice, &ranking, e));
        rank_retrieval_mean(ranks, c.n, &r.retrieval);
        *ret_answers = (struct answers){ steal_ptr(&ranks), steal_ptr(&c.target) };
    } else if (r.unknown < c.n + c.n_docs) {
        TRY(correlate(&c, vectors, docs, dim, &r.spearman, e));
    } else if (task == EVAL_STS) {
        return err_set(e, ERR_UNPROCESSABLE, "the model knows no word of the file");
    } /* else a model of another language: 0, before and after */
    *ret = r;
    return ERR_OK;
}

enum err_code evaluate(const struct eval_request *rq, struct eval_report *ret, struct err *e)
{
    AUTO(subject_done) struct subject s = { .bulk = { NULL, rq->threads, rq->stop } };
    AUTO(answers_done) struct answers answers = { NULL, NULL };

    TRY(subject_init(&s, rq->model_dir, rq->cfg, e));
    return judge(&s, rq->task, rq->data, rq->every, ret, &answers, e);
}

/* One of the two models: on the file and on the anchor set. */
static enum err_code judge_side(const struct eval_gate_request *rq, const char *model,
    struct eval_report *on_file, struct eval_general *general, struct answers *ret_answers,
    struct err *e)
{
    AUTO(subject_done) struct subject s = { .bulk = { NULL, rq->threads, rq->stop } };
    AUTO(answers_done) struct answers none = { NULL, NULL };
    struct eval_report r;

    TRY(subject_init(&s, model, rq->cfg, e));
    if (!general->known) {
        TRY(judge(&s, EVAL_GENERAL, (struct str){ NULL, 0 }, 1, &r, &none, e));
        *general = (struct eval_general){ true, r.spearman };
    }
    return judge(&s, EVAL_RETRIEVAL, rq->data, rq->every, on_file, ret_answers, e);
}

/* The base model's figure; before: the parent's. */
static enum err_code judge_base(const struct eval_gate_request *rq,
    const struct eval_general *before, double *ret, struct err *e)
{
    const struct eval_request base = { .model_dir = rq->base,
        .cfg = rq->cfg,
        .task = EVAL_GENERAL,
        .threads = rq->threads,
        .stop = rq->stop };
    struct eval_report r = { .spearman = rq->general_base.spearman };

    if (strcmp(rq->base, rq->before) == 0)
        r.spearman = before->spearman;
    else if (!rq->general_base.known)
        TRY(evaluate(&base, &r, e));
    *ret = r.spearman;
    return ERR_OK;
}

enum err_code evaluate_gate(
    const struct eval_gate_request *rq, struct eval_gate_report *ret, struct err *e)
{
    AUTO(answers_done) struct answers before = { NULL, NULL };
    AUTO(answers_done) struct answers after = { NULL, NULL };
    struct eval_general general_before = rq->general_before, general_after = rq->general_after;
    struct eval_report first, second;
    struct eval_gate_report r;
    struct gate_options gate = rq->gate;

    TRY(judge_side(rq, rq->before, &first, &general_before, &before, e));
    if (rq->base) TRY(judge_base(rq, &general_before, &gate.anchor_base, e));
    TRY(judge_side(rq, rq->after, &second, &general_after, &after, e));
    gate.documents = before.documents;
    TRY(gate_judge(before.ranks, after.ranks, first.cases, general_before.spearman,
        general_after.spearman, &gate, &r.gate, e));
    r.documents = second.documents;
    r.dimensions = second.dimensions;
    r.encode_seconds = first.encode_seconds + second.encode_seconds;
    *ret = r;
    return ERR_OK;
}
