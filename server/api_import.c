/* POST …/items with NDJSON: items of any number, in constant memory.
 *
 * Lines are parsed on the event thread into a chunk; a full chunk goes to the engine as one operation while the
 * next one fills. One chunk at a time is under way: two could be written in either order, and of an id that
 * comes twice the later must win. When the second is full before the first is done, the connection
 * waits, and so does the client: that is the back-pressure. A piece of the body (at most 32 KiB) is always
 * taken whole, so a chunk may grow beyond its limit by the lines of one piece.
 *
 * Who owns the import (`state`):
 *   IDLE     no operation; the event thread
 *   RUNNING  the operation owns its chunk and the results; the event thread owns the chunk being filled
 *   AWAITED  all is the operation's; the exchange is suspended
 * The event thread moves RUNNING to AWAITED, the operation's end moves it to IDLE: whoever comes second
 * goes on (proceed). An operation holds the exchange, so that a cut connection takes nothing from it.
 *
 * A full queue in the engine is no answer for a stream: the chunk is sent again a little later, by a thread that
 * lives only for that wait.
 */
#include "server/api.h"

#include "base/mem.h"
#include "engine/config.h"
#include "server/item_json.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum {
    CHUNK_ITEMS = 1024,
    CHUNK_BYTES = 1
        << 20, /* for a static model; for one that costs more, less, so that a piece takes seconds */
    CHUNK_BYTES_MIN = 32 << 10,
    CHUNK_ARENA_BYTES = 128 << 10,
    FAILURES_LISTED = 1000,
    RETRY_MS = 20,
};

enum import_state { IMPORT_IDLE, IMPORT_RUNNING, IMPORT_AWAITED };

/* A line with an item: it went to the engine, or it failed before. */
struct chunk_line {
    uint64_t number; /* from 1 */
    struct str id;   /* p == NULL: unknown; only of failures */
    const struct err *failure;
};

struct chunk {
    struct arena *arena;       /* texts of the lines, failures, the engine's results */
    struct chunk_line *lines;  /* [n_lines] */
    struct upsert_item *items; /* [n_items] of the lines without failure, in order */
    struct json_doc *docs;     /* [n_items] items borrow from them */
    size_t n_lines, cap_lines, n_items, cap_items, bytes;
    uint64_t last_line;
    struct arena_mark filled; /* what comes after belongs to the operation */
    struct upsert_op op;
};

struct import {
    struct exchange *x;
    struct str collection;
    size_t chunk_bytes;
    int64_t collection_id; /* the stream does not go on into another of the same name */
    atomic_int state;
    struct chunk chunks[2];
    struct chunk *filling, *flying;
    /* the event thread's; all others' once `ended` and AWAITED */
    struct buf line; /* a line of which more is to come */
    uint64_t lines_read;
    bool ended;        /* no more lines */
    struct err broken; /* why the stream ended early; code ERR_OK: it did not */
    /* results: whoever runs the operation's end, then the owner */
    size_t upserted, unchanged, n_failed;
    uint64_t lines_done;
    struct buf failures; /* JSON objects with commas */
    int64_t queue_ns, work_ns;
    struct err refused; /* the engine's last word; code ERR_OK: none */
};

static void submit(struct import *im);

/* ---- chunks ---- */

static void chunk_clear(struct chunk *c)
{
    for (size_t i = 0; i < c->n_items; i++)
        json_doc_done(&c->docs[i]);
    c->n_lines = c->n_items = c->bytes = 0;
    arena_clear(c->arena);
}

static void chunk_done(struct chunk *c)
{
    if (c->arena) chunk_clear(c);
    arena_free(c->arena);
    mem_free(c->lines);
    mem_free(c->items);
    mem_free(c->docs);
}

static bool is_full(const struct import *im)
{
    const struct chunk *c = im->filling;
    return c->n_lines >= CHUNK_ITEMS || c->bytes >= im->chunk_bytes;
}

/* Room for one more line and item. */
static enum err_code chunk_reserve(struct chunk *c, struct err *e)
{
    if (c->n_lines == c->cap_lines) {
        size_t cap = c->cap_lines ? 2 * c->cap_lines : CHUNK_ITEMS;
        struct chunk_line *p = mem_realloc(c->lines, cap, sizeof *p);
        if (!p) return err_set(e, ERR_NOMEM, "no memory for lines");
        c->lines = p;
        c->cap_lines = cap;
    }
    if (c->n_items == c->cap_items) {
        size_t cap = c->cap_items ? 2 * c->cap_items : CHUNK_ITEMS;
        struct upsert_item *items = mem_realloc(c->items, cap, sizeof *items);
        if (!items) return err_set(e, ERR_NOMEM, "no memory for items");
        c->items = items;
        struct json_doc *docs = mem_realloc(c->docs, cap, sizeof *docs);
        if (!docs) return err_set(e, ERR_NOMEM, "no memory for items");
        c->docs = docs;
        c->cap_items = cap;
    }
    return ERR_OK;
}

