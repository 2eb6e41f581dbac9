/* engine_upsert: one operation from its items to its answer.
 *
 *   search pool   check and hash every item, ask the catalog which are unchanged
 *   encode queue  the texts of the others
 *   writer        savepoint, puts, release; after the commit index and columns
 *
 * "Unchanged" is what a reader saw a moment ago; another write may come in between. So an item without a new
 * vector is put with vector == NULL, and the catalog answers PUT_STALE where its content is another by now.
 * Those items are encoded after all and written in a second round, before the operation is done. In that
 * round every item has its vector.
 *
 * The collection may have come to serve another generation meanwhile. When the writer takes the operation up, it
 * goes over to the one that serves: vectors of the other model are thrown away, and their items are stale too.
 * So each swap costs an operation that is under way one more round, and what is answered is what was written.
 *
 * Texts longer than the model's limit are stored whole and encoded by their beginning.
 */
#include "engine/hash.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "core/text/utf8.h"
#include "engine/engine_internal.h"

#include <stdio.h>
#include <string.h>

static struct metric items_written =
    METRIC_COUNTER("kindred_items_written_total", "Items of upserts by outcome.");

enum item_status {
    ITEM_FAILED,     /* item->failure says why */
    ITEM_TO_ENCODE,  /* vector is reserved, not written yet */
    ITEM_TO_WRITE,   /* vector, or NULL: the stored one should do */
    ITEM_STALE,      /* it did not: encode, write again */
    ITEM_DONE,       /* in a committed transaction, or about to be; kind says what happened */
    ITEM_SUPERSEDED, /* the same key comes later in the operation */
};

struct item_state {
    enum item_status status;
    enum catalog_put_kind kind;
    float *vector; /* text collections: [dimensions] in the arena, or NULL */
    const struct err *failure;
    unsigned char content_hash[CATALOG_HASH_BYTES];
    unsigned char metadata_hash[CATALOG_HASH_BYTES];
};

/* What one item did in the present round; in the writer's arena. */
struct item_result {
    size_t at;
    struct catalog_put_result put;
    const struct field_value *values;
    size_t n_values;
};

struct upsert_state {
    struct op_state base;
    struct upsert_op *op;
    struct item_state *items; /* [op->n] */
    struct encode_request encode;
    size_t *encoded; /* [encode.n] item of each text */
    struct write_task task;
    struct item_result *results; /* [n_results] of this round */
    size_t n_results;
};

static struct upsert_state *state_of(struct engine_op *op)
{
    return op->state;
}

/* ---- bad items ---- */

/* Keep the reason; where one bad item fails all, that is an error of the operation. */
static enum err_code fail_item(
    struct upsert_state *s, size_t i, const struct err *why, struct err *e)
{
    struct err *copy = arena_alloc(s->op->op.arena, 1, sizeof *copy);
    if (!copy) return err_set(e, ERR_NOMEM, "out of memory for an item's error");
    *copy = *why;
    s->items[i].status = ITEM_FAILED;
    s->items[i].failure = copy;
    if (!s->op->all_or_nothing) return ERR_OK;
    if (e) *e = *why;
    return why->code;
}

static enum err_code check_key(struct str key, struct err *e)
{
    size_t at;
    if (key.n == 0 || key.n > CATALOG_KEY_MAX)
        return err_set_field(e, ERR_INVALID, "/id", "an id has 1 to %d bytes, this one has %zu",
            CATALOG_KEY_MAX, key.n);
    if (!utf8_valid(key, &at))
        return err_set_field(e, ERR_INVALID, "/id", "the id is not UTF-8 at byte %zu", at);
    for (size_t i = 0; i < key.n; i++)
        if ((unsigned char)key.p[i] < 0x20 || key.p[i] == 0x7f)
            return err_set_field(
                e, ERR_INVALID, "/id", "the id has a control character at byte %zu", i);
    return ERR_OK;
}

