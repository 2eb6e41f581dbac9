/* Collections, items and searches as a client uses them: every route at its best, and what a restart keeps. */
#include "tests/http/http_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* JSON text with ' for ". */
static json_t *q(const char *method, const char *path, const char *body, int status)
{
    char *b = body ? dquote(body) : NULL;
    json_t *v = call(method, path, b, status);
    free(b);
    return v;
}

static void q_drop(const char *method, const char *path, const char *body, int status)
{
    json_decref(q(method, path, body, status));
}

/* Ids of a list at `pointer`, with commas, into a static buffer. */
static const char *ids_of(const json_t *v, const char *pointer)
{
    static char text[2000];
    size_t i, n = 0;
    json_t *row;
    text[0] = '\0';
    json_array_foreach(at(v, pointer), i, row) n +=
        (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? "," : "", text_at(row, "/id"));
    return text;
}

static void setup(void)
{
    suite_server_args = NULL;
    suite_server_start();
    q_drop("PUT", "/collections/books",
        "{'modality':'text','filterable':{'year':'integer','lang':'string','tags':'string',"
        "'price':'number','open':'boolean','added':'datetime','by.name':'string'}}",
        201);
    q_drop("POST", "/collections/books/items",
        "{'items':["
        "{'id':'a','text':'a guide to cats and kittens','metadata':{'year':1990,'lang':'en',"
        "'tags':['pets','animals'],'price':5,'open':true,'added':'2020-01-01T00:00:00Z',"
        "'by':{'name':'Ann'}}},"
        "{'id':'b','text':'dogs and how to train them','metadata':{'year':2001,'lang':'de',"
        "'tags':['pets'],'price':7.5,'open':false,'added':'2021-06-01','by':{'name':'Bob'}}},"
        "{'id':'c','text':'earthquakes and the instruments that measure them','metadata':"
        "{'year':2015,'lang':'en','tags':[],'price':20.25,'extra':{'deep':[1,2]},'note':null}},"
        "{'id':'d','text':'cooking pasta at home','metadata':{'lang':'it','other':'Pasta'}}]}",
        200);
    q_drop("PUT", "/collections/vecs", "{'model':null,'dimensions':3,'metric':'cosine'}", 201);
    q_drop("POST", "/collections/vecs/items",
        "{'items':[{'id':'x','vector':[1,0,0],'metadata':{'n':1}},{'id':'y','vector':[0,2,0]},"
        "{'id':'z','vector':'AACAPwAAgD8AAAAA'}]}",
        200);
}

/* ---- collections ---- */

START_TEST(collections_are_made_once)
{
    json_t *v = q("PUT", "/collections/c.1_A-b", "{'modality':'text','index':{'m':8}}", 201);
    ck_assert_str_eq(text_at(v, "/name"), "c.1_A-b");
    ck_assert_str_eq(text_at(v, "/model/name"), "text-small");
    ck_assert_int_eq(int_at(v, "/model/version"), 1);
    ck_assert_int_eq(int_at(v, "/index/m"), 8);
    json_decref(v);
    q_drop("PUT", "/collections/c.1_A-b", "{'modality':'text'}", 200);
    q_drop("PUT", "/collections/c.1_A-b",
        "{'modality':'text','model':'text-small','index':{'m':8}}", 200);
    q_drop("PUT", "/collections/c.1_A-b", "{'modality':'text','index':{'m':9}}", 409);

    v = q("GET", "/collections", NULL, 200);
    bool has_default = false, has_vecs = false;
    size_t i;
    json_t *row;
    json_array_foreach(at(v, "/collections"), i, row)
    {
        const char *name = text_at(row, "/name");
        has_default = has_default || strcmp(name, "default") == 0;
        if (strcmp(name, "vecs") == 0) {
            has_vecs = true;
            ck_assert(json_is_null(at(row, "/model")));
            ck_assert_str_eq(text_at(row, "/modality"), "vector");
        }
        if (i > 0)
            ck_assert_str_lt(text_at(json_array_get(at(v, "/collections"), i - 1), "/name"), name);
    }
    ck_assert(has_default && has_vecs);
    json_decref(v);
    q_drop("DELETE", "/collections/c.1_A-b", NULL, 204);
    q_drop("GET", "/collections/c.1_A-b", NULL, 404);
    q_drop("PUT", "/collections/c.1_A-b", "{'modality':'text'}", 201);
    q_drop("DELETE", "/collections/c.1_A-b", NULL, 204);
}
END_TEST

