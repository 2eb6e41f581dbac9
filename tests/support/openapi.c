/* See openapi.h. The YAML document becomes one JSON value; references are followed as they are met. The
 * schema check is a direct recursion over the keywords. */
#include "tests/support/openapi.h"

#include "tests/support/test.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct openapi {
    json_t *root;
};

static _Thread_local char message[1024];

PRINTF_LIKE(1, 2) static const char *say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return message;
}

/* ---- YAML to JSON ---- */

static json_t *scalar(const yaml_node_t *node)
{
    const char *p = (const char *)node->data.scalar.value;
    size_t n = node->data.scalar.length;
    char *end;

    if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return json_stringn(p, n);
    if (n == 0 || strcmp(p, "null") == 0 || strcmp(p, "~") == 0) return json_null();
    if (strcmp(p, "true") == 0) return json_true();
    if (strcmp(p, "false") == 0) return json_false();
    errno = 0;
    long long i = strtoll(p, &end, 10);
    if (*end == '\0' && errno == 0) return json_integer(i);
    if (isdigit((unsigned char)p[0]) || p[0] == '-') {
        double d = strtod(p, &end);
        if (*end == '\0') return json_real(d);
    }
    return json_stringn(p, n);
}

static json_t *convert(yaml_document_t *doc, int id)
{
    const yaml_node_t *node = yaml_document_get_node(doc, id);
    ck_assert_ptr_nonnull(node);
    json_t *v = NULL;
    switch (node->type) {
    case YAML_SCALAR_NODE: v = scalar(node); break;
    case YAML_SEQUENCE_NODE:
        v = json_array();
        for (const int *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++)
            json_array_append_new(v, convert(doc, *i));
        break;
    case YAML_MAPPING_NODE:
        v = json_object();
        for (const yaml_node_pair_t *p = node->data.mapping.pairs.start;
             p < node->data.mapping.pairs.top; p++) {
            const char *key = (const char *)yaml_document_get_node(doc, p->key)->data.scalar.value;
            ck_assert_msg(!json_object_get(v, key), "key \"%s\" twice in one mapping, line %zu",
                key, node->start_mark.line + 1);
            json_object_set_new(v, key, convert(doc, p->value));
        }
        break;
    case YAML_NO_NODE:
    default: ck_abort_msg("unknown kind of YAML node");
    }
    ck_assert_ptr_nonnull(v);
    return v;
}

struct openapi *openapi_load(struct str yaml)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    ck_assert(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)yaml.p, yaml.n);
    ck_assert_msg(yaml_parser_load(&parser, &doc), "not YAML: %s, line %zu",
        parser.problem ? parser.problem : "?", parser.problem_mark.line + 1);
    ck_assert_ptr_nonnull(yaml_document_get_root_node(&doc));

    struct openapi *o = malloc(sizeof *o);
    ck_assert_ptr_nonnull(o);
    o->root = convert(&doc, 1);
    yaml_document_delete(&doc);
    yaml_parser_delete(&parser);
    return o;
}

void openapi_free(struct openapi *o)
{
    if (!o) return;
    json_decref(o->root);
    free(o);
}

/* Follows {"$ref": "#/a/b/c"} to its end; NULL if it leads nowhere. */
static const json_t *resolve(const struct openapi *o, const json_t *v)
{
    for (int hops = 0; hops < 16; hops++) {
        const char *ref = json_string_value(json_object_get(v, "$ref"));
        if (!ref) return v;
        if (strncmp(ref, "#/", 2) != 0) return NULL;
        char part[128];
        v = o->root;
        for (const char *p = ref + 1; *p == '/';) {
            size_t n = strcspn(p + 1, "/");
            if (n >= sizeof part) return NULL;
            memcpy(part, p + 1, n);
            part[n] = '\0';
            v = json_object_get(v, part);
            p += n + 1;
        }
        if (!v) return NULL;
    }
    return NULL;
}

/* ---- the schema ---- */

/* NULL, or what is wrong, with the place. `at` is where the value stands. */
static const char *check(
    const struct openapi *o, const json_t *schema, const json_t *v, const char *at);

