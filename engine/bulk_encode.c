/* A batch is texts that stand side by side, so its rows are written where they belong: a text that has no vector ends
 * the batch before it. */
#include "engine/bulk_encode.h"

#include "base/vecmath.h"
#include "engine/slices.h"

#include <stdatomic.h>
#include <string.h>

/* Tokens of a batch: many where one costs next to nothing, else few, so that a stop is noticed soon. */
enum { CHEAP_TOKENS = 4096, EXPENSIVE_TOKENS = 512, EXPENSIVE_FLOPS = 1 << 20 };

/* What all threads share. */
struct task {
    const struct bulk_encode *b;
    const struct vec_kernels *kernels;
    const struct str *texts;
    enum encode_kind kind;
    float *out;
    size_t dim, batch_tokens;
    atomic_size_t unknown;
    atomic_bool failed; /* in one of the threads: the others need not go on */
};

static void set_unknown(struct task *t, size_t i)
{
    memset(t->out + i * t->dim, 0, t->dim * sizeof *t->out);
    atomic_fetch_add(&t->unknown, 1);
}

/* Encode the open batch, whose first text is `first`, and open the next. */
static enum err_code flush(struct task *t, struct encoder_workspace *w, size_t first, struct err *e)
{
    const size_t n = encoder_batch_count(w);
    if (t->b->stop && *t->b->stop) return err_set(e, ERR_CANCELLED, "stopped between two batches");
    if (atomic_load(&t->failed)) return err_set(e, ERR_CANCELLED, "another thread failed");
    if (n == 0) return ERR_OK;
    TRY(encoder_batch_forward(w, t->out + first * t->dim, e));
    for (size_t i = first; i < first + n; i++) {
        float *row = t->out + i * t->dim;
        if (vec_normalize(t->kernels, row, row, t->dim) == 0) set_unknown(t, i);
    }
    encoder_batch_begin(w);
    return ERR_OK;
}

static enum err_code encode_range(
    struct task *t, struct encoder_workspace *w, size_t from, size_t to, struct err *e)
{
    size_t first = from;
    encoder_batch_begin(w);
    for (size_t i = from; i < to; i++) {
        enum err_code code = encoder_batch_add_text(w, t->texts[i], t->kind, true, NULL, e);
        if (code != ERR_OK && code != ERR_EMPTY)
            return err_wrap(e, "%s %zu", t->kind == ENCODE_QUERY ? "query" : "document", i + 1);
        if (code == ERR_OK && encoder_batch_tokens(w) < t->batch_tokens) continue;
        TRY(flush(t, w, first, e));
        first = i + 1;
        if (code == ERR_OK) continue;
        set_unknown(t, i);
    }
    return flush(t, w, first, e);
}

static enum err_code encode_slice(void *arg, size_t from, size_t to, struct err *e)
{
    struct task *t = arg;
    struct encoder_workspace *w = NULL;
    enum err_code code = encoder_workspace_new(t->b->encoder, &w, e);
    if (code == ERR_OK) code = encode_range(t, w, from, to, e);
    if (code != ERR_OK) atomic_store(&t->failed, true);
    encoder_workspace_free(w);
    return code;
}

enum err_code bulk_encode_texts(const struct bulk_encode *b, const struct str *texts, size_t n,
    enum encode_kind kind, float *out, size_t *unknown, struct err *e)
{
    const struct encoder_info *info = encoder_info(b->encoder);
    struct task t = { .b = b,
        .kernels = vec_select(VEC_BEST),
        .texts = texts,
        .kind = kind,
        .out = out,
        .dim = info->dimensions,
        .batch_tokens = info->flops_per_token < EXPENSIVE_FLOPS ? CHEAP_TOKENS : EXPENSIVE_TOKENS };
    TRY(slices_run(b->threads, n, encode_slice, &t, e));
    *unknown += atomic_load(&t.unknown);
    return ERR_OK;
}