START_TEST(settings_come_back)
{
    json_t *v = q("GET", "/collections/books", NULL, 200);
    ck_assert_int_eq(int_at(v, "/items"), 4);
    ck_assert_str_eq(text_at(v, "/filterable/by.name"), "string");
    ck_assert_str_eq(text_at(v, "/filterable/added"), "datetime");
    ck_assert_str_eq(text_at(v, "/metric"), "cosine");
    json_decref(v);
    v = q("GET", "/collections/vecs", NULL, 200);
    ck_assert_int_eq(int_at(v, "/dimensions"), 3);
    ck_assert_int_eq(int_at(v, "/items"), 3);
    json_decref(v);
}
END_TEST

/* ---- items ---- */

START_TEST(an_item_lives_and_dies)
{
    json_t *v = q("PUT", "/collections/books/items/n%2Fm%20%C3%BC",
        "{'text':'tea','metadata':{'b':[1,2.5,{'c':null}],'a':'\\u00fc'}}", 201);
    ck_assert_str_eq(text_at(v, "/id"), "n/m \xc3\xbc");
    ck_assert_int_eq(int_at(v, "/version"), 1);
    json_decref(v);
    q_drop("PUT", "/collections/books/items/n%2Fm%20%C3%BC", "{'text':'tea'}", 200);
    q_drop("PUT", "/collections/books/items/n%2Fm%20%C3%BC",
        "{'text':'green tea','metadata':{'b':[1,2.5,{'c':null}],'a':'\\u00fc'}}", 200);

    v = q("GET", "/collections/books/items/n%2Fm%20%C3%BC?include=vector", NULL, 200);
    ck_assert_str_eq(text_at(v, "/text"), "green tea");
    ck_assert_str_eq(text_at(v, "/metadata/a"), "\xc3\xbc");
    ck_assert(json_is_null(at(v, "/metadata/b/2/c")));
    ck_assert(json_is_false(at(v, "/has_image")));
    double sum = 0;
    size_t i;
    json_t *x;
    json_array_foreach(at(v, "/vector"), i, x) sum += json_number_value(x) * json_number_value(x);
    ck_assert_double_eq_tol(sum, 1.0, 1e-5);
    json_decref(v);
    v = q("GET", "/collections/books/items/n%2Fm%20%C3%BC", NULL, 200);
    ck_assert_ptr_null(json_object_get(v, "vector"));
    json_decref(v);

    q_drop("DELETE", "/collections/books/items/n%2Fm%20%C3%BC", NULL, 204);
    q_drop("GET", "/collections/books/items/n%2Fm%20%C3%BC", NULL, 404);
    q_drop("DELETE", "/collections/books/items/n%2Fm%20%C3%BC", NULL, 404);
}
END_TEST

START_TEST(location_leads_to_the_item)
{
    struct http_reply r;
    http_reply_init(&r);
    http_call(suite_server.port,
        &(struct http_call){ .method = "PUT",
            .path = "/collections/vecs/items/a%2Fb",
            .type = "application/json",
            .body = STR("{\"vector\":[1,2,3]}") },
        &r);
    ck_assert_int_eq(r.status, 201);
    char path[200];
    (void)snprintf(path, sizeof path, "%s", http_reply_header(&r, "Location"));
    http_reply_done(&r);
    ck_assert_str_eq(path, "/collections/vecs/items/a%2Fb");
    json_t *v = q("GET", path, NULL, 200);
    ck_assert_str_eq(text_at(v, "/id"), "a/b");
    ck_assert(json_is_null(at(v, "/model")));
    json_decref(v);
    q_drop("DELETE", path, NULL, 204);
}
END_TEST

