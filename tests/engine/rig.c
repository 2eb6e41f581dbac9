#include "tests/engine/rig.h"

#include "base/log.h"
#include "base/metrics.h"
#include "tests/support/tiny_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the engine ---- */

void rig_set(struct rig *r, const char *key, const char *value)
{
    struct err e = ERR_INIT;
    ck_assert_ok(config_set(&r->cfg, key, value, &e), &e);
}

void rig_init(struct rig *r)
{
    struct err e = ERR_INIT;
    char path[TMPDIR_PATH_BYTES];
    memset(r, 0, sizeof *r);
    log_set_level(LOG_OFF);
    tmpdir_make(&r->dir);
    ck_assert_ok(config_init(&r->cfg, &e), &e);
    rig_set(r, "data", tmpdir_file(&r->dir, "data", path));
    tmpdir_file(&r->dir, "models", path);
    rig_set(r, "models", path);
    rig_set(r, "default_model", "tiny");
    rig_set(r, "encode.threads", "2");
    rig_set(r, "search.threads", "2");
    rig_set(r, "index.link_threads", "2");
    tiny_model_write(path, "tiny", RIG_DIM, 7);
}

void rig_open(struct rig *r)
{
    struct err e = ERR_INIT;
    ck_assert_ok(engine_open(&r->cfg, &r->g, &e), &e);
}

void rig_close(struct rig *r)
{
    engine_close(r->g);
    r->g = NULL;
}

void rig_reopen(struct rig *r)
{
    rig_close(r);
    rig_open(r);
}

void rig_done(struct rig *r)
{
    rig_close(r);
    config_done(&r->cfg);
    tmpdir_remove(&r->dir);
}

/* ---- operations that are waited for ---- */

void call_init(struct call *c)
{
    mutex_init(&c->lock, RANK_SERVER);
    cond_init(&c->changed);
    c->done = false;
    c->arena = arena_new(1 << 16, 0);
    ck_assert_ptr_nonnull(c->arena);
}

void call_done(struct call *c)
{
    arena_free(c->arena);
    cond_done(&c->changed);
    mutex_done(&c->lock);
}

static void on_done(struct engine_op *op)
{
    struct call *c = op->user;
    mutex_lock(&c->lock);
    ck_assert(!c->done);
    c->done = true;
    cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
}

void call_begin(struct call *c, struct engine_op *op)
{
    c->done = false;
    op->arena = c->arena;
    op->done = on_done;
    op->user = c;
    op->err = ERR_INIT;
}

enum err_code call_wait(
    struct call *c, struct engine_op *op, enum err_code submitted, const struct err *e)
{
    if (submitted != ERR_OK) {
        op->err = *e;
        return submitted;
    }
    mutex_lock(&c->lock);
    while (!c->done)
        cond_wait(&c->changed, &c->lock);
    mutex_unlock(&c->lock);
    return op->err.code;
}

#define WAITING_CALL(name, type, submit)                                                           \
    enum err_code name(struct rig *r, struct call *c, struct type *op)                             \
    {                                                                                              \
        struct err e = ERR_INIT;                                                                   \
        call_begin(c, &op->op);                                                                    \
        enum err_code code = submit(r->g, op, &e);                                                 \
        return call_wait(c, &op->op, code, &e);                                                    \
    }
WAITING_CALL(rig_upsert, upsert_op, engine_upsert)
WAITING_CALL(rig_delete, delete_op, engine_delete)
WAITING_CALL(rig_search, search_op, engine_search)
WAITING_CALL(rig_embed, embed_op, engine_embed)
WAITING_CALL(rig_collection, collection_op, engine_collection_submit)

/* ---- short forms ---- */

enum upsert_outcome rig_put(
    struct rig *r, const char *collection, const char *key, const char *text, const char *metadata)
{
    CALL c;
    call_init(&c);
    struct upsert_item item = { .key = str_from(key),
        .text = str_from(text),
        .metadata = str_from(metadata ? metadata : "{}") };
    struct upsert_op op = { .collection = str_from(collection),
        .items = &item,
        .n = 1,
        .interactive = true,
        .all_or_nothing = true };
    ck_assert_ok(rig_upsert(r, &c, &op), &op.op.err);
    return item.outcome;
}

