/* Layer: server. May include: engine, base, jansson.
 *
 * Items of a request: {"id"?, "text"?, "image"?, "vector"?, "metadata"?} to what the engine upserts.
 *
 * Threads: any.
 */
#pragma once

#include "engine/engine.h"
#include "server/json_spec.h"

struct config;

enum {
    ITEM_METADATA_DEPTH_MAX =
        32,                 /* levels of objects and lists, the metadata object itself counted */
    ITEM_VECTOR_MAX = 4096, /* values; the index takes no longer vectors */
};

/* An item as it stands in a request. */
struct item_body {
    struct str id;             /* p == NULL: none */
    struct str text;           /* p == NULL: none */
    const json_t *image;       /* NULL: none */
    struct json_vector vector; /* p == NULL: none */
    const json_t *metadata;    /* NULL: none */
};

/** Fields of an item in a list; and of one whose id is in the path, where "id" is no known field. */
extern const struct json_spec item_spec, item_spec_without_id;

/** 1 to 256 bytes of UTF-8 without control characters; INVALID at `at`. */
MUST_USE enum err_code item_id_check(const struct json_at *at, struct str id, struct err *e);

/**
 * What a valid body is to the engine, in the arena. An id is made where there is none (UUIDv7).
 * at: where the item stands in the request.
 * Errors: INVALID, EMPTY, LIMIT, UNPROCESSABLE (an image) with the JSON pointer; NOMEM.
 */
MUST_USE enum err_code item_of_body(const struct json_at *at, const struct config *cfg,
    struct arena *a, const struct item_body *body, struct upsert_item *ret, struct err *e);
