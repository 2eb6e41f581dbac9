/* A page of changes: read, encoded, written, indexed.
 *
 * Each step is another thread's: the catalog is read here, texts are encoded by the encode threads, the writer
 * writes in one turn between its transactions. This thread, niced, hands on and waits. Of two promotions
 * of one page nothing is counted twice: `seq` is noted with the vectors, and the index follows the catalog.
 */
#include "engine/promote_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/writer_call.h"

enum {
    PAGE_MIN = 8,
    PAGE_BYTES = 4 << 20,
    PAGE_LONG_MS =
        500, /* of encoding: then the next page is smaller, so that progress shows and searches wait less */
    CANCEL_POLL_MS = 100
};
static const struct err given_up = { .code = ERR_CANCELLED, .msg = "the promotion is given up" };

struct page {
    struct catalog_change *rows;
    size_t n;
    struct encode_request encode;
    struct catalog_vector_put *puts; /* [n_puts] of the live items */
    size_t n_puts;
    struct promotion *promotion;
    struct mutex lock;
    struct cond encoded;
    bool done; /* guarded by lock */
    int64_t encode_ns;
};

enum err_code promote__go_on(struct promotion *p, struct err *e)
{
    if (atomic_load(&p->watch->cancel)) return err_set(e, ERR_CANCELLED, "it was cancelled");
    AUTO_LOCK(&p->g->life_lock);
    if (p->g->draining) return err_set(e, ERR_DRAINING, "the server is shutting down");
    return ERR_OK;
}

enum err_code promote__pause(struct promotion *p, int64_t until_ns, struct err *e)
{
    enum { STEP_MS = 50 };
    struct mutex lock;
    struct cond never;
    enum err_code code;
    mutex_init(&lock, RANK_QUEUE);
    cond_init(&never);
    while ((code = promote__go_on(p, e)) == ERR_OK && time_mono_ns() < until_ns) {
        int64_t step = time_mono_ns() + STEP_MS * NS_PER_MS;
        mutex_lock(&lock);
        (void)cond_wait_until(&never, &lock, step < until_ns ? step : until_ns);
        mutex_unlock(&lock);
    }
    cond_done(&never);
    mutex_done(&lock);
    return code;
}

/* ---- encoding ---- */

static void encode_finished(struct encode_request *r)
{
    struct page *pg = container_of(r, struct page, encode);
    AUTO_LOCK(&pg->lock);
    pg->done = true;
    cond_signal(&pg->encoded);
}

static void encode_and_wait(struct promotion *p, struct page *pg)
{
    mutex_init(&pg->lock, RANK_QUEUE);
    cond_init(&pg->encoded);
    int64_t began = time_mono_ns();
    encode_push(&p->g->encoders, &pg->encode);
    mutex_lock(&pg->lock);
    while (!pg->done) {
        (void)cond_wait_until(&pg->encoded, &pg->lock, time_mono_ns() + CANCEL_POLL_MS * NS_PER_MS);
        if (!pg->done && atomic_load(&p->watch->cancel)) encode_abandon(&pg->encode, &given_up);
    }
    mutex_unlock(&pg->lock);
    pg->encode_ns = time_mono_ns() - began;
    cond_done(&pg->encoded);
    mutex_done(&pg->lock);
}

/* The texts of the live items; a put for each live item, without a vector where there is no text. */
static enum err_code fill(struct promotion *p, struct page *pg, struct err *e)
{
    struct encode_request *r = &pg->encode;
    size_t dim = p->next->row.dimensions, floats;
    float *rows = mem_mul(pg->n, dim, &floats) ? arena_alloc(p->arena, floats, sizeof *rows) : NULL;
    r->texts = arena_zalloc(p->arena, pg->n, sizeof *r->texts);
    pg->puts = arena_zalloc(p->arena, pg->n, sizeof *pg->puts);
    if (!rows || !r->texts || !pg->puts) return err_set(e, ERR_NOMEM, "out of memory for vectors");
    for (size_t i = 0; i < pg->n; i++) {
        const struct catalog_change *row = &pg->rows[i];
        if (row->deleted) continue;
        struct catalog_vector_put *put = &pg->puts[pg->n_puts++];
        *put = (struct catalog_vector_put){ .slot = row->slot, .seq = row->seq };
        if (!row->text.p) continue;
        put->vector = rows + r->n * dim;
        r->texts[r->n] = (struct encode_text){ .text = row->text, .out = rows + r->n * dim };
        r->n++;
    }
    r->model = p->next->model;
    r->kind = ENCODE_DOCUMENT;
    r->truncate = true;
    r->lane = p->held ? LANE_INTERACTIVE : LANE_BULK;
    r->arena = p->arena;
    r->finished = encode_finished;
    return r->n ? encode_prepare(r, p->g->encoders.batch_units, e) : ERR_OK;
}

