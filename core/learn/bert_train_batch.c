/* A batch is cut into chunks of whole texts, chunk i is worked off by thread i % threads, and a thread adds up the
 * gradients of its chunks in order; then those of the threads are added in order. So a result is the same to the
 * bit every time, and with another number of threads differs by rounding.
 *
 * Activations are kept for as many chunks as memory_bytes hold. Those of the others are made again in the backward
 * pass, one chunk at a time (Gao et al. 2021, "GradCache"), with the same dropout; as the cut does not depend on
 * the memory, neither do the gradients, to the bit.
 *
 * The word table is most of a model's parameters and a batch uses few of its rows. Threads after the first have
 * gradients for the rows of their own tokens only.
 */
#include "core/learn/bert_train_internal.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/thread.h"
#include "core/nn/embedding.h"
#include "core/nn/gemm.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK_TOKENS = 512, CHUNK_TOKENS_MIN = 64, ALIGN_BYTES = 64 };

/* Memory that grows and is used again; what was there is not kept. */
struct room {
    void *p;
    size_t bytes;
};

struct bert_act {
    const struct bert_train *t;
    struct packed_batch b; /* a copy */
    struct bert_chunk *chunks;
    struct bert_worker *workers;
    size_t n_chunks, n_workers;
    uint64_t seed;
    float *out;                  /* [count,D] */
    float *parent;               /* [count,D] behind it, or NULL */
    const float *dout;           /* during backward */
    uint32_t *row;               /* FULL: [tokens] row in the worker's `word` */
    uint32_t *used;              /* FULL: [tokens] the rows' tokens, a worker's after the other's */
    size_t *n_used, *first_used; /* [n_workers] */
    bool *fill;                  /* frozen: [count] */
    struct text_entry **kept;    /* frozen: [count] */
    struct room ids, texts, lists, result, acts, scratch, work, place;
    struct room grads, words, slots; /* of backward */
};

static enum err_code make_room(struct room *r, size_t n, size_t size, struct err *e)
{
    size_t bytes = 0;
    if (mem_mul(n, size, &bytes) && r->p && r->bytes >= bytes) return ERR_OK;
    mem_free(r->p);
    r->bytes = 0;
    r->p = mem_alloc_aligned(ALIGN_BYTES, n, size);
    if (!r->p) return err_set(e, ERR_NOMEM, "no memory for a batch: a smaller one may help");
    r->bytes = bytes;
    return ERR_OK;
}

void *bert_activations_new(const void *model)
{
    struct bert_act *a = mem_zalloc(1, sizeof *a);
    if (a) a->t = model;
    return a;
}

void bert_activations_free(void *act)
{
    struct bert_act *a = act;
    if (!a) return;
    struct room *all[] = { &a->ids, &a->texts, &a->lists, &a->result, &a->acts, &a->scratch,
        &a->work, &a->place, &a->grads, &a->words, &a->slots };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]->p);
    mem_free(a);
}

/* ---- threads ---- */

struct job {
    void (*fn)(void *arg, size_t i);
    void *arg;
    size_t i;
};

static void job_run(void *arg)
{
    struct job *j = arg;
    j->fn(j->arg, j->i);
}

void bert_in_threads(size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    struct thread threads[BERT_THREADS_MAX];
    struct job jobs[BERT_THREADS_MAX];
    ASSERT_BUG(n <= BERT_THREADS_MAX);
    for (size_t i = 1; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "train-%zu", i % 1000);
        threads[i] = (struct thread){ .started = false };
        jobs[i] = (struct job){ fn, arg, i };
        /* Without a thread it is done here: the outcome is the same. */
        if (thread_start(&threads[i], name, job_run, &jobs[i], NULL) != ERR_OK) fn(arg, i);
    }
    fn(arg, 0);
    for (size_t i = 1; i < n; i++)
        thread_join(&threads[i]);
}

/* ---- cutting a batch ---- */

static size_t count_chunks(const struct bert_act *a, size_t threads)
{
    size_t tokens = a->b.starts[a->b.count], n = (tokens + CHUNK_TOKENS - 1) / CHUNK_TOKENS;
    /* As many for each thread, where there is enough for all. */
    if (tokens >= threads * CHUNK_TOKENS_MIN) n = (n + threads - 1) / threads * threads;
    return n < a->b.count ? n : a->b.count;
}