static bool is_type(const json_t *v, const char *type)
{
    if (strcmp(type, "object") == 0) return json_is_object(v);
    if (strcmp(type, "array") == 0) return json_is_array(v);
    if (strcmp(type, "string") == 0) return json_is_string(v);
    if (strcmp(type, "integer") == 0) return json_is_integer(v);
    if (strcmp(type, "number") == 0) return json_is_number(v);
    if (strcmp(type, "boolean") == 0) return json_is_boolean(v);
    if (strcmp(type, "null") == 0) return json_is_null(v);
    ck_abort_msg("openapi.yaml: unknown type \"%s\"", type);
}

static const char *check_type(const json_t *type, const json_t *v, const char *at)
{
    if (json_is_string(type))
        return is_type(v, json_string_value(type))
            ? NULL
            : say("%s: not of type %s", at, json_string_value(type));
    size_t i;
    json_t *t;
    json_array_foreach(type, i, t) if (is_type(v, json_string_value(t))) return NULL;
    return say("%s: of none of the types", at);
}

static const char *check_properties(
    const struct openapi *o, const json_t *schema, const json_t *v, const char *at)
{
    const json_t *props = json_object_get(schema, "properties");
    const json_t *more = json_object_get(schema, "additionalProperties");
    const char *key;
    json_t *member;
    char place[400];

    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        (void)snprintf(place, sizeof place, "%s/%s", at, key);
        const json_t *s = props ? json_object_get(props, key) : NULL;
        const char *bad = NULL;
        if (s)
            bad = check(o, s, member, place);
        else if (json_is_false(more))
            bad = say("%s: not in the schema", place);
        else if (json_is_object(more))
            bad = check(o, more, member, place);
        if (bad) return bad;
    }
    size_t i;
    json_t *name;
    json_array_foreach(json_object_get(schema, "required"), i,
        name) if (!json_object_get(v, json_string_value(name))) return say("%s: \"%s\" is missing",
        at, json_string_value(name));
    const json_t *max = json_object_get(schema, "maxProperties");
    if (max && (json_int_t)json_object_size(v) > json_integer_value(max))
        return say("%s: too many members", at);
    return NULL;
}

static const char *check_items(
    const struct openapi *o, const json_t *schema, const json_t *v, const char *at)
{
    json_int_t n = (json_int_t)json_array_size(v);
    const json_t *min = json_object_get(schema, "minItems"),
                 *max = json_object_get(schema, "maxItems");
    if (min && n < json_integer_value(min)) return say("%s: only %lld elements", at, (long long)n);
    if (max && n > json_integer_value(max)) return say("%s: %lld elements", at, (long long)n);

    const json_t *items = json_object_get(schema, "items");
    if (!items) return NULL;
    size_t i;
    json_t *element;
    char place[400];
    json_array_foreach(v, i, element)
    {
        (void)snprintf(place, sizeof place, "%s/%zu", at, i);
        const char *bad = check(o, items, element, place);
        if (bad) return bad;
    }
    return NULL;
}

static const char *check_limits(const json_t *schema, const json_t *v, const char *at)
{
    const json_t *min = json_object_get(schema, "minimum"),
                 *max = json_object_get(schema, "maximum");
    if (json_is_number(v)) {
        double d = json_number_value(v);
        if (min && d < json_number_value(min)) return say("%s: %g is below the minimum", at, d);
        if (max && d > json_number_value(max)) return say("%s: %g is above the maximum", at, d);
        const json_t *above = json_object_get(schema, "exclusiveMinimum"),
                     *below = json_object_get(schema, "exclusiveMaximum");
        if (above && d <= json_number_value(above)) return say("%s: %g is not above", at, d);
        if (below && d >= json_number_value(below)) return say("%s: %g is not below", at, d);
    }
    if (json_is_string(v)) {
        json_int_t n = 0;
        for (const char *p = json_string_value(v), *end = p + json_string_length(v); p < end; p++)
            n += ((unsigned char)*p & 0xc0) != 0x80; /* code points */
        min = json_object_get(schema, "minLength");
        max = json_object_get(schema, "maxLength");
        if (min && n < json_integer_value(min)) return say("%s: string too short", at);
        if (max && n > json_integer_value(max)) return say("%s: string too long", at);
    }
    return NULL;
}

