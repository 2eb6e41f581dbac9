/* Reading items: one, pages, counts. Scroll and count come with a body and a filter; they are parsed on the event
 * thread and read on the search pool. */
#include "server/api.h"

#include "server/cursor.h"
#include "server/filter_json.h"
#include "server/item_json.h"

enum { PAGE_DEFAULT = 100, PAGE_MAX = 1000 };

/* ---- answers ---- */

static void write_item(struct json_write *w, const struct item_view *v, unsigned with)
{
    json_write_object(w);
    json_write_key(w, "id");
    json_write_str(w, v->key);
    if ((with & VIEW_TEXT) && v->text.p) {
        json_write_key(w, "text");
        json_write_str(w, v->text);
    }
    if (with & VIEW_METADATA) {
        json_write_key(w, "metadata");
        json_write_raw(w, v->metadata.n ? v->metadata : STR("{}"));
    }
    json_write_key(w, "has_image");
    json_write_bool(w, false);
    api_write_model(w, &v->model);
    api_write_time(w, "created_at", v->created_ms);
    api_write_time(w, "updated_at", v->updated_ms);
    if ((with & VIEW_VECTOR) && v->vector) {
        json_write_key(w, "vector");
        json_write_floats(w, v->vector, v->n_vector);
    }
    json_write_object_end(w);
}

struct page_query {
    struct str collection;
    const struct filter *filter;
    size_t limit;
    int64_t after;
    unsigned with;
};

static enum err_code answer_page(struct exchange *x, const struct page_query *q, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    struct item_view *rows;
    int64_t next;
    size_t n;

    TRY(engine_items_page(x->engine, q->collection, q->filter, q->after, q->limit, q->with,
        x->deadline_ns, x->arena, &rows, &n, &next, e));
    json_write_object(&w);
    json_write_key(&w, "items");
    json_write_array(&w);
    for (size_t i = 0; i < n; i++)
        write_item(&w, &rows[i], q->with);
    json_write_array_end(&w);
    json_write_key(&w, "cursor");
    if (next < 0) {
        json_write_null(&w);
    } else {
        char cursor[CURSOR_TEXT_BYTES];
        cursor_write(next, cursor);
        json_write_z(&w, cursor);
    }
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

/* ---- GET ---- */

/* ?include=vector adds the vector to what is always there. */
static enum err_code query_include(const struct exchange *x, unsigned *ret_with, struct err *e)
{
    struct str v;
    *ret_with = VIEW_TEXT | VIEW_METADATA;
    if (!exchange_query(x, "include", &v)) return ERR_OK;
    if (!str_is(v, "vector"))
        return err_set_field(e, ERR_INVALID, "/include",
            "include can be \"vector\"; text and metadata are always there");
    *ret_with |= VIEW_VECTOR;
    return ERR_OK;
}

enum err_code api_item_get(struct exchange *x, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    struct item_view item;
    unsigned with;

    TRY(query_include(x, &with, e));
    TRY(engine_item_get(x->engine, exchange_capture(x, "collection"), exchange_capture(x, "id"),
        with, x->arena, &item, e));
    write_item(&w, &item, with);
    return buf_check(&x->rs.body, e);
}

enum err_code api_items_list(struct exchange *x, struct err *e)
{
    struct page_query q = { .collection = exchange_capture(x, "collection"), .after = -1 };
    struct str cursor;
    uint64_t limit;

    TRY(exchange_query_u64(x, "limit", 1, PAGE_MAX, PAGE_DEFAULT, &limit, e));
    TRY(query_include(x, &q.with, e));
    if (exchange_query(x, "cursor", &cursor)) TRY(cursor_read(cursor, &q.after, e));
    q.limit = (size_t)limit;
    return answer_page(x, &q, e);
}

/* ---- with a filter ---- */

struct scroll_body {
    const struct filter *filter;
    size_t limit;
    struct str cursor;
    struct api_include include;
};

static enum err_code scroll_work(struct exchange *x, struct err *e)
{
    return answer_page(x, x->user, e);
}

enum err_code api_items_scroll(struct exchange *x, struct err *e)
{
    static const struct json_field fields[] = {
        { "filter", JSON_CUSTOM, JSON_AT(struct scroll_body, filter), .read = filter_json_read },
        { "limit", JSON_SIZE, JSON_AT(struct scroll_body, limit), .min = 1, .max = PAGE_MAX },
        { "cursor", JSON_STR, JSON_AT(struct scroll_body, cursor) },
        { "include", JSON_CUSTOM, JSON_AT(struct scroll_body, include), .read = api_read_include },
    };
    static const struct json_spec spec = JSON_SPEC(fields);
    struct scroll_body body = { .limit = PAGE_DEFAULT, .include = API_INCLUDE_DEFAULT };
    struct page_query *q = arena_zalloc(x->arena, 1, sizeof *q);
    if (!q) return err_set(e, ERR_NOMEM, "no memory for a request");

    TRY(exchange_read_json(x, &spec, &body, e));
    *q = (struct page_query){ .collection = exchange_capture(x, "collection"),
        .filter = body.filter,
        .limit = body.limit,
        .after = -1,
        .with = body.include.with };
    if (body.cursor.p) TRY(cursor_read(body.cursor, &q->after, e));
    x->user = q;
    return exchange_run_blocking(x, scroll_work, e);
}

struct count_body {
    const struct filter *filter;
};

static enum err_code count_work(struct exchange *x, struct err *e)
{
    const struct count_body *b = x->user;
    size_t n;
    TRY(engine_items_count(
        x->engine, exchange_capture(x, "collection"), b->filter, x->deadline_ns, &n, e));
    return api_answer_count(x, "count", n, e);
}

enum err_code api_items_count(struct exchange *x, struct err *e)
{
    static const struct json_field fields[] = { { "filter", JSON_CUSTOM,
        JSON_AT(struct count_body, filter), .read = filter_json_read } };
    static const struct json_spec spec = JSON_SPEC(fields);
    struct count_body *b = arena_zalloc(x->arena, 1, sizeof *b);
    if (!b) return err_set(e, ERR_NOMEM, "no memory for a request");

    TRY(exchange_read_json(x, &spec, b, e));
    x->user = b;
    return exchange_run_blocking(x, count_work, e);
}