static enum err_code copy_batch(struct bert_act *a, const struct packed_batch *b, struct err *e)
{
    size_t n = b->count, tokens = b->starts[n];
    TRY(make_room(&a->ids, tokens, 3 * sizeof *a->b.ids, e));
    TRY(make_room(&a->texts, n + 1, sizeof *a->b.starts + sizeof *a->kept + sizeof *a->fill, e));
    uint32_t *ids = a->ids.p;
    size_t *starts = a->texts.p;
    memcpy(ids, b->ids, tokens * sizeof *ids);
    memcpy(starts, b->starts, (n + 1) * sizeof *starts);
    a->b = (struct packed_batch){ ids, starts, n };
    a->row = ids + tokens;
    a->used = ids + 2 * tokens;
    a->kept = (struct text_entry **)(starts + n + 1);
    a->fill = (bool *)(a->kept + n + 1);
    return ERR_OK;
}

/* Chunks, each one's starts, workers: all in one block. */
static enum err_code place_lists(struct bert_act *a, struct err *e)
{
    size_t threads = a->t->o.threads, n_chunks = count_chunks(a, threads);
    a->n_workers = threads < n_chunks ? threads : n_chunks;
    size_t starts = a->b.count + n_chunks;
    size_t bytes = n_chunks * sizeof *a->chunks + a->n_workers * sizeof *a->workers +
        2 * a->n_workers * sizeof *a->n_used + starts * sizeof *a->b.starts;
    TRY(make_room(&a->lists, bytes, 1, e));
    memset(a->lists.p, 0, bytes);
    a->chunks = a->lists.p;
    a->n_chunks = n_chunks;
    a->workers = (struct bert_worker *)(a->chunks + n_chunks);
    a->n_used = (size_t *)(a->workers + a->n_workers);
    a->first_used = a->n_used + a->n_workers;
    return ERR_OK;
}

/* Texts go to the chunk in whose share of the tokens their middle lies, but none stays empty. */
static void cut(struct bert_act *a)
{
    const size_t *starts = a->b.starts;
    size_t tokens = starts[a->b.count], *at = a->first_used + a->n_workers, text = 0;
    for (size_t i = 0; i < a->n_chunks; i++) {
        struct bert_chunk *c = &a->chunks[i];
        size_t left = a->n_chunks - i - 1, share = tokens * (i + 1) / a->n_chunks;
        size_t first = text++;
        while (text + left < a->b.count && (starts[text] + starts[text + 1]) / 2 <= share)
            text++;
        if (left == 0) text = a->b.count;
        *c = (struct bert_chunk){ .text = first,
            .count = text - first,
            .token = starts[first],
            .tokens = starts[text] - starts[first],
            .ids = a->b.ids + starts[first],
            .starts = at,
            .kept = a->kept + first,
            .fill = a->fill + first,
            .seed = 0 };
        for (size_t k = first; k <= text; k++)
            *at++ = starts[k] - starts[first];
        struct chunk_acts unused;
        c->n_floats = bert_chunk_place(a->t, c, NULL, &unused);
    }
}

/* ---- memory for chunks and threads ---- */

static enum err_code place_activations(struct bert_act *a, struct err *e)
{
    const size_t budget = a->t->o.memory_bytes / sizeof(float);
    size_t sum = 0, largest = 0, work = 0, n_kept = 0, tokens = 0, texts = 0;
    for (size_t i = 0; i < a->n_chunks; i++) {
        const struct bert_chunk *c = &a->chunks[i];
        size_t w = bert_chunk_work(a->t, c);
        sum += c->n_floats;
        if (c->n_floats > largest) largest = c->n_floats;
        if (w > work) work = w;
        if (c->tokens > tokens) tokens = c->tokens;
        if (c->count > texts) texts = c->count;
    }
    size_t kept = 0, scratch = 0;
    if (a->t->method == TRAIN_NONE || sum > budget) scratch = largest;
    size_t for_kept = budget > scratch * a->n_workers ? budget - scratch * a->n_workers : 0;
    while (a->t->method != TRAIN_NONE && n_kept < a->n_chunks &&
        kept + a->chunks[n_kept].n_floats <= for_kept)
        kept += a->chunks[n_kept++].n_floats;
    TRY(make_room(&a->acts, kept, sizeof(float), e));
    TRY(make_room(&a->scratch, scratch * a->n_workers, sizeof(float), e));
    TRY(make_room(&a->work, work * a->n_workers, sizeof(float), e));
    TRY(make_room(&a->place, a->n_workers * (tokens + 2 * (texts + 2)), sizeof(size_t), e));
    float *at = a->acts.p;
    for (size_t i = 0; i < n_kept; i++) {
        a->chunks[i].acts = at;
        at += a->chunks[i].n_floats;
    }
    size_t *lists = a->place.p;
    for (size_t i = 0; i < a->n_workers; i++) {
        struct bert_worker *w = &a->workers[i];
        w->scratch = (float *)a->scratch.p + i * scratch;
        w->work = (float *)a->work.p + i * work;
        w->starts = lists + i * (tokens + 2 * (texts + 2));
        w->ids = (uint32_t *)(w->starts + texts + 2);
    }
    return ERR_OK;
}