START_TEST(a_bad_item_fails_alone)
{
    json_t *v = call(
        "POST", "/collections/books/items", "{\"items\":[{\"id\":\"t1\",\"text\":\"one\"}]}", 200);
    ck_assert_int_eq(int_at(v, "/upserted"), 1);
    json_decref(v);
    static const char body[] =
        "{\"items\":[{\"id\":\"t1\",\"text\":\"one\"},{\"text\":\"two\"},"
        "{\"id\":\"t3\",\"text\":\"\"},{\"id\":\"t4\"},5,{\"id\":\"\",\"text\":\"a\"},"
        "{\"id\":\"t6\",\"txt\":\"a\"},{\"id\":7,\"text\":\"a\"},{\"image\":\"aGk=\"},"
        "{\"id\":\"t9\",\"vector\":[1,2]},{\"id\":\"t10\",\"text\":\" \"}]}";
    v = call_raw("POST", "/collections/books/items", "application/json", STR(body), 200);
    ck_assert_int_eq(int_at(v, "/upserted"), 1);
    ck_assert_int_eq(int_at(v, "/unchanged"), 1);
    static const char *const codes[] = { "empty_input", "invalid_request", "invalid_request",
        "invalid_request", "unknown_field", "invalid_request", "unprocessable", "invalid_request",
        "empty_input" };
    ck_assert_uint_eq(json_array_size(at(v, "/failed")), 9);
    for (size_t i = 0; i < 9; i++) {
        const json_t *f = json_array_get(at(v, "/failed"), i);
        ck_assert_int_eq(int_at(f, "/index"), (long long)i + 2);
        ck_assert_msg(strcmp(text_at(f, "/code"), codes[i]) == 0, "item %zu: %s, not %s (%s)",
            i + 2, text_at(f, "/code"), codes[i], text_at(f, "/detail"));
        ck_assert(json_is_null(json_array_get(at(v, "/ids"), i + 2)));
    }
    ck_assert_str_eq(text_at(v, "/failed/0/id"), "t3");
    ck_assert_str_eq(text_at(v, "/ids/0"), "t1");

    /* a made id is a UUID of version 7 and leads to the item */
    char path[200];
    const char *id = text_at(v, "/ids/1");
    ck_assert_uint_eq(strlen(id), 36);
    ck_assert(id[14] == '7' && strchr("89ab", id[19]) && id[8] == '-' && id[23] == '-');
    (void)snprintf(path, sizeof path, "/collections/books/items/%s", id);
    json_decref(v);
    q_drop("GET", path, NULL, 200);
    q_drop("DELETE", path, NULL, 204);
    q_drop("DELETE", "/collections/books/items/t1", NULL, 204);

    v = q("POST", "/collections/vecs/items",
        "{'items':[{'id':'v1','vector':[1,2]},{'id':'v2','vector':[1,2,3]}]}", 200);
    ck_assert_int_eq(int_at(v, "/upserted"), 1);
    ck_assert_str_eq(text_at(v, "/failed/0/id"), "v1");
    json_decref(v);
    q_drop("DELETE", "/collections/vecs/items/v2", NULL, 204);

    /* whatever is wrong in a vector: one item's fault, and that item is named */
    static const char *const wrong[] = { "[1,2,\"3\"]", "[1,null,3]", "[1,2,1e39]", "[1,2,1e400]",
        "[[1,2,3]]", "{\"x\":1}", "true", "[]", "\"AAAA\"" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char items[300];
        int n = snprintf(items, sizeof items,
            "{\"items\":[{\"id\":\"v1\",\"vector\":[1,2,3]},{\"id\":\"v2\",\"vector\":%s},"
            "{\"id\":\"v3\",\"vector\":[3,2,1]}]}",
            wrong[i]);
        v = call_raw("POST", "/collections/vecs/items", "application/json",
            (struct str){ items, (size_t)n }, 200);
        ck_assert_int_eq(int_at(v, "/upserted") + int_at(v, "/unchanged"), 2);
        ck_assert_uint_eq(json_array_size(at(v, "/failed")), 1);
        ck_assert_str_eq(text_at(v, "/failed/0/id"), "v2");
        json_decref(v);
    }
    q_drop("POST", "/collections/vecs/items/delete", "{'ids':['v1','v2','v3']}", 200);
}
END_TEST