static enum err_code check_item(
    const struct upsert_state *s, const struct upsert_item *item, struct err *e)
{
    const struct engine *g = s->op->op.engine;
    const struct collection *col = s->base.col;
    TRY(check_key(item->key, e));
    if (item->metadata.n > g->cfg->metadata_max_bytes)
        return err_set_field(e, ERR_LIMIT, "/metadata",
            "the metadata has %zu bytes, at most %llu are taken", item->metadata.n,
            (unsigned long long)g->cfg->metadata_max_bytes);
    if (col->row.modality == MODALITY_VECTOR) {
        if (item->text.p)
            return err_set_field(e, ERR_INVALID, "/text",
                "collection \"%.*s\" holds vectors, not texts", STR_ARG(col->row.name));
        if (!item->vector)
            return err_set_field(e, ERR_INVALID, "/vector", "the item has no vector");
        return collection_vector_check(col, s->base.gen, item->vector, item->n_vector, e);
    }
    if (item->vector)
        return err_set_field(e, ERR_INVALID, "/vector",
            "collection \"%.*s\" makes its vectors from texts", STR_ARG(col->row.name));
    if (!item->text.p) return err_set_field(e, ERR_INVALID, "/text", "the item has no text");
    return engine__check_text(g, item->text, "/text", e);
}

/* ---- preparing: search pool ---- */

static void hash_item(const struct upsert_item *item, struct item_state *is)
{
    if (item->vector)
        hash_content(item->vector, item->n_vector * sizeof(float), is->content_hash);
    else
        hash_content(item->text.p, item->text.n, is->content_hash);
    hash_content(item->metadata.p, item->metadata.n, is->metadata_hash);
}

static enum err_code check_items(struct upsert_state *s, struct err *e)
{
    bool has_vectors = s->base.col->row.modality == MODALITY_VECTOR;
    for (size_t i = 0; i < s->op->n; i++) {
        struct upsert_item *item = &s->op->items[i];
        struct err why = ERR_INIT;
        if (!item->metadata.p) item->metadata = STR("{}");
        if (check_item(s, item, &why) != ERR_OK) {
            TRY(fail_item(s, i, &why, e));
            continue;
        }
        hash_item(item, &s->items[i]);
        s->items[i].status = has_vectors ? ITEM_TO_WRITE : ITEM_TO_ENCODE;
    }
    return ERR_OK;
}

/* Items whose stored content is the same need no vector. */
static enum err_code find_unchanged(struct upsert_state *s, struct err *e)
{
    struct arena *a = s->op->op.arena;
    struct arena_mark mark = arena_mark(a);
    size_t n = s->op->n, m = 0;
    struct str *keys = arena_alloc(a, n, sizeof *keys);
    struct catalog_probe *probes = arena_alloc(a, n, sizeof *probes);
    if (!keys || !probes) return err_set(e, ERR_NOMEM, "out of memory for a write");
    for (size_t i = 0; i < n; i++)
        if (s->items[i].status == ITEM_TO_ENCODE) keys[m++] = s->op->items[i].key;
    if (m) TRY(catalog_probe(s->op->op.engine->catalog, &s->base.col->row, keys, m, probes, e));
    m = 0;
    for (size_t i = 0; i < n; i++) {
        struct item_state *is = &s->items[i];
        if (is->status != ITEM_TO_ENCODE) continue;
        const struct catalog_probe *p = &probes[m++];
        if (p->found && memcmp(p->content_hash, is->content_hash, CATALOG_HASH_BYTES) == 0)
            is->status = ITEM_TO_WRITE;
    }
    arena_rewind(a, mark);
    return ERR_OK;
}

static enum err_code prepare(struct upsert_state *s, struct err *e)
{
    s->items = arena_zalloc(s->op->op.arena, s->op->n, sizeof *s->items);
    if (!s->items) return err_set(e, ERR_NOMEM, "out of memory for a write");
    TRY(check_items(s, e));
    return s->base.col->row.modality == MODALITY_VECTOR ? ERR_OK : find_unchanged(s, e);
}

/* ---- encoding ---- */

static void encode_finished(struct encode_request *r);
static void push_to_writer(struct upsert_state *s);
static void give_up(struct upsert_state *s, const struct err *why);