/* A line that failed by itself; after the last that can be listed only the count matters. */
static enum err_code chunk_fail(
    struct chunk *c, uint64_t number, const json_t *id, const struct err *why, struct err *e)
{
    static const struct err unlisted = { .code = ERR_INVALID };
    struct chunk_line line = { .number = number, .failure = &unlisted };

    if (c->n_lines < FAILURES_LISTED) {
        struct err *copy = arena_alloc(c->arena, 1, sizeof *copy);
        if (!copy) return err_set(e, ERR_NOMEM, "no memory for a failure");
        *copy = *why;
        line.failure = copy;
        if (json_is_string(id) && item_id_check(&JSON_ROOT, json_str_of(id), NULL) == ERR_OK) {
            struct str s = json_str_of(id);
            line.id = (struct str){ arena_strndup(c->arena, s.p, s.n), s.n };
        }
    }
    c->lines[c->n_lines++] = line;
    return ERR_OK;
}

/* ---- lines ---- */

/* The parser counts lines too, and knows only of this one. */
static enum err_code broken_line(
    const struct import *im, enum err_code code, const char *why, struct err *e)
{
    static const char first[] = " line 1,";
    const char *at = strstr(why, first);
    int n = at ? (int)(at - why) : (int)strlen(why);
    return err_set(e, code, "line %zu: %.*s%s", (size_t)im->lines_read, n, why,
        at ? at + sizeof first - 1 : "");
}

/* One line that is not blank. An error ends the stream; an item that is wrong only counts. */
static enum err_code take_item(struct import *im, const char *p, size_t n, struct err *e)
{
    struct chunk *c = im->filling;
    struct json_doc doc = { 0 };
    struct item_body body = { 0 };
    struct err why = ERR_INIT;

    TRY(chunk_reserve(c, e));
    char *text = arena_strndup(c->arena, p, n);
    if (!text) return err_set(e, ERR_NOMEM, "no memory for line %zu", (size_t)im->lines_read);
    c->bytes += n;

    enum err_code code = json_read(text, n, item_spec.vectors, c->arena, &doc, &why);
    if (code == ERR_NOMEM || (code != ERR_OK && !why.field[0] && !doc.refused))
        return broken_line(im, code, why.msg, e);
    if (doc.refused) {
        struct err here = ERR_INIT;
        code = broken_line(im, code, why.msg, &here);
        why = here;
    }
    const struct json_reader r = { .arena = c->arena, .doc = &doc, .user = im->x };
    if (code == ERR_OK && !json_is_object(doc.root))
        code = err_set(&why, ERR_INVALID, "an item must be an object, not %s", json_kind(doc.root));
    if (code == ERR_OK) code = json_spec_object(&r, &JSON_ROOT, &item_spec, doc.root, &body, &why);
    if (code == ERR_OK)
        code = item_of_body(&JSON_ROOT, im->x->cfg, c->arena, &body, &c->items[c->n_items], &why);
    if (code == ERR_OK) {
        c->docs[c->n_items++] = doc;
        c->lines[c->n_lines++] = (struct chunk_line){ .number = im->lines_read };
        return ERR_OK;
    }
    if (code == ERR_NOMEM) {
        (void)err_set(e, code, "%s", why.msg);
    } else {
        code = chunk_fail(c, im->lines_read, json_object_get(doc.root, "id"), &why, e);
    }
    if (doc.root) json_doc_done(&doc);
    return code;
}