START_TEST(the_later_of_two_wins)
{
    json_t *v = q("POST", "/collections/books/items",
        "{'items':[{'id':'w','text':'first'},{'id':'w','text':'second'}]}", 200);
    ck_assert_int_eq(int_at(v, "/upserted"), 2);
    json_decref(v);
    v = q("GET", "/collections/books/items/w", NULL, 200);
    ck_assert_str_eq(text_at(v, "/text"), "second");
    json_decref(v);
    q_drop("DELETE", "/collections/books/items/w", NULL, 204);
}
END_TEST

START_TEST(pages_cover_all_once)
{
    char all[200] = "", path[300] = "/collections/books/items?limit=1&include=vector";
    for (int page = 0; page < 10; page++) {
        json_t *v = q("GET", path, NULL, 200);
        strncat(all, ids_of(v, "/items"), sizeof all - strlen(all) - 1);
        const json_t *cursor = at(v, "/cursor");
        bool last = json_is_null(cursor);
        if (!last)
            (void)snprintf(path, sizeof path,
                "/collections/books/items?limit=1&include=vector&cursor=%s",
                json_string_value(cursor));
        json_decref(v);
        if (last) break;
    }
    ck_assert_str_eq(all, "abcd");

    json_t *v = q("POST", "/collections/books/items/scroll",
        "{'limit':1,'filter':{'must':{'key':'lang','match':{'value':'en'}}},'include':[]}", 200);
    ck_assert_str_eq(ids_of(v, "/items"), "a");
    ck_assert_ptr_null(json_object_get(at(v, "/items/0"), "text"));
    ck_assert_ptr_null(json_object_get(at(v, "/items/0"), "metadata"));
    char body[300];
    (void)snprintf(body, sizeof body,
        "{'limit':5,'cursor':'%s','filter':{'must':{'key':'lang','match':{'value':'en'}}},"
        "'include':['metadata','vector']}",
        text_at(v, "/cursor"));
    json_decref(v);
    v = q("POST", "/collections/books/items/scroll", body, 200);
    ck_assert_str_eq(ids_of(v, "/items"), "c");
    ck_assert(json_is_null(at(v, "/cursor")));
    ck_assert_int_eq(int_at(v, "/items/0/metadata/extra/deep/1"), 2);
    json_decref(v);
}
END_TEST

START_TEST(items_are_deleted_by_ids_and_by_filter)
{
    q_drop("POST", "/collections/vecs/items",
        "{'items':[{'id':'d1','vector':[1,0,1],'metadata':{'g':1}},{'id':'d2','vector':[1,0,1],"
        "'metadata':{'g':1}},{'id':'d3','vector':[1,0,1],'metadata':{'g':2}}]}",
        200);
    json_t *v = q("POST", "/collections/vecs/items/delete", "{'ids':['d3','nope','d3']}", 200);
    ck_assert_int_eq(int_at(v, "/deleted"), 1);
    json_decref(v);
    v = q("POST", "/collections/vecs/items/delete", "{'ids':[]}", 200);
    ck_assert_int_eq(int_at(v, "/deleted"), 0);
    json_decref(v);
    v = q("POST", "/collections/vecs/items/delete",
        "{'filter':{'must':[{'key':'g','match':{'any':[1,2]}}]}}", 200);
    ck_assert_int_eq(int_at(v, "/deleted"), 2);
    json_decref(v);
    v = q("POST", "/collections/vecs/items/count", "{}", 200);
    ck_assert_int_eq(int_at(v, "/count"), 3);
    json_decref(v);
}
END_TEST

