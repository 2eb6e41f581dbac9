/* Layer: server. May include: engine, base.
 *
 * The handlers of all routes (routes.c), one group a source file, and the few
 * pieces of answers that several of them write. Shapes of handlers: exchange.h.
 *
 * Threads: see the kind of each route.
 */
#pragma once

#include "engine/engine.h"
#include "server/exchange.h"
#include "server/json_write.h"
#include "server/router.h"

/* api_health.c */
enum err_code api_healthz(struct exchange *x, struct err *e);
enum err_code api_readyz(struct exchange *x, struct err *e);
enum err_code api_metrics(struct exchange *x, struct err *e);
enum err_code api_version(struct exchange *x, struct err *e);
enum err_code api_openapi(struct exchange *x, struct err *e);
/* api_embed.c */
enum err_code api_embed(struct exchange *x, struct err *e);
/* api_openai.c */
enum err_code api_openai_embeddings(struct exchange *x, struct err *e);
enum err_code api_openai_models(struct exchange *x, struct err *e);
enum err_code api_openai_model(struct exchange *x, struct err *e);
/* api_collections.c */
enum err_code api_collections_list(struct exchange *x, struct err *e);
enum err_code api_collection_put(struct exchange *x, struct err *e);
enum err_code api_collection_get(struct exchange *x, struct err *e);
enum err_code api_collection_delete(struct exchange *x, struct err *e);
/* api_items.c: writing */
enum err_code api_item_put(struct exchange *x, struct err *e);
enum err_code api_item_delete(struct exchange *x, struct err *e);
enum err_code api_items_upsert(struct exchange *x, struct err *e);
enum err_code api_items_delete(struct exchange *x, struct err *e);
/* api_items_read.c */
enum err_code api_item_get(struct exchange *x, struct err *e);
enum err_code api_items_list(struct exchange *x, struct err *e);
enum err_code api_items_scroll(struct exchange *x, struct err *e);
enum err_code api_items_count(struct exchange *x, struct err *e);
/* api_import.c */
enum err_code api_import(struct exchange *x, struct err *e);
extern const struct route_stream api_import_stream;
/* api_search.c */
enum err_code api_search(struct exchange *x, struct err *e);
enum err_code api_search_batch(struct exchange *x, struct err *e);
enum err_code api_collection_search(struct exchange *x, struct err *e);

/* api_learn.c */
enum err_code api_retrain(struct exchange *x, struct err *e);
enum err_code api_runs_list(struct exchange *x, struct err *e);
enum err_code api_run_get(struct exchange *x, struct err *e);
enum err_code api_run_cancel(struct exchange *x, struct err *e);
enum err_code api_promote(struct exchange *x, struct err *e);
enum err_code api_rollback(struct exchange *x, struct err *e);
enum err_code api_versions(struct exchange *x, struct err *e);
enum err_code api_admin_models(struct exchange *x, struct err *e);
enum err_code api_feedback(struct exchange *x, struct err *e);
/** The number in {run}; NOT_FOUND if it is none. */
enum err_code api_run_id(struct exchange *x, int64_t *ret, struct err *e);
/* api_run_events.c */
enum err_code api_run_events(struct exchange *x, struct err *e);

/** "model": {"name", "version"}, or null in a collection of the user's own vectors. */
void api_write_model(struct json_write *w, const struct model_ref *m);
/** A key whose value is a time as RFC 3339. */
void api_write_time(struct json_write *w, const char *key, int64_t unix_ms);
/** {"<key>": <value>} as the whole answer. */
MUST_USE enum err_code api_answer_count(
    struct exchange *x, const char *key, size_t value, struct err *e);

/* "include" of a request: VIEW_… bits. */
struct api_include {
    unsigned with;
};
#define API_INCLUDE_DEFAULT ((struct api_include){ VIEW_TEXT | VIEW_METADATA })
/** A json_read_fn for a struct api_include: a list of "text", "metadata", "vector". */
MUST_USE enum err_code api_read_include(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e);