void rig_text(size_t i, char ret[64])
{
    snprintf(
        ret, 64, "w%zu w%zu w%zu w%zu", i % 251, (i / 7) % 239, (i / 251) % 241, (i * 31) % 233);
}

void rig_put_many(struct rig *r, const char *collection, size_t first, size_t n)
{
    CALL c;
    call_init(&c);
    struct upsert_item *items = arena_zalloc(c.arena, n, sizeof *items);
    ck_assert_ptr_nonnull(items);
    for (size_t i = 0; i < n; i++) {
        char *text = arena_alloc(c.arena, 64, 1);
        char *key = arena_printf(c.arena, "k%zu", first + i);
        char *metadata = arena_printf(c.arena, "{\"n\":%zu}", first + i);
        ck_assert(text && key && metadata);
        rig_text(first + i, text);
        items[i] = (struct upsert_item){
            .key = str_from(key), .text = str_from(text), .metadata = str_from(metadata)
        };
    }
    struct upsert_op op = { .collection = str_from(collection), .items = items, .n = n };
    ck_assert_ok(rig_upsert(r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.n_failed, 0);
}

enum err_code rig_remove(struct rig *r, const char *collection, const char *key)
{
    CALL c;
    call_init(&c);
    struct str k = str_from(key);
    struct delete_op op = {
        .collection = str_from(collection), .keys = &k, .n = 1, .must_exist = true
    };
    return rig_delete(r, &c, &op);
}

size_t rig_find(struct rig *r, const char *collection, const char *text, size_t k, char ret_key[64])
{
    CALL c;
    call_init(&c);
    struct search_op op = {
        .collection = str_from(collection), .text = str_from(text), .k = k, .exact = true
    };
    ck_assert_ok(rig_search(r, &c, &op), &op.op.err);
    if (op.n_hits && ret_key) snprintf(ret_key, 64, "%.*s", STR_ARG(op.hits[0].key));
    return op.n_hits;
}

static size_t list_all(struct rig *r, const char *collection)
{
    int64_t after = -1;
    size_t n = 0;
    do {
        struct err e = ERR_INIT;
        CALL c;
        call_init(&c);
        struct item_view *rows;
        size_t got;
        ck_assert_ok(engine_items_page(r->g, str_from(collection), NULL, after, 100, 0, 0, c.arena,
                         &rows, &got, &after, &e),
            &e);
        n += got;
    } while (after >= 0);
    return n;
}

void rig_check_items(struct rig *r, const char *collection, size_t want)
{
    struct err e = ERR_INIT;
    CALL c;
    call_init(&c);
    size_t count;
    struct collection_info info;
    ck_assert_ok(engine_items_count(r->g, str_from(collection), NULL, 0, &count, &e), &e);
    ck_assert_ok(engine_collection_get(r->g, str_from(collection), c.arena, &info, &e), &e);
    ck_assert_uint_eq(count, want);
    ck_assert_uint_eq(info.items, want);
    ck_assert_uint_eq(list_all(r, collection), want);
}

void rig_make_vectors(
    struct rig *r, const char *name, size_t dimensions, enum catalog_metric metric)
{
    CALL c;
    call_init(&c);
    struct collection_op op = { .action = COLLECTION_PUT,
        .spec = { .name = str_from(name),
            .modality = MODALITY_VECTOR,
            .dimensions = dimensions,
            .metric = metric } };
    ck_assert_ok(rig_collection(r, &c, &op), &op.op.err);
    ck_assert(op.created);
}

double rig_metric(const char *name)
{
    /* A metric is static in its file, so its text form is read. */
    struct buf b = BUF_INIT(0);
    struct err e = ERR_INIT;
    char line[100];
    snprintf(line, sizeof line, "\n%s ", name);
    ck_assert_ok(metrics_render(&b, &e), &e);
    const char *at = strstr(b.p, line);
    double value = at ? strtod(at + strlen(line), NULL) : 0;
    buf_done(&b);
    return value;
}

double rig_tokens_encoded(void)
{
    return rig_metric("kindred_encode_tokens_total");
}