static enum err_code encode(struct promotion *p, struct page *pg, struct err *e)
{
    TRY(fill(p, pg, e));
    if (pg->encode.n == 0) return ERR_OK;
    encode_and_wait(p, pg);
    const struct err *fatal = encode_fatal(&pg->encode);
    if (fatal) {
        if (e) *e = *fatal;
        return fatal->code;
    }
    p->report.encoded += pg->encode.n;
    for (size_t i = 0, t = 0; i < pg->n_puts; i++) {
        if (!pg->puts[i].vector || !pg->encode.texts[t++].failure) continue;
        pg->puts[i].vector = NULL;
        p->report.without_vector++;
    }
    return ERR_OK;
}

/* ---- writing ---- */

static enum err_code write_page(struct engine *g, void *arg, struct err *e)
{
    struct page *pg = arg;
    const struct promotion *p = pg->promotion;
    if (p->col->deleted) return err_set(e, ERR_NOT_FOUND, "the collection was deleted");
    g->writer.checkpoint_due = true;
    return catalog_generation_put(
        g->catalog, &p->col->row, &p->next->row, pg->puts, pg->n_puts, pg->rows[pg->n - 1].seq, e);
}

/* What changed again meanwhile keeps its old vector here: its change is still to come. */
static enum err_code index_page(struct promotion *p, const struct page *pg, struct err *e)
{
    struct index *ix = p->next->index;
    atomic_fetch_add(&p->next->unsaved, pg->n);
    for (size_t i = 0; i < pg->n; i++)
        if (pg->rows[i].deleted) (void)index_delete(ix, pg->rows[i].slot);
    for (size_t i = 0; i < pg->n_puts; i++) {
        const struct catalog_vector_put *put = &pg->puts[i];
        if (!put->written) continue;
        if (put->vector)
            TRY(index_put(ix, put->slot, put->vector, e));
        else
            (void)index_delete(ix, put->slot);
    }
    return ERR_OK;
}

/* Pages are small where texts are long, or the model is slow. */
static void choose_size(struct promotion *p, const struct page *pg)
{
    size_t bytes = 0;
    for (size_t i = 0; i < pg->n; i++)
        bytes += pg->rows[i].text.n;
    const int64_t slow = PAGE_LONG_MS * NS_PER_MS;
    if ((bytes > PAGE_BYTES || pg->encode_ns > slow) && p->page > PAGE_MIN)
        p->page /= 2;
    else if (bytes < PAGE_BYTES / 4 && pg->encode_ns < slow / 4 && p->page < PROMOTE_PAGE)
        p->page *= 2;
}

enum err_code promote__page(struct promotion *p, size_t *ret_n, struct err *e)
{
    struct page pg = { .promotion = p };
    if (p->page == 0) p->page = PAGE_MIN;
    arena_clear(p->arena);
    TRY(catalog_changes_page(
        p->g->catalog, &p->col->row, p->next->seq, p->page, p->arena, &pg.rows, &pg.n, e));
    *ret_n = pg.n;
    if (pg.n == 0) return ERR_OK;
    TRY(encode(p, &pg, e));
    TRY(writer_call(p->g, write_page, &pg, e));
    enum err_code code = index_page(p, &pg, e);
    if (code != ERR_OK) {
        p->torn = true;
        return code;
    }
    p->next->seq = pg.rows[pg.n - 1].seq;
    p->report.replayed += pg.n;
    atomic_fetch_add(&p->watch->done, pg.n);
    linker_schedule(&p->g->linker, p->next);
    choose_size(p, &pg);
    return ERR_OK;
}