static enum err_code take_line(struct import *im, const char *p, size_t n, struct err *e)
{
    im->lines_read++;
    if (n > im->x->cfg->line_max_bytes)
        return err_set(e, ERR_LIMIT, "line %zu has more than %zu bytes", (size_t)im->lines_read,
            (size_t)im->x->cfg->line_max_bytes);
    while (n > 0 && (p[n - 1] == '\r' || p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    size_t blank = 0;
    while (blank < n && (p[blank] == ' ' || p[blank] == '\t'))
        blank++;
    if (blank < n) TRY(take_item(im, p, n, e));
    im->filling->last_line = im->lines_read;
    return ERR_OK;
}

/* Keep the beginning of a line. One byte more than a line may have tells that it has too many. */
static enum err_code keep(struct import *im, const char *p, size_t n, struct err *e)
{
    size_t max = (size_t)im->x->cfg->line_max_bytes + 1;
    size_t room = im->line.n < max ? max - im->line.n : 0;
    if (n > 0 && buf_append(&im->line, p, n < room ? n : room) != ERR_OK)
        return err_set(e, ERR_NOMEM, "no memory for line %zu", (size_t)im->lines_read + 1);
    return n <= room ? ERR_OK : take_line(im, im->line.p, im->line.n, e);
}

static enum err_code take_piece(struct import *im, struct str piece, struct err *e)
{
    while (piece.n > 0) {
        const char *end = memchr(piece.p, '\n', piece.n);
        size_t n = end ? (size_t)(end - piece.p) : piece.n;
        if (!end) return keep(im, piece.p, n, e);
        if (im->line.n > 0) {
            TRY(keep(im, piece.p, n, e));
            TRY(take_line(im, im->line.p, im->line.n, e));
            buf_clear(&im->line);
        } else {
            TRY(take_line(im, piece.p, n, e));
        }
        piece.p += n + 1;
        piece.n -= n + 1;
    }
    return ERR_OK;
}

/* ---- results ---- */

static void add_failure(
    struct import *im, const struct chunk_line *line, const struct err *why, struct str id)
{
    if (im->n_failed++ >= FAILURES_LISTED) return;
    struct json_write w = JSON_WRITE_INIT(&im->failures);
    w.comma = im->failures.n > 0;
    json_write_object(&w);
    json_write_key(&w, "line");
    json_write_u64(&w, line->number);
    if (id.p) {
        json_write_key(&w, "id");
        json_write_str(&w, id);
    }
    json_write_key(&w, "code");
    json_write_z(&w, problem_code_of(why->code));
    json_write_key(&w, "detail");
    json_write_z(&w, why->msg);
    json_write_object_end(&w);
}

/* The chunk is dealt with: count it, and make it ready to be filled again. */
static void collect(struct import *im, struct chunk *c)
{
    for (size_t i = 0, j = 0; i < c->n_lines; i++) {
        const struct chunk_line *line = &c->lines[i];
        if (line->failure) {
            add_failure(im, line, line->failure, line->id);
            continue;
        }
        const struct upsert_item *item = &c->items[j++];
        if (item->outcome == UPSERT_FAILED) add_failure(im, line, item->failure, item->key);
    }
    if (c->n_items > 0) {
        im->upserted += c->op.n_new + c->op.n_replaced;
        im->unchanged += c->op.n_unchanged;
    }
    im->lines_done = c->last_line;
    chunk_clear(c);
}

static void write_progress(struct json_write *w, const struct import *im)
{
    json_write_object(w);
    json_write_key(w, "lines");
    json_write_u64(w, im->lines_done);
    json_write_key(w, "upserted");
    json_write_u64(w, im->upserted);
    json_write_key(w, "unchanged");
    json_write_u64(w, im->unchanged);
    json_write_key(w, "failed_count");
    json_write_u64(w, im->n_failed);
    json_write_key(w, "failed");
    json_write_array(w);
    if (im->failures.n > 0) json_write_raw(w, buf_str(&im->failures));
    json_write_array_end(w);
    json_write_object_end(w);
}

/* A problem like any other, with one member more. */
static void write_problem(struct exchange *x, const struct import *im, const struct err *why)
{
    const struct problem_info *info = problem_info(problem_of(why->code));
    bool hide = problem_is_internal(why->code);
    struct buf *out = &x->rs.body;

    x->failure = *why;
    x->failure_code = info->code;
    x->rs.status = info->status;
    x->rs.content_type = "application/problem+json";
    exchange_retry_after(x, problem_of(why->code));
    problem_render(out, problem_of(why->code),
        hide ? "something went wrong here; the log has more at this request's id" : why->msg, "");
    if (out->failed != ERR_OK) return;
    out->n--; /* the closing brace */
    struct json_write w = { .b = out, .comma = true };
    json_write_key(&w, "progress");
    write_progress(&w, im);
    (void)buf_putc(out, '}');
}

/* The end: everything that can be committed is. The exchange is suspended and ours. */
static void finish(struct import *im)
{
    struct exchange *x = im->x;
    const struct err *why = im->refused.code != ERR_OK ? &im->refused
        : im->broken.code != ERR_OK                    ? &im->broken
                                                       : NULL;
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);

    x->queue_ns += im->queue_ns;
    x->work_ns += im->work_ns;
    if (!why) {
        im->lines_done = im->lines_read;
        write_progress(&w, im);
    } else {
        if (why == &im->broken) im->lines_done = im->lines_read - 1;
        write_problem(x, im, why);
    }
    exchange_finish(x);
}

/* ---- operations ---- */

/* No operation is under way, the exchange is suspended, and all is the caller's. Afterwards nothing is. */
static void proceed(struct import *im)
{
    struct exchange *x = im->x;

    if (im->refused.code == ERR_OK && im->filling->n_lines > 0 && im->filling->n_items == 0)
        collect(im, im->filling);
    if (im->refused.code == ERR_OK && im->filling->n_items > 0) {
        bool ended = im->ended;
        atomic_store(&im->state, ended ? IMPORT_AWAITED : IMPORT_RUNNING);
        im->flying = im->filling;
        im->flying->filled = arena_mark(im->flying->arena);
        im->filling = &im->chunks[im->flying == &im->chunks[0]];
        exchange_hold(x);
        submit(im);
        if (!ended) exchange_resume(x);
    } else if (im->ended || im->refused.code != ERR_OK) {
        finish(im);
    } else {
        exchange_resume(x);
    }
}

/* The operation is over. */
static void landed(struct import *im, const struct err *why)
{
    struct exchange *x = im->x;
    int running = IMPORT_RUNNING;

    if (why->code == ERR_OK) {
        collect(im, im->flying);
    } else {
        im->refused = *why;
        chunk_clear(im->flying);
    }
    if (!atomic_compare_exchange_strong(&im->state, &running, IMPORT_IDLE)) {
        atomic_store(&im->state, IMPORT_IDLE);
        proceed(im);
    }
    exchange_release(x);
}

static void send_again(void *arg)
{
    const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000L };
    (void)nanosleep(&pause, NULL);
    submit(arg);
}