static const char *check_combined(
    const struct openapi *o, const json_t *schema, const json_t *v, const char *at)
{
    const json_t *list;
    size_t i, fits = 0;
    json_t *s;

    json_array_foreach(json_object_get(schema, "allOf"), i, s)
    {
        const char *bad = check(o, s, v, at);
        if (bad) return bad;
    }
    if ((list = json_object_get(schema, "anyOf")) || (list = json_object_get(schema, "oneOf"))) {
        bool one = json_object_get(schema, "oneOf") == list;
        char last[sizeof message] = "";
        json_array_foreach(list, i, s)
        {
            const char *bad = check(o, s, v, at);
            if (bad)
                memcpy(last, bad, sizeof last);
            else
                fits++;
        }
        if (fits == 0) {
            memcpy(message, last, sizeof message);
            return message;
        }
        if (one && fits != 1) return say("%s: fits %zu schemas of oneOf", at, fits);
    }
    return NULL;
}

static void check_keywords(const json_t *schema)
{
    static const char *const known[] = { "type", "properties", "required", "additionalProperties",
        "maxProperties", "items", "minItems", "maxItems", "minLength", "maxLength", "minimum",
        "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const", "allOf", "anyOf",
        "oneOf",
        /* for the reader */
        "description", "default", "example", "examples", "format", "pattern", "contentEncoding" };
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)schema, key, v)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof known[0] && strcmp(known[i], key) != 0)
            i++;
        ck_assert_msg(
            i < sizeof known / sizeof known[0], "openapi.yaml: keyword \"%s\" in a schema", key);
    }
}

static const char *check(
    const struct openapi *o, const json_t *schema, const json_t *v, const char *at)
{
    schema = resolve(o, schema);
    if (!schema) return say("%s: its schema refers to nothing", at);
    check_keywords(schema);

    const json_t *k = json_object_get(schema, "type");
    const char *bad = k ? check_type(k, v, at) : NULL;
    if (bad) return bad;
    if ((k = json_object_get(schema, "const")) && !json_equal(k, v))
        return say("%s: not the constant", at);
    if ((k = json_object_get(schema, "enum"))) {
        size_t i;
        json_t *one;
        bool found = false;
        json_array_foreach(k, i, one) found = found || json_equal(one, v);
        if (!found) return say("%s: not in the enum", at);
    }
    if ((bad = check_limits(schema, v, at))) return bad;
    if (json_is_object(v) && (bad = check_properties(o, schema, v, at))) return bad;
    if (json_is_array(v) && (bad = check_items(o, schema, v, at))) return bad;
    return check_combined(o, schema, v, at);
}

/* ---- routes ---- */

/* Does a path (up to its query) match a template; how many literal segments, or -1. */
static int match(const char *template, const char *path)
{
    int literals = 0;
    size_t n = strcspn(path, "?");
    const char *end = path + n;
    while (*template == '/' && path < end && *path == '/') {
        size_t tn = strcspn(++template, "/"), pn = strcspn(++path, "/?");
        if (template[0] != '{') {
            if (tn != pn || memcmp(template, path, tn) != 0) return -1;
            literals++;
        } else if (pn == 0) {
            return -1;
        }
        template += tn;
        path += pn;
    }
    return *template == '\0' && path == end ? literals : -1;
}

static const json_t *find_path(const struct openapi *o, const char *path)
{
    const json_t *found = NULL;
    int best = -1;
    const char *template;
    json_t *item;
    json_object_foreach(json_object_get(o->root, "paths"), template, item)
    {
        int literals = match(template, path);
        if (literals > best) {
            best = literals;
            found = item;
        }
    }
    return found;
}

static const json_t *find_operation(const struct openapi *o, const char *method, const char *path)
{
    char lower[16];
    size_t i = 0;
    if (strcmp(method, "HEAD") == 0) method = "GET";
    for (; method[i] && i < sizeof lower - 1; i++)
        lower[i] = (char)tolower((unsigned char)method[i]);
    lower[i] = '\0';
    return json_object_get(find_path(o, path), lower);
}

/* The schema for a content type in {"content": {…}}; parameters of the type are not compared. */
static const json_t *find_media(const json_t *content, const char *type)
{
    const char *key;
    json_t *media;
    json_object_foreach((json_t *)(uintptr_t)content, key, media)
    {
        size_t n = strlen(key);
        if (strncmp(type, key, n) == 0 && (type[n] == '\0' || type[n] == ';')) return media;
    }
    return NULL;
}

static const char *check_body(
    const struct openapi *o, const json_t *schema, const char *type, struct str body)
{
    if (!strstr(type, "json")) return NULL;
    json_error_t je;
    json_t *v =
        json_loadb(body.p ? body.p : "", body.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &je);
    if (!v) return say("body is not JSON: %s at %d", je.text, je.position);
    const char *bad = check(o, schema, v, "");
    json_decref(v);
    return bad;
}