/* Request for all items with this status; s->encode.n is 0 if there are none. */
static enum err_code fill_request(struct upsert_state *s, enum item_status which, struct err *e)
{
    struct engine *g = s->op->op.engine;
    struct arena *a = s->op->op.arena;
    struct encode_request *r = &s->encode;
    size_t n = 0, dim = s->base.gen->row.dimensions, floats;
    *r = (struct encode_request){ 0 };
    for (size_t i = 0; i < s->op->n; i++)
        n += s->items[i].status == which;
    if (n == 0) return ERR_OK;
    TRY(engine__text_model(s->base.col, s->base.gen, &r->model, e));
    float *rows = mem_mul(n, dim, &floats) ? arena_alloc(a, floats, sizeof *rows) : NULL;
    r->texts = arena_zalloc(a, n, sizeof *r->texts);
    s->encoded = arena_alloc(a, n, sizeof *s->encoded);
    if (!rows || !r->texts || !s->encoded)
        return err_set(e, ERR_NOMEM, "out of memory for vectors");
    for (size_t i = 0; i < s->op->n; i++) {
        if (s->items[i].status != which) continue;
        s->items[i].vector = rows + r->n * dim;
        s->encoded[r->n] = i;
        r->texts[r->n++] = (struct encode_text){
            .text = s->op->items[i].text,
            .out = s->items[i].vector,
        };
    }
    r->kind = ENCODE_DOCUMENT;
    r->truncate = true;
    r->lane = s->op->interactive ? LANE_INTERACTIVE : LANE_BULK;
    r->deadline_ns = s->task.committed_part ? 0 : s->op->op.deadline_ns;
    r->arena = a;
    r->finished = encode_finished;
    return encode_prepare(r, g->encoders.batch_units, e);
}

/* Permits were taken for all texts; those of unchanged ones are not needed. */
static void give_back_unused(struct upsert_state *s)
{
    size_t units = 0;
    for (size_t i = 0; i < s->encode.n; i++)
        units += encode_cost(s->encode.model, s->encode.kind, s->encode.texts[i].text);
    if (units >= s->base.encode_permits) return;
    gate_release(
        &s->op->op.engine->encode_gate[s->base.encode_lane], s->base.encode_permits - units);
    s->base.encode_permits = units;
}

static void encode_or_write(struct upsert_state *s, enum item_status which)
{
    struct engine *g = s->op->op.engine;
    struct err e = ERR_INIT;
    if (fill_request(s, which, &e) != ERR_OK) {
        give_up(s, &e);
        return;
    }
    give_back_unused(s);
    if (s->encode.n) {
        engine__wait_begins(&s->op->op);
        encode_push(&g->encoders, &s->encode);
    } else {
        push_to_writer(s);
    }
}

static enum err_code take_rows(struct upsert_state *s, struct err *e)
{
    const struct err *fatal = encode_fatal(&s->encode);
    if (fatal) {
        if (e) *e = *fatal;
        return fatal->code;
    }
    for (size_t t = 0; t < s->encode.n; t++) {
        size_t i = s->encoded[t];
        if (!s->encode.texts[t].failure) {
            s->items[i].status = ITEM_TO_WRITE;
            continue;
        }
        struct err why = *s->encode.texts[t].failure;
        snprintf(why.field, sizeof why.field, "/text");
        TRY(fail_item(s, i, &why, e));
    }
    return ERR_OK;
}

static void encode_finished(struct encode_request *r)
{
    struct upsert_state *s = container_of(r, struct upsert_state, encode);
    struct engine_op *op = &s->op->op;
    struct err e = ERR_INIT;
    op->queue_ns += r->queue_ns;
    op->since_ns = time_mono_ns() - r->work_ns;
    gate_release(&op->engine->encode_gate[s->base.encode_lane], s->base.encode_permits);
    s->base.encode_permits = 0;
    if (take_rows(s, &e) != ERR_OK)
        give_up(s, &e);
    else
        push_to_writer(s);
}

/* ---- writing: writer thread ---- */

/* Of items with one key only the last good one is written. */
static enum err_code drop_duplicates(struct upsert_state *s, struct err *e)
{
    if (s->op->n < 2) return ERR_OK;
    struct str_map *last = str_map_new(s->op->n, hash_seed());
    if (!last) return err_set(e, ERR_NOMEM, "out of memory for a write");
    enum err_code code = ERR_OK;
    for (size_t i = s->op->n; i-- > 0 && code == ERR_OK;) {
        uint32_t later;
        if (s->items[i].status != ITEM_TO_WRITE) continue;
        if (str_map_get(last, s->op->items[i].key, &later))
            s->items[i].status = ITEM_SUPERSEDED;
        else
            code = str_map_set(last, s->op->items[i].key, (uint32_t)i);
    }
    str_map_free(last);
    return code == ERR_OK ? ERR_OK : err_set(e, code, "out of memory for a write");
}

