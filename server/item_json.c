/* Bodies are read by tables (json_spec.h); here is what tables cannot say. */
#include "server/item_json.h"

#include "base/thread.h"
#include "engine/config.h"

#include <sodium.h>

static const char *const vector_path[] = { "/vector", NULL };

#define ITEM_FIELDS                                                                                \
    { "text", JSON_STR, JSON_AT(struct item_body, text) },                                         \
        { "image", JSON_VALUE, JSON_AT(struct item_body, image) },                                 \
        { "vector", JSON_VECTOR, JSON_AT(struct item_body, vector), .min = 1,                      \
            .max = ITEM_VECTOR_MAX },                                                              \
    {                                                                                              \
        "metadata", JSON_VALUE, JSON_AT(struct item_body, metadata)                                \
    }

static const struct json_field item_fields[] = {
    { "id", JSON_STR, JSON_AT(struct item_body, id) },
    ITEM_FIELDS,
};
static const struct json_field item_fields_without_id[] = { ITEM_FIELDS };

const struct json_spec item_spec = JSON_SPEC(item_fields, .vectors = vector_path);
const struct json_spec item_spec_without_id =
    JSON_SPEC(item_fields_without_id, .vectors = vector_path);

/* C0, DEL, and C1 (U+0080 to U+009F: c2 80 to c2 9f). The text is UTF-8. */
static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f) return true;
        if (c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0) return true;
    }
    return false;
}

enum err_code item_id_check(const struct json_at *at, struct str id, struct err *e)
{
    if (id.n == 0 || id.n > CATALOG_KEY_MAX)
        return json_fail(
            at, e, ERR_INVALID, "must have 1 to %d bytes, not %zu", CATALOG_KEY_MAX, id.n);
    if (has_control(id)) return json_fail(at, e, ERR_INVALID, "must not have control characters");
    return ERR_OK;
}

/* RFC 9562: 48 bits of Unix milliseconds, version 7, 74 random bits. */
static enum err_code make_id(struct arena *a, struct str *ret, struct err *e)
{
    enum { BYTES = 16, TEXT = 36 };
    unsigned char b[BYTES];
    char *p = arena_alloc(a, TEXT + 1, 1), *at = p;
    if (!p) return err_set(e, ERR_NOMEM, "no memory for an id");

    uint64_t ms = (uint64_t)time_unix_ms();
    randombytes_buf(b, sizeof b);
    for (unsigned i = 0; i < 6; i++)
        b[i] = (unsigned char)(ms >> (40 - 8 * i));
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x70);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (unsigned i = 0; i < BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
        *at++ = "0123456789abcdef"[b[i] >> 4];
        *at++ = "0123456789abcdef"[b[i] & 15];
    }
    *at = '\0';
    *ret = (struct str){ p, TEXT };
    return ERR_OK;
}

/* Levels of nesting; stops counting above `max`. */
static size_t depth_of(const json_t *v, size_t max)
{
    size_t deepest = 0, i;
    const char *key;
    json_t *member;

    if (max == 0 || !(json_is_object(v) || json_is_array(v))) return 0;
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        size_t d = depth_of(member, max - 1);
        if (d > deepest) deepest = d;
    }
    json_array_foreach(v, i, member)
    {
        size_t d = depth_of(member, max - 1);
        if (d > deepest) deepest = d;
    }
    return deepest + 1;
}

static enum err_code read_metadata(const struct json_at *at, const struct config *cfg,
    struct arena *a, const json_t *v, struct str *ret, struct err *e)
{
    if (!v || json_is_null(v)) {
        *ret = STR("{}");
        return ERR_OK;
    }
    if (!json_is_object(v)) return json_fail_type(at, "an object", v, e);
    if (depth_of(v, ITEM_METADATA_DEPTH_MAX + 1) > ITEM_METADATA_DEPTH_MAX)
        return json_fail(
            at, e, ERR_INVALID, "is nested deeper than %d levels", ITEM_METADATA_DEPTH_MAX);
    struct str text;
    TRY(json_text(v, a, &text, e));
    if (text.n > cfg->metadata_max_bytes)
        return json_fail(at, e, ERR_LIMIT, "has %zu bytes as compact JSON; at most %zu are allowed",
            text.n, (size_t)cfg->metadata_max_bytes);
    *ret = text;
    return ERR_OK;
}

enum err_code item_of_body(const struct json_at *at, const struct config *cfg, struct arena *a,
    const struct item_body *body, struct upsert_item *ret, struct err *e)
{
    struct upsert_item item = { .key = body->id, .text = body->text };

    if (body->id.p) TRY(item_id_check(&JSON_MEMBER(at, "id"), body->id, e));
    if (body->image && !json_is_null(body->image))
        return json_fail(&JSON_MEMBER(at, "image"), e, ERR_UNPROCESSABLE,
            "cannot be taken: there is no image model");
    if (!body->text.p && !body->vector.p)
        return err_set(
            e, ERR_INVALID, "an item must have \"text\", or \"vector\" in a collection of vectors");
    if (body->text.p && body->text.n == 0)
        return json_fail(&JSON_MEMBER(at, "text"), e, ERR_EMPTY, "must not be empty");
    if (body->text.n > cfg->text_max_bytes)
        return json_fail(&JSON_MEMBER(at, "text"), e, ERR_LIMIT,
            "has %zu bytes; at most %zu are allowed", body->text.n, (size_t)cfg->text_max_bytes);
    TRY(read_metadata(&JSON_MEMBER(at, "metadata"), cfg, a, body->metadata, &item.metadata, e));
    item.vector = body->vector.p;
    item.n_vector = body->vector.n;
    if (!body->id.p) TRY(make_id(a, &item.key, e));
    *ret = item;
    return ERR_OK;
}
