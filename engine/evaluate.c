#include "engine/evaluate.h"

#include "base/mem.h"
#include "base/thread.h"
#include "core/model/encoder.h"
#include "engine/models.h"

#include <stdlib.h>
#include <string.h>

struct cases {
    float *scores; /* sts */
    struct str *left, *right;
    size_t n, cap;
};

static void cases_done(struct cases *c)
{
    mem_free(c->scores);
    mem_free(c->left);
    mem_free(c->right);
}

static enum err_code cases_grow(struct cases *c, struct err *e)
{
    size_t cap = c->cap ? c->cap * 2 : 1024;
    void *scores, *left, *right;

    if (c->n < c->cap) return ERR_OK;
    if ((scores = mem_realloc(c->scores, cap, sizeof *c->scores))) c->scores = scores;
    if ((left = mem_realloc(c->left, cap, sizeof *c->left))) c->left = left;
    if ((right = mem_realloc(c->right, cap, sizeof *c->right))) c->right = right;
    if (!scores || !left || !right) return err_set(e, ERR_NOMEM, "no memory for %zu cases", cap);
    c->cap = cap;
    return ERR_OK;
}

/* Cut the text before the next tab, or all of it; false if there is no tab. */
static bool cut_tab(struct str *rest, struct str *ret)
{
    const char *tab = memchr(rest->p, '\t', rest->n);

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

static enum err_code read_case(
    struct cases *c, const struct eval_request *rq, struct str line, struct err *e)
{
    struct str score;

    TRY(cases_grow(c, e));
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    if (rq->task == EVAL_STS) {
        if (!cut_tab(&line, &score) || !parse_score(score, &c->scores[c->n]))
            return err_set(e, ERR_INVALID, "expected score TAB sentence TAB sentence");
    }
    if (!cut_tab(&line, &c->left[c->n]) || memchr(line.p, '\t', line.n))
        return err_set(e, ERR_INVALID,
            rq->task == EVAL_STS ? "expected score TAB sentence TAB sentence"
                                 : "expected query TAB document");
    c->right[c->n++] = line;
    return ERR_OK;
}

static enum err_code read_cases(struct cases *c, const struct eval_request *rq, struct err *e)
{
    size_t every = rq->every ? rq->every : 1, line_no = 0;
    const char *p = rq->data.p, *end = p + rq->data.n;

    for (; p < end; line_no++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline ? newline : end;

        if (line_no % every == 0 &&
            read_case(c, rq, (struct str){ p, (size_t)(stop - p) }, e) != ERR_OK)
            return err_wrap(e, "line %zu", line_no + 1);
        p = newline ? newline + 1 : end;
    }
    if (c->n < 2) return err_set(e, ERR_INVALID, "the file holds fewer than two cases");
    return ERR_OK;
}

static enum err_code encode_all(struct encoder_workspace *w, const struct str *texts, size_t n,
    size_t dim, enum encode_kind kind, float *out, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (encoder_encode_text(w, texts[i], kind, out + i * dim, e) != ERR_OK)
            return err_wrap(e, "case %zu", i + 1);
    return ERR_OK;
}

static enum err_code judge(const struct eval_request *rq, const struct cases *c, const float *left,
    const float *right, size_t dim, struct eval_report *r, struct err *e)
{
    const struct vec_kernels *k = vec_select(VEC_BEST);

    if (rq->task == EVAL_STS) {
        AUTO_FREE float *cosines = mem_alloc(c->n, sizeof *cosines);
        if (!cosines) return err_set(e, ERR_NOMEM, "no memory for %zu cosines", c->n);
        for (size_t i = 0; i < c->n; i++)
            cosines[i] = k->dot(left + i * dim, right + i * dim, dim);
        return rank_spearman(cosines, c->scores, c->n, &r->spearman, e);
    }
    AUTO_FREE size_t *target = mem_alloc(c->n, sizeof *target);
    if (!target) return err_set(e, ERR_NOMEM, "no memory for %zu cases", c->n);
    for (size_t i = 0; i < c->n; i++)
        target[i] = i;
    return rank_retrieval_eval(left, c->n, right, c->n, dim, target, &r->retrieval, e);
}

static void workspace_free(struct encoder_workspace **w)
{
    encoder_workspace_free(*w);
}

/* The encoder to judge: one loaded from its folder, or one of the models that a server would have. */
struct subject {
    struct encoder *own;
    struct models models;
    const struct encoder *encoder;
};

static void subject_done(struct subject *s)
{
    encoder_free(s->own);
    models_done(&s->models);
}

static enum err_code subject_init(struct subject *s, const struct eval_request *rq, struct err *e)
{
    const struct vec_kernels *k = vec_select(VEC_BEST);

    if (rq->model_dir) {
        TRY(encoder_load(rq->model_dir, k, &s->own, e));
        s->encoder = s->own;
        return ERR_OK;
    }
    TRY(models_load(&s->models, rq->cfg, k, e));
    s->encoder = models_find(&s->models, str_from(rq->cfg->default_model))->encoder;
    return ERR_OK;
}

enum err_code evaluate(const struct eval_request *rq, struct eval_report *ret, struct err *e)
{
    AUTO(cases_done) struct cases c = { .n = 0 };
    AUTO(subject_done) struct subject subject = { .own = NULL };
    AUTO(workspace_free) struct encoder_workspace *w = NULL;
    AUTO_FREE float *vectors = NULL;
    struct eval_report r = { .cases = 0 };
    int64_t start_ns;
    size_t values, dim;

    TRY(read_cases(&c, rq, e));
    TRY(subject_init(&subject, rq, e));
    TRY(encoder_workspace_new(subject.encoder, &w, e));
    r.cases = c.n;
    r.dimensions = dim = encoder_info(subject.encoder)->dimensions;
    if (!mem_mul(2 * dim, c.n, &values) || !(vectors = mem_alloc(values, sizeof *vectors)))
        return err_set(e, ERR_NOMEM, "no memory for %zu vectors", 2 * c.n);
    start_ns = time_mono_ns();
    TRY(encode_all(w, c.left, c.n, dim, ENCODE_QUERY, vectors, e));
    TRY(encode_all(w, c.right, c.n, dim, ENCODE_DOCUMENT, vectors + c.n * dim, e));
    r.encode_seconds = (double)(time_mono_ns() - start_ns) / 1e9;
    TRY(judge(rq, &c, vectors, vectors + c.n * dim, dim, &r, e));
    *ret = r;
    return ERR_OK;
}