/* ---- search ---- */

START_TEST(search_finds_by_text_vector_and_id)
{
    json_t *v = q("POST", "/search", "{'collection':'books','text':'cats and kittens','k':2}", 200);
    ck_assert_str_eq(text_at(v, "/hits/0/id"), "a");
    ck_assert_str_eq(text_at(v, "/hits/0/text"), "a guide to cats and kittens");
    ck_assert_int_eq(int_at(v, "/hits/0/metadata/year"), 1990);
    ck_assert_str_eq(text_at(v, "/model/name"), "text-small");
    ck_assert_uint_eq(json_array_size(at(v, "/hits")), 2);
    json_decref(v);

    v = q("POST", "/collections/vecs/search", "{'vector':[2,0,0],'include':['vector']}", 200);
    ck_assert_str_eq(ids_of(v, "/hits"), "x,z,y");
    ck_assert_double_eq_tol(num_at(v, "/hits/0/score"), 1.0, 1e-6);
    ck_assert_double_eq_tol(num_at(v, "/hits/1/score"), sqrt(0.5), 1e-6);
    ck_assert_double_eq_tol(num_at(v, "/hits/2/score"), 0.0, 1e-6);
    ck_assert(json_is_null(at(v, "/model")));
    ck_assert_uint_eq(json_array_size(at(v, "/hits/0/vector")), 3);
    ck_assert_ptr_null(json_object_get(at(v, "/hits/0"), "metadata"));
    json_decref(v);

    /* base64 of [2, 0, 0] */
    v = q("POST", "/collections/vecs/search", "{'vector':'AAAAQAAAAAAAAAAA','k':1}", 200);
    ck_assert_str_eq(ids_of(v, "/hits"), "x");
    json_decref(v);

    v = q("POST", "/search", "{'collection':'vecs','id':'x','exact':true}", 200);
    ck_assert_str_eq(ids_of(v, "/hits"), "z,y");
    json_decref(v);
    v = q("POST", "/search", "{'collection':'vecs','id':'x','min_score':0.5,'ef':50}", 200);
    ck_assert_str_eq(ids_of(v, "/hits"), "z");
    json_decref(v);
    v = q("POST", "/search",
        "{'collection':'vecs','vector':[2,0,0],'k':1,'offset':1,'mode':'vector'}", 200);
    ck_assert_str_eq(ids_of(v, "/hits"), "z");
    json_decref(v);
    v = q("POST", "/search", "{'collection':'vecs','vector':[2,0,0],'k':10,'offset':9}", 200);
    ck_assert_str_eq(ids_of(v, "/hits"), "");
    json_decref(v);
    v = q("POST", "/search", "{'text':'anything'}", 200);
    ck_assert_uint_eq(json_array_size(at(v, "/hits")), 0);
    json_decref(v);
}
END_TEST

START_TEST(an_embedding_is_a_query)
{
    json_t *v = q("POST", "/embed", "{'input':'dogs','kind':'query','collection':'books'}", 200);
    json_t *body = json_pack("{s:s, s:O, s:i, s:i}", "collection", "books", "vector",
        at(v, "/embeddings/0"), "model_version", 1, "k", 4);
    char *text = json_dumps(body, JSON_COMPACT);
    json_t *by_vector = call("POST", "/search", text, 200);
    json_t *by_text = q("POST", "/search", "{'collection':'books','text':'dogs','k':4}", 200);
    for (size_t i = 0; i < 4; i++) {
        const json_t *a = json_array_get(at(by_vector, "/hits"), i);
        const json_t *b = json_array_get(at(by_text, "/hits"), i);
        ck_assert_str_eq(text_at(a, "/id"), text_at(b, "/id"));
        ck_assert_double_eq_tol(num_at(a, "/score"), num_at(b, "/score"), 1e-5);
    }
    free(text);
    json_decref(body);
    json_decref(by_vector);
    json_decref(by_text);
    json_decref(v);
    q_drop("POST", "/search", "{'collection':'books','text':'x','k':10000}", 200);
}
END_TEST

