/* Pieces of answers that several groups of routes share. */
#include "server/api.h"

#include "base/thread.h"

void api_write_model(struct json_write *w, const struct model_ref *m)
{
    json_write_key(w, "model");
    if (m->name.n == 0) {
        json_write_null(w);
        return;
    }
    json_write_object(w);
    json_write_key(w, "name");
    json_write_str(w, m->name);
    json_write_key(w, "version");
    json_write_i64(w, m->version);
    json_write_object_end(w);
}

void api_write_time(struct json_write *w, const char *key, int64_t unix_ms)
{
    char text[25];
    time_rfc3339(unix_ms, text);
    json_write_key(w, key);
    json_write_z(w, text);
}

enum err_code api_answer_count(struct exchange *x, const char *key, size_t value, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    json_write_object(&w);
    json_write_key(&w, key);
    json_write_u64(&w, value);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_read_include(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    static const char *const names[] = { "text", "metadata", "vector", NULL };
    static const unsigned bits[] = { VIEW_TEXT, VIEW_METADATA, VIEW_VECTOR };
    static const struct json_field name = { .type = JSON_ENUM, .names = names };
    unsigned with = 0;

    if (json_is_null(v)) return ERR_OK;
    if (!json_is_array(v)) return json_fail_type(at, "a list", v, e);
    for (size_t i = 0; i < json_array_size(v); i++) {
        int which;
        TRY(json_spec_value(r, &JSON_ELEMENT(at, i), &name, json_array_get(v, i), &which, e));
        with |= bits[which];
    }
    ((struct api_include *)field)->with = with;
    return ERR_OK;
}