const char *openapi_check_reply(const struct openapi *o, const char *method, const char *path,
    int status, const char *type, struct str body)
{
    const json_t *op = find_operation(o, method, path);
    const json_t *content = NULL;
    if (!op) {
        if (status != (find_path(o, path) ? 405 : 404))
            return say("status %d, but the file has no %s %s", status, method, path);
        const char *name = strncmp(path, "/v1/", 4) == 0 ? "OpenAIError" : "NotFound";
        const json_t *all = json_object_get(json_object_get(o->root, "components"), "responses");
        content = json_object_get(json_object_get(all, name), "content");
    } else {
        char code[16];
        (void)snprintf(code, sizeof code, "%d", status);
        const json_t *reply = json_object_get(json_object_get(op, "responses"), code);
        if (!reply) return say("status %d is not documented", status);
        reply = resolve(o, reply);
        if (!reply) return say("the answer of status %d refers to nothing", status);
        content = json_object_get(reply, "content");
        if (!content) return body.n == 0 ? NULL : say("a body where none is documented");
    }
    if (!type) return say("no Content-Type");
    const json_t *media = find_media(content, type);
    if (!media) return say("Content-Type %s is not documented for status %d", type, status);
    if (strcmp(method, "HEAD") == 0) return NULL;
    return check_body(o, json_object_get(media, "schema"), type, body);
}

const char *openapi_check_request(
    const struct openapi *o, const char *method, const char *path, struct str body)
{
    const json_t *op = find_operation(o, method, path);
    if (!op) return say("no such route");
    const json_t *content = json_object_get(json_object_get(op, "requestBody"), "content");
    const json_t *media = content ? find_media(content, "application/json") : NULL;
    if (!media) return say("the route takes no JSON");
    return check_body(o, json_object_get(media, "schema"), "application/json", body);
}

static const char *check_examples_of(const struct openapi *o, const json_t *content, const char *at)
{
    const char *type, *name;
    json_t *media, *one;
    json_object_foreach((json_t *)(uintptr_t)content, type, media)
    {
        const json_t *schema = json_object_get(media, "schema");
        const json_t *example = json_object_get(media, "example");
        const char *bad = NULL;
        if (strcmp(type, "application/x-ndjson") == 0) continue;
        if (example && (bad = check(o, schema, example, at))) return bad;
        json_object_foreach(json_object_get(media, "examples"), name,
            one) if ((bad = check(o, schema, json_object_get(one, "value"), at))) return bad;
    }
    return NULL;
}

const char *openapi_check_examples(const struct openapi *o)
{
    const char *path, *method, *status, *bad;
    json_t *item, *op, *reply;
    char at[300];
    json_object_foreach(json_object_get(o->root, "paths"), path, item)
    {
        json_object_foreach(item, method, op)
        {
            if (!json_is_object(op)) continue;
            (void)snprintf(at, sizeof at, "%s %s request", method, path);
            const json_t *request = json_object_get(json_object_get(op, "requestBody"), "content");
            if (request && (bad = check_examples_of(o, request, at))) return bad;
            json_object_foreach(json_object_get(op, "responses"), status, reply)
            {
                (void)snprintf(at, sizeof at, "%s %s %s", method, path, status);
                const json_t *r = resolve(o, reply);
                if (!r) return say("%s refers to nothing", at);
                const json_t *content = json_object_get(r, "content");
                if (content && (bad = check_examples_of(o, content, at))) return bad;
            }
        }
    }
    return NULL;
}

void openapi_each(const struct openapi *o,
    void (*each)(
        void *arg, const char *method, const char *path, const char *operation_id, bool needs_key),
    void *arg)
{
    const char *path, *method;
    json_t *item, *op;
    json_object_foreach(json_object_get(o->root, "paths"), path, item)
    {
        json_object_foreach(item, method, op)
        {
            if (!json_is_object(op)) continue;
            char upper[16];
            size_t i = 0;
            for (; method[i] && i < sizeof upper - 1; i++)
                upper[i] = (char)toupper((unsigned char)method[i]);
            upper[i] = '\0';
            const json_t *security = json_object_get(op, "security");
            each(arg, upper, path, json_string_value(json_object_get(op, "operationId")),
                !security || json_array_size(security) > 0);
        }
    }
}