/* Which of a, b, c, d each filter lets through. */
START_TEST(filters_choose)
{
    static const struct {
        const char *filter, *ids;
    } rows[] = {
        { "{}", "a,b,c,d" },
        { "{'must':[]}", "a,b,c,d" },
        { "{'must':[{'key':'lang','match':{'value':'en'}}]}", "a,c" },
        { "{'must':{'key':'lang','match':{'value':'en'}}}", "a,c" },
        { "{'must_not':{'key':'lang','match':{'value':'en'}}}", "b,d" },
        { "{'should':[{'key':'lang','match':{'value':'it'}},{'key':'year','match':{'value':1990}}]"
          "}",
            "a,d" },
        { "{'min_should':{'conditions':[{'key':'lang','match':{'value':'en'}},"
          "{'key':'tags','match':{'value':'pets'}},{'key':'open','match':{'value':true}}],'min_"
          "count':2}}",
            "a" },
        { "{'must':[{'key':'lang','match':{'any':['it','de']}}]}", "b,d" },
        { "{'must':[{'key':'lang','match':{'any':[]}}]}", "" },
        { "{'must':[{'key':'lang','match':{'except':['en']}}]}", "b,d" },
        { "{'must':[{'key':'year','match':{'except':[1990]}}]}", "b,c" },
        { "{'must':[{'key':'tags','match':{'value':'animals'}}]}", "a" },
        { "{'must':[{'key':'open','match':{'value':false}}]}", "b" },
        { "{'must':[{'key':'price','match':{'value':5}}]}", "a" },
        { "{'must':[{'key':'by.name','match':{'text':'AN'}}]}", "a" },
        { "{'must':[{'key':'other','match':{'text':'past'}}]}", "d" },
        { "{'must':[{'key':'year','range':{'gte':1990,'lt':2015}}]}", "a,b" },
        { "{'must':[{'key':'price','range':{'gt':5,'lte':7.5}}]}", "b" },
        { "{'must':[{'key':'added','range':{'gte':'2021-01-01T00:00:00+01:00'}}]}", "b" },
        { "{'must':[{'key':'added','range':{'lt':'2021-01-01'}}]}", "a" },
        { "{'must':[{'key':'extra.deep','match':{'value':2}}]}", "c" },
        { "{'must':[{'is_empty':{'key':'tags'}}]}", "c,d" },
        { "{'must':[{'is_empty':{'key':'year'}}]}", "d" },
        { "{'must':[{'is_null':{'key':'note'}}]}", "c" },
        { "{'must':[{'has_id':['a','d','nope']}]}", "a,d" },
        { "{'must_not':[{'has_id':['a']}],'must':[{'key':'lang','match':{'value':'en'}}]}", "c" },
        { "{'must':[{'should':[{'key':'lang','match':{'value':'de'}},{'has_id':['c']}]}]}", "b,c" },
        { "{'must':[{'must_not':[{'key':'lang','match':{'value':'en'}}]}],'must_not':null}",
            "b,d" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char body[1000];
        size_t want = rows[i].ids[0] ? (strlen(rows[i].ids) + 1) / 2 : 0;
        (void)snprintf(body, sizeof body, "{'filter':%s}", rows[i].filter);
        char *text = dquote(body);
        json_t *v = call_raw(
            "POST", "/collections/books/items/scroll", "application/json", str_from(text), 200);
        ck_assert_msg(strcmp(ids_of(v, "/items"), rows[i].ids) == 0, "%s: %s instead of %s",
            rows[i].filter, ids_of(v, "/items"), rows[i].ids);
        json_decref(v);
        v = call_raw(
            "POST", "/collections/books/items/count", "application/json", str_from(text), 200);
        ck_assert_int_eq(int_at(v, "/count"), (long long)want);
        json_decref(v);
        free(text);

        (void)snprintf(body, sizeof body, "{'text':'pasta','filter':%s}", rows[i].filter);
        text = dquote(body);
        v = call_raw("POST", "/collections/books/search", "application/json", str_from(text), 200);
        ck_assert_msg(json_array_size(at(v, "/hits")) == want, "%s: search found %s",
            rows[i].filter, ids_of(v, "/hits"));
        json_decref(v);
        free(text);
    }
}
END_TEST

START_TEST(embeddings_are_as_asked)
{
    json_t *one = q("POST", "/embed", "{'input':'a red fox'}", 200);
    json_t *many = q("POST", "/embed",
        "{'input':['a red fox',{'text':'a red "
        "fox'}],'model':'text-small@1','encoding_format':'float',"
        "'normalize':true,'truncate':true,'kind':'document'}",
        200);
    ck_assert(json_equal(at(one, "/embeddings/0"), at(many, "/embeddings/0")));
    ck_assert(json_equal(at(one, "/embeddings/0"), at(many, "/embeddings/1")));
    ck_assert_int_eq(int_at(many, "/usage/inputs"), 2);
    ck_assert_int_eq(int_at(many, "/usage/tokens"), 2 * int_at(one, "/usage/tokens"));
    ck_assert_uint_eq(
        json_array_size(at(one, "/embeddings/0")), (size_t)int_at(one, "/dimensions"));

    json_t *cut = q("POST", "/embed", "{'input':'a red fox','dimensions':16}", 200);
    double sum = 0, dot = 0, norm = 0;
    for (size_t i = 0; i < 16; i++) {
        double c = json_number_value(json_array_get(at(cut, "/embeddings/0"), i));
        double f = json_number_value(json_array_get(at(one, "/embeddings/0"), i));
        sum += c * c;
        dot += c * f;
        norm += f * f;
    }
    ck_assert_double_eq_tol(sum, 1.0, 1e-5);
    ck_assert_double_eq_tol(dot, sqrt(norm), 1e-5);
    json_decref(one);
    json_decref(many);
    json_decref(cut);
}
END_TEST

START_TEST(operations_answer)
{
    q_drop("GET", "/healthz", NULL, 200);
    q_drop("GET", "/health", NULL, 200);
    q_drop("GET", "/readyz", NULL, 200);
    json_t *v = q("GET", "/version", NULL, 200);
    ck_assert_str_eq(text_at(v, "/name"), "kindred");
    json_decref(v);
    static const char *const texts[] = { "/metrics", "/openapi.yaml" };
    static const char *const words[] = { "process_resident_memory_bytes", "openapi: 3.1" };
    for (size_t i = 0; i < 2; i++) {
        struct http_reply r;
        http_reply_init(&r);
        http_call(suite_server.port, &(struct http_call){ .method = "GET", .path = texts[i] }, &r);
        ck_assert_int_eq(r.status, 200);
        check_documented("GET", texts[i], &r);
        ck_assert_msg(
            strstr(http_reply_text(&r), words[i]) != NULL, "%s lacks \"%s\"", texts[i], words[i]);
        http_reply_done(&r);
    }
}
END_TEST

TEST_SUITE(items)
{
    TCase *tc = tcase_create("routes");
    tcase_add_unchecked_fixture(tc, setup, suite_server_stop);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, collections_are_made_once);
    tcase_add_test(tc, settings_come_back);
    tcase_add_test(tc, an_item_lives_and_dies);
    tcase_add_test(tc, location_leads_to_the_item);
    tcase_add_test(tc, a_bad_item_fails_alone);
    tcase_add_test(tc, the_later_of_two_wins);
    tcase_add_test(tc, pages_cover_all_once);
    tcase_add_test(tc, items_are_deleted_by_ids_and_by_filter);
    tcase_add_test(tc, search_finds_by_text_vector_and_id);
    tcase_add_test(tc, an_embedding_is_a_query);
    tcase_add_test(tc, filters_choose);
    tcase_add_test(tc, embeddings_are_as_asked);
    tcase_add_test(tc, operations_answer);
    suite_add_tcase(s, tc);
}