/* ---- what is kept of frozen parts ---- */

static void find_kept(struct bert_act *a, struct text_cache *cache)
{
    const struct bert_train *t = a->t;
    bool pooled = t->bottom == t->c.layers;
    for (size_t i = 0; i < a->b.count; i++) {
        const uint32_t *ids = a->b.ids + a->b.starts[i];
        size_t n = a->b.starts[i + 1] - a->b.starts[i];
        struct text_entry *entry = text_cache_find(cache, ids, n);
        a->fill[i] = !entry || !entry->ready;
        if (!entry)
            entry = text_cache_add(cache, ids, n, pooled ? t->c.hidden : n * t->c.hidden);
        else if (!entry->ready)
            entry = NULL; /* twice in the batch: the first fills it in */
        a->kept[i] = entry;
    }
}

static void mark_kept(struct bert_act *a)
{
    for (size_t i = 0; i < a->b.count; i++) {
        if (a->kept[i]) a->kept[i]->ready = true;
        a->fill[i] = !a->kept[i];
    }
}

/* ---- forward ---- */

static void forward_of_worker(void *arg, size_t worker)
{
    struct bert_act *a = arg;
    struct bert_worker *w = &a->workers[worker];
    for (size_t i = worker; i < a->n_chunks; i += a->n_workers) {
        struct bert_chunk *c = &a->chunks[i];
        bert_chunk_forward(a->t, c, w, c->acts ? c->acts : w->scratch);
    }
}

enum err_code bert_batch_forward(
    void *model, void *act, const struct packed_batch *b, uint64_t seed, float *out, struct err *e)
{
    struct bert_train *t = model;
    struct bert_act *a = act;
    const size_t most = t->frozen ? t->c.max_tokens : t->c.positions;
    a->n_chunks = 0;
    if (b->count == 0) return ERR_OK;
    gemm_set_threads(1); /* the threads are ours */
    for (size_t i = 0; i < b->count; i++)
        if (b->starts[i + 1] - b->starts[i] > most)
            return err_set(e, ERR_INVALID, "a text has more than %zu tokens", most);
    TRY(copy_batch(a, b, e));
    TRY(place_lists(a, e));
    cut(a);
    TRY(place_activations(a, e));
    size_t D = t->c.dimensions;
    TRY(make_room(&a->result, 2 * b->count * D, sizeof *a->out, e));
    a->out = a->result.p;
    a->parent = bert_knows_parent(t) ? a->out + b->count * D : NULL;
    for (size_t i = 0; i < a->n_chunks; i++) {
        struct bert_chunk *c = &a->chunks[i];
        const uint64_t parts[] = { seed, i };
        c->seed = seed ? hash_bytes(parts, sizeof parts, 0) | 1 : 0;
        c->out = a->out + c->text * D;
        c->parent = a->parent ? a->parent + c->text * D : NULL;
    }
    if (t->method == TRAIN_LORA) bert_lora_merge(t);
    if (t->method == TRAIN_NONE)
        memset(a->fill, true, b->count * sizeof *a->fill);
    else if (t->frozen)
        find_kept(a, &t->cache);
    bert_in_threads(a->n_workers, forward_of_worker, a);
    if (t->method != TRAIN_NONE && t->frozen) mark_kept(a);
    memcpy(out, a->out, b->count * D * sizeof *out);
    return ERR_OK;
}

const float *bert_batch_parent(const void *act)
{
    return ((const struct bert_act *)act)->parent;
}

/* ---- backward ---- */

static size_t skipped(const struct bert_train *t)
{
    return t->method == TRAIN_FULL ? t->c.vocab * t->c.hidden : 0;
}