static enum err_code put_item(
    struct upsert_state *s, size_t i, struct arena *a, struct item_result *res, struct err *e)
{
    struct catalog *c = s->op->op.engine->catalog;
    const struct catalog_collection *row = &s->base.col->row;
    const struct upsert_item *item = &s->op->items[i];
    struct item_state *is = &s->items[i];
    struct field_value *values = NULL;

    res->at = i;
    res->n_values = 0;
    if (row->n_fields)
        TRY(catalog_fields_extract(c, row, item->metadata, a, &values, &res->n_values, e));
    res->values = values;
    struct catalog_put put = {
        .key = item->key,
        .text = item->text,
        .metadata = item->metadata,
        .vector = item->vector ? item->vector : is->vector,
        .values = values,
        .n_values = res->n_values,
    };
    memcpy(put.content_hash, is->content_hash, sizeof put.content_hash);
    memcpy(put.metadata_hash, is->metadata_hash, sizeof put.metadata_hash);
    TRY(catalog_item_put(c, row, &s->base.gen->row, &put, a, &res->put, e));
    is->kind = res->put.kind;
    return ERR_OK;
}

/* The collection serves another generation than the texts were encoded for. */
static enum err_code go_over(struct upsert_state *s, struct generation *serving, struct err *e)
{
    TRY(engine__model_ref(s->op->op.arena, serving, &s->op->model, e));
    generation_ref(serving);
    generation_unref(s->base.gen);
    s->base.gen = serving;
    for (size_t i = 0; i < s->op->n; i++) {
        if (s->items[i].status != ITEM_TO_WRITE || !s->items[i].vector) continue;
        s->items[i].status = ITEM_STALE;
        s->items[i].vector = NULL;
    }
    return ERR_OK;
}

static enum err_code upsert_apply(struct write_task *t, struct arena *a, struct err *e)
{
    struct upsert_state *s = container_of(t, struct upsert_state, task);
    struct generation *serving = writer_generation(s->base.col);
    if (s->base.gen != serving) TRY(go_over(s, serving, e));
    s->n_results = 0;
    s->results = arena_alloc(a, s->op->n, sizeof *s->results);
    if (!s->results) return err_set(e, ERR_NOMEM, "out of memory for a write");
    for (size_t i = 0; i < s->op->n; i++) {
        if (s->items[i].status != ITEM_TO_WRITE) continue;
        TRY(put_item(s, i, a, &s->results[s->n_results], e));
        s->n_results++;
    }
    return ERR_OK;
}

static void upsert_publish(struct write_task *t)
{
    struct upsert_state *s = container_of(t, struct upsert_state, task);
    struct engine *g = s->op->op.engine;
    bool written = false;
    for (size_t r = 0; r < s->n_results; r++) {
        const struct item_result *res = &s->results[r];
        struct item_state *is = &s->items[res->at];
        const float *given = s->op->items[res->at].vector;
        is->status = res->put.kind == PUT_STALE ? ITEM_STALE : ITEM_DONE;
        if (res->put.kind != PUT_NEW && res->put.kind != PUT_REPLACED) continue;
        writer_publish_put(&g->writer, s->base.col, &res->put, given ? given : is->vector,
            res->values, res->n_values);
        written |= res->put.vector_written;
    }
    if (written) linker_schedule(&g->linker, s->base.gen);
}

/* ---- the answer ---- */

static void answer(struct upsert_state *s)
{
    struct upsert_op *op = s->op;
    op->n_new = op->n_replaced = op->n_unchanged = op->n_failed = 0;
    for (size_t i = 0; i < op->n; i++) {
        struct upsert_item *item = &op->items[i];
        const struct item_state *is = &s->items[i];
        item->failure = NULL;
        if (is->status == ITEM_FAILED) {
            item->outcome = UPSERT_FAILED;
            item->failure = is->failure;
            op->n_failed++;
        } else if (is->status == ITEM_SUPERSEDED || is->kind == PUT_REPLACED) {
            item->outcome = UPSERT_REPLACED;
            op->n_replaced++;
        } else if (is->kind == PUT_NEW) {
            item->outcome = UPSERT_NEW;
            op->n_new++;
        } else {
            item->outcome = UPSERT_UNCHANGED;
            op->n_unchanged++;
        }
    }
    metric_add(&items_written, "outcome=\"new\"", (double)op->n_new);
    metric_add(&items_written, "outcome=\"replaced\"", (double)op->n_replaced);
    metric_add(&items_written, "outcome=\"unchanged\"", (double)op->n_unchanged);
    metric_add(&items_written, "outcome=\"failed\"", (double)op->n_failed);
}