/* The engine's queue is full. */
static void submit_later(struct import *im)
{
    struct thread t = { 0 };
    struct err e = ERR_INIT;
    if (thread_start(&t, "import-wait", send_again, im, &e) != ERR_OK) {
        landed(im, &e);
        return;
    }
    /* Nobody joins it: the exchange, which it holds, outlasts it. */
    (void)pthread_detach(t.t);
}

static void upsert_done(struct engine_op *op)
{
    struct import *im = op->user;
    const struct err why = op->err;

    im->queue_ns += op->queue_ns;
    im->work_ns += op->work_ns;
    if (why.code == ERR_BUSY) {
        submit_later(im);
    } else {
        landed(im, &why);
    }
}

/* Give the flying chunk to the engine; its end is upsert_done or landed, perhaps before this returns. */
static void submit(struct import *im)
{
    struct chunk *c = im->flying;
    struct err e = ERR_INIT;

    arena_rewind(c->arena, c->filled); /* it may have been refused before */
    c->op = (struct upsert_op){ .collection = im->collection,
        .collection_id = im->collection_id,
        .items = c->items,
        .n = c->n_items,
        .op = { .arena = c->arena, .done = upsert_done, .user = im } };
    enum err_code code = engine_upsert(im->x->engine, &c->op, &e);
    if (code == ERR_BUSY) {
        submit_later(im);
    } else if (code != ERR_OK) {
        landed(im, &e);
    }
}

/* Event thread: the filled chunk should go, or the stream has ended. */
static void advance(struct import *im)
{
    int running = IMPORT_RUNNING;
    exchange_suspend(im->x);
    if (atomic_compare_exchange_strong(&im->state, &running, IMPORT_AWAITED)) return;
    proceed(im);
}

/* ---- the stream ---- */

static enum err_code import_data(struct exchange *x, struct str piece, struct err *e)
{
    struct import *im = x->user;
    (void)e;

    if (im->ended) return ERR_OK;
    if (take_piece(im, piece, &im->broken) != ERR_OK) im->ended = true;
    if (im->ended || is_full(im)) advance(im);
    return ERR_OK;
}

static enum err_code import_end(struct exchange *x, struct err *e)
{
    struct import *im = x->user;
    (void)e;

    if (!im->ended && im->line.n > 0) (void)take_line(im, im->line.p, im->line.n, &im->broken);
    im->ended = true;
    advance(im);
    return ERR_OK;
}

static void import_close(struct exchange *x)
{
    struct import *im = x->user;
    chunk_done(&im->chunks[0]);
    chunk_done(&im->chunks[1]);
    buf_done(&im->line);
    buf_done(&im->failures);
    mem_free(im);
}

const struct route_stream api_import_stream = { .data = import_data,
    .end = import_end,
    .close = import_close };

enum err_code api_import(struct exchange *x, struct err *e)
{
    struct collection_info info;
    struct str collection = exchange_capture(x, "collection");

    TRY(engine_collection_get(x->engine, collection, x->arena, &info, e));
    struct import *im = mem_zalloc(1, sizeof *im);
    if (!im) return err_set(e, ERR_NOMEM, "no memory for an import");
    im->x = x;
    im->collection = collection;
    im->collection_id = info.id;
    im->chunk_bytes = CHUNK_BYTES / info.token_cost;
    if (im->chunk_bytes < CHUNK_BYTES_MIN) im->chunk_bytes = CHUNK_BYTES_MIN;
    im->filling = &im->chunks[0];
    x->user = im; /* import_close frees from here on */
    for (size_t i = 0; i < 2; i++) {
        im->chunks[i].arena = arena_new(CHUNK_ARENA_BYTES, 0);
        if (!im->chunks[i].arena) return err_set(e, ERR_NOMEM, "no memory for an import");
    }
    return ERR_OK;
}