/* Number the tokens of the worker's chunks in order of their first use; `slot` is all UINT32_MAX before and after. */
static void number_tokens(struct bert_act *a, size_t worker, uint32_t *slot)
{
    uint32_t *used = a->used + a->first_used[worker];
    size_t n = 0;
    for (size_t i = worker; i < a->n_chunks; i += a->n_workers)
        for (size_t k = a->chunks[i].token; k < a->chunks[i].token + a->chunks[i].tokens; k++) {
            uint32_t *at = &slot[a->b.ids[k]];
            if (*at == UINT32_MAX) {
                *at = (uint32_t)n;
                used[n++] = a->b.ids[k];
            }
            a->row[k] = *at;
        }
    for (size_t i = 0; i < n; i++)
        slot[used[i]] = UINT32_MAX;
    a->n_used[worker] = n;
}

static enum err_code place_words(struct bert_act *a, struct err *e)
{
    const struct bert_train *t = a->t;
    size_t C = t->c.hidden, first = 0, n_rows = 0;
    bool fresh = !a->slots.p;
    TRY(make_room(&a->slots, t->c.vocab, sizeof(uint32_t), e));
    if (fresh) memset(a->slots.p, 0xFF, t->c.vocab * sizeof(uint32_t));
    for (size_t k = 1; k < a->n_workers; k++) {
        a->first_used[k] = first;
        for (size_t i = k; i < a->n_chunks; i += a->n_workers)
            first += a->chunks[i].tokens;
        number_tokens(a, k, a->slots.p);
        n_rows += a->n_used[k];
    }
    TRY(make_room(&a->words, n_rows * C, sizeof(float), e));
    float *at = a->words.p;
    for (size_t k = 1; k < a->n_workers; k++) {
        a->workers[k].word = at;
        a->workers[k].row = a->row;
        at += a->n_used[k] * C;
    }
    a->workers[0].word = t->g;
    return ERR_OK;
}

static enum err_code place_gradients(struct bert_act *a, struct err *e)
{
    const struct bert_train *t = a->t;
    size_t skip = skipped(t), n = t->n_learn - skip;
    if (t->method == TRAIN_FULL) TRY(place_words(a, e));
    TRY(make_room(&a->grads, (a->n_workers - 1) * n, sizeof(float), e));
    for (size_t i = 0; i < a->n_workers; i++) {
        a->workers[i].skip = skip;
        a->workers[i].g = i ? (float *)a->grads.p + (i - 1) * n : t->g + skip;
    }
    return ERR_OK;
}

static void backward_of_worker(void *arg, size_t worker)
{
    struct bert_act *a = arg;
    const struct bert_train *t = a->t;
    struct bert_worker *w = &a->workers[worker];
    if (worker) memset(w->g, 0, (t->n_learn - w->skip) * sizeof *w->g);
    if (worker && w->word) memset(w->word, 0, a->n_used[worker] * t->c.hidden * sizeof *w->word);
    for (size_t i = worker; i < a->n_chunks; i += a->n_workers) {
        struct bert_chunk *c = &a->chunks[i];
        float *acts = c->acts ? c->acts : w->scratch;
        if (!c->acts) bert_chunk_forward(t, c, w, acts);
        bert_chunk_backward(t, c, w, acts, a->dout + c->text * t->c.dimensions);
    }
}

/* Adds the workers' gradients to the first's: the part-th of as many parts as there are workers. */
static void add_up(void *arg, size_t part)
{
    struct bert_act *a = arg;
    size_t n = a->t->n_learn - a->workers[0].skip, from = n * part / a->n_workers,
           to = n * (part + 1) / a->n_workers;
    for (size_t k = 1; k < a->n_workers; k++)
        residual_backward(a->workers[0].g + from, a->workers[k].g + from, to - from);
}

static void add_up_words(struct bert_act *a)
{
    size_t C = a->t->c.hidden;
    for (size_t k = 1; k < a->n_workers; k++) {
        const uint32_t *used = a->used + a->first_used[k];
        for (size_t i = 0; i < a->n_used[k]; i++)
            residual_backward(a->t->g + used[i] * C, a->workers[k].word + i * C, C);
    }
}

enum err_code bert_batch_backward(void *model, void *act, const float *dout, struct err *e)
{
    struct bert_act *a = act;
    const struct bert_train *t = model;
    if (a->n_chunks == 0) return ERR_OK; /* of no text */
    gemm_set_threads(1);
    TRY(place_gradients(a, e));
    a->dout = dout;
    bert_in_threads(a->n_workers, backward_of_worker, a);
    if (a->n_workers == 1) return ERR_OK;
    bert_in_threads(a->n_workers, add_up, a);
    if (t->method == TRAIN_FULL) add_up_words(a);
    return ERR_OK;
}