/* The operation fails; or, when some of it is on disk already, the items that are not. */
static void give_up(struct upsert_state *s, const struct err *why)
{
    static const struct err no_memory = { .code = ERR_NOMEM, .msg = "out of memory for a write" };
    if (!s->task.committed_part) {
        engine__finish(&s->op->op, why);
        return;
    }
    struct err *copy = arena_alloc(s->op->op.arena, 1, sizeof *copy);
    if (copy) *copy = *why;
    for (size_t i = 0; i < s->op->n; i++) {
        struct item_state *is = &s->items[i];
        if (is->status != ITEM_STALE && is->status != ITEM_TO_WRITE) continue;
        is->status = ITEM_FAILED;
        is->failure = copy ? copy : &no_memory;
    }
    answer(s);
    engine__finish(&s->op->op, NULL);
}

static void upsert_finish(struct write_task *t, const struct err *why)
{
    struct upsert_state *s = container_of(t, struct upsert_state, task);
    bool stale = false;
    for (size_t i = 0; !why && i < s->op->n; i++) {
        stale |= s->items[i].status == ITEM_STALE;
        t->committed_part |= s->items[i].status == ITEM_DONE;
    }
    if (stale) {
        encode_or_write(s, ITEM_STALE);
        return;
    }
    if (why) {
        give_up(s, why);
        return;
    }
    answer(s);
    engine__finish(&s->op->op, NULL);
}

static void push_to_writer(struct upsert_state *s)
{
    struct err e = ERR_INIT;
    enum queue_lane lane = s->op->interactive ? LANE_INTERACTIVE : LANE_BULK;
    if (drop_duplicates(s, &e) != ERR_OK) {
        give_up(s, &e);
        return;
    }
    bool any = false;
    s->task.grows = false;
    for (size_t i = 0; i < s->op->n; i++) {
        bool write = s->items[i].status == ITEM_TO_WRITE;
        any |= write;
        s->task.grows |= write && (s->items[i].vector || s->op->items[i].vector);
    }
    if (!any) { /* every item was bad */
        answer(s);
        engine__finish(&s->op->op, NULL);
        return;
    }
    writer_push(&s->op->op.engine->writer, lane, &s->task);
}

/* ---- entry ---- */

static void upsert_step(struct engine_op *op)
{
    struct upsert_state *s = state_of(op);
    struct err e = ERR_INIT;
    if (prepare(s, &e) != ERR_OK)
        engine__finish(op, &e);
    else
        encode_or_write(s, ITEM_TO_ENCODE);
}

static enum err_code submit(struct engine *g, struct upsert_op *op, struct err *e)
{
    struct upsert_state *s = state_of(&op->op);
    enum queue_lane lane = op->interactive ? LANE_INTERACTIVE : LANE_BULK;
    size_t units = 0;
    s->op = op;
    TRY(registry_get(&g->registry, op->collection, &s->base.col, e));
    if (op->collection_id && op->collection_id != s->base.col->row.id)
        return err_set(e, ERR_NOT_FOUND, "collection \"%.*s\" was deleted and made again",
            STR_ARG(op->collection));
    s->base.gen = collection_generation(s->base.col);
    TRY(engine__model_ref(op->op.arena, s->base.gen, &op->model, e));
    for (size_t i = 0; i < op->n; i++)
        if (op->items[i].text.p)
            units += encode_cost(s->base.gen->model, ENCODE_DOCUMENT, op->items[i].text);
    TRY(engine__take_write(g, &s->base, op->n, e));
    if (units) TRY(engine__take_encode(g, &s->base, lane, units, e));
    s->task = (struct write_task){
        .op = &op->op,
        .col = s->base.col,
        .items = op->n,
        .apply = upsert_apply,
        .publish = upsert_publish,
        .finish = upsert_finish,
    };
    pool_push(&g->pool, lane, &op->op, upsert_step);
    return ERR_OK;
}

enum err_code engine_upsert(struct engine *g, struct upsert_op *op, struct err *e)
{
    if (op->n == 0) return err_set(e, ERR_EMPTY, "there is nothing to write");
    TRY(engine__accept(g, &op->op, sizeof(struct upsert_state), e));
    enum err_code code = submit(g, op, e);
    return code == ERR_OK ? ERR_OK : engine__reject(&op->op, code);
}
