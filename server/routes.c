/* Every route, once. openapi.yaml says the same to users; a test compares the two. */
#include "server/router.h"

#include "server/api.h"

#define ITEMS "/collections/{collection}/items"
#define YAML "application/yaml"

const struct route routes[] = {
    /* method, pattern, scope, kind, body, errors, handler */
    { "POST", "/embed", SCOPE_READ, ROUTE_ASYNC, BODY_JSON, ERRORS_PROBLEM, .handler = api_embed },

    { "POST", "/v1/embeddings", SCOPE_READ, ROUTE_ASYNC, BODY_JSON, ERRORS_OPENAI,
        .handler = api_openai_embeddings },
    { "GET", "/v1/models", SCOPE_READ, ROUTE_POOLED, BODY_NONE, ERRORS_OPENAI,
        .handler = api_openai_models },
    { "GET", "/v1/models/{id}", SCOPE_READ, ROUTE_POOLED, BODY_NONE, ERRORS_OPENAI,
        .handler = api_openai_model },

    { "GET", "/collections", SCOPE_READ, ROUTE_INLINE, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_collections_list },
    { "PUT", "/collections/{collection}", SCOPE_WRITE, ROUTE_ASYNC, BODY_JSON, ERRORS_PROBLEM,
        .handler = api_collection_put },
    { "GET", "/collections/{collection}", SCOPE_READ, ROUTE_INLINE, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_collection_get },
    { "DELETE", "/collections/{collection}", SCOPE_WRITE, ROUTE_ASYNC, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_collection_delete },

    { "GET", ITEMS, SCOPE_READ, ROUTE_POOLED, BODY_NONE, ERRORS_PROBLEM, .handler = api_items_list,
        .query = "limit cursor include" },
    { "POST", ITEMS, SCOPE_WRITE, ROUTE_ASYNC, BODY_JSON, ERRORS_PROBLEM,
        .handler = api_items_upsert },
    { "POST", ITEMS, SCOPE_WRITE, ROUTE_STREAM, BODY_NDJSON, ERRORS_PROBLEM, .handler = api_import,
        .stream = &api_import_stream },
    { "POST", ITEMS "/scroll", SCOPE_READ, ROUTE_ASYNC, BODY_JSON, ERRORS_PROBLEM,
        .handler = api_items_scroll },
    { "POST", ITEMS "/delete", SCOPE_WRITE, ROUTE_ASYNC, BODY_JSON, ERRORS_PROBLEM,
        .handler = api_items_delete },
    { "POST", ITEMS "/count", SCOPE_READ, ROUTE_ASYNC, BODY_JSON, ERRORS_PROBLEM,
        .handler = api_items_count },
    { "PUT", ITEMS "/{id}", SCOPE_WRITE, ROUTE_ASYNC, BODY_JSON, ERRORS_PROBLEM,
        .handler = api_item_put },
    { "GET", ITEMS "/{id}", SCOPE_READ, ROUTE_POOLED, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_item_get, .query = "include" },
    { "DELETE", ITEMS "/{id}", SCOPE_WRITE, ROUTE_ASYNC, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_item_delete },

    { "POST", "/search", SCOPE_READ, ROUTE_ASYNC, BODY_JSON, ERRORS_PROBLEM,
        .handler = api_search },
    { "POST", "/search/batch", SCOPE_READ, ROUTE_ASYNC, BODY_JSON, ERRORS_PROBLEM,
        .handler = api_search_batch },
    { "POST", "/collections/{collection}/search", SCOPE_READ, ROUTE_ASYNC, BODY_JSON,
        ERRORS_PROBLEM, .handler = api_collection_search },

    { "POST", "/collections/{collection}/feedback", SCOPE_WRITE, ROUTE_ASYNC, BODY_JSON,
        ERRORS_PROBLEM, .handler = api_feedback },
    { "POST", "/admin/retrain", SCOPE_ADMIN, ROUTE_ASYNC, BODY_JSON, ERRORS_PROBLEM,
        .handler = api_retrain },
    { "GET", "/admin/runs", SCOPE_ADMIN, ROUTE_POOLED, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_runs_list, .query = "collection limit before" },
    { "GET", "/admin/runs/{run}", SCOPE_ADMIN, ROUTE_POOLED, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_run_get },
    { "GET", "/admin/runs/{run}/events", SCOPE_ADMIN, ROUTE_POOLED, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_run_events, .answer = "text/event-stream" },
    { "POST", "/admin/runs/{run}/cancel", SCOPE_ADMIN, ROUTE_ASYNC, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_run_cancel },
    { "GET", "/admin/models", SCOPE_ADMIN, ROUTE_POOLED, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_admin_models },
    { "GET", "/admin/collections/{collection}/versions", SCOPE_ADMIN, ROUTE_POOLED, BODY_NONE,
        ERRORS_PROBLEM, .handler = api_versions },
    { "POST", "/admin/collections/{collection}/promote", SCOPE_ADMIN, ROUTE_ASYNC, BODY_JSON,
        ERRORS_PROBLEM, .handler = api_promote },
    { "POST", "/admin/collections/{collection}/rollback", SCOPE_ADMIN, ROUTE_ASYNC, BODY_NONE,
        ERRORS_PROBLEM, .handler = api_rollback },

    { "GET", "/healthz", SCOPE_NONE, ROUTE_INLINE, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_healthz, .query = "*" },
    { "GET", "/health", SCOPE_NONE, ROUTE_INLINE, BODY_NONE, ERRORS_PROBLEM, .handler = api_healthz,
        .query = "*" },
    { "GET", "/readyz", SCOPE_NONE, ROUTE_INLINE, BODY_NONE, ERRORS_PROBLEM, .handler = api_readyz,
        .query = "*" },
    { "GET", "/metrics", SCOPE_READ, ROUTE_INLINE, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_metrics, .query = "*", .answer = "text/plain" },
    { "GET", "/version", SCOPE_NONE, ROUTE_INLINE, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_version, .query = "*" },
    { "GET", "/openapi.yaml", SCOPE_NONE, ROUTE_INLINE, BODY_NONE, ERRORS_PROBLEM,
        .handler = api_openapi, .query = "*", .answer = YAML },
};
const size_t n_routes = sizeof routes / sizeof routes[0];
