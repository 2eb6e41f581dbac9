/* A model that costs, over HTTP: a BERT that comes in while the server runs, encodes texts with its prompts, is
 * searched, and learns. */
#include "base/fileio.h"
#include "base/mem.h"
#include "base/vecmath.h"
#include "core/model/encoder.h"
#include "engine/model_store.h"
#include "tests/http/learn_fixture.h"
#include "tests/support/tiny_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS = 700 };
#define BERT "tiny-bert"
#define FEW_STEPS "'pairs':{'anchor':'metadata.title','positive':'text'},'max_steps':6,'seed':1"
static const char prompts[] = "{\"prompts\":{\"query\":\"red house \",\"document\":\"blue cat \"}}";

static void start(void)
{
    learn_server_start(NULL);
}

/* As `kindred model add` does, after the server has started. */
static void bring_model(void)
{
    struct tmpdir staged;
    struct err e = ERR_INIT;
    char from[TMPDIR_PATH_BYTES], file[TMPDIR_PATH_BYTES];
    tmpdir_make(&staged);
    tiny_bert_write(staged.path, BERT, 5);
    tmpdir_file(&staged, BERT "/config_sentence_transformers.json", file);
    ck_assert_ok(file_write_atomic(file, prompts, sizeof prompts - 1, &e), &e);
    char name[MODEL_NAME_MAX + 1];
    const struct model_add add = { .from = tmpdir_file(&staged, BERT, from),
        .models = learn_models(),
        .kernels = vec_select(VEC_BEST) };
    ck_assert_ok(model_add(&add, name, &e), &e);
    tmpdir_remove(&staged);
}

/* ---- encoding ---- */

static void encode_here(const char *text, enum encode_kind kind, float ret[TINY_BERT_DIMENSIONS])
{
    struct encoder *enc = NULL;
    struct encoder_workspace *w = NULL;
    struct err e = ERR_INIT;
    AUTO_FREE char *dir = path_join(learn_models(), BERT);
    ck_assert_ok(encoder_load(dir, vec_select(VEC_BEST), &enc, &e), &e);
    ck_assert_ok(encoder_workspace_new(enc, &w, &e), &e);
    ck_assert_ok(encoder_encode_text(w, str_from(text), kind, ret, &e), &e);
    encoder_workspace_free(w);
    encoder_free(enc);
}

static double worst(const json_t *row, const float *want)
{
    double worst = 0;
    ck_assert_uint_eq(json_array_size(row), TINY_BERT_DIMENSIONS);
    for (size_t i = 0; i < TINY_BERT_DIMENSIONS; i++) {
        double d = json_number_value(json_array_get(row, i)) - (double)want[i];
        if (d < 0) d = -d;
        if (d > worst) worst = d;
    }
    return worst;
}

static void check_prompts(void)
{
    float query[TINY_BERT_DIMENSIONS], document[TINY_BERT_DIMENSIONS];
    encode_here("w1 w2", ENCODE_QUERY, query);
    encode_here("w1 w2", ENCODE_DOCUMENT, document);
    json_t *q = learn_call(
        "POST", "/embed", "{'model':'" BERT "','kind':'query','input':['w1 w2','w3']}", 200);
    json_t *d = learn_call("POST", "/embed", "{'model':'" BERT "@1','input':['w1 w2']}", 200);
    json_t *o = learn_call("POST", "/v1/embeddings", "{'model':'" BERT "','input':'w1 w2'}", 200);
    ck_assert_double_le(worst(at(q, "/embeddings/0"), query), 1e-5);
    ck_assert_double_le(worst(at(d, "/embeddings/0"), document), 1e-5);
    ck_assert_double_le(worst(at(o, "/data/0/embedding"), document), 1e-5);
    ck_assert_double_gt(worst(at(q, "/embeddings/0"), document), 1e-3);
    json_decref(q);
    json_decref(d);
    json_decref(o);
}

START_TEST(a_model_comes_in)
{
    static const char *const lists[][2] = { { "/v1/models", "\"id\":\"" BERT "\"" },
        { "/admin/models", "\"name\":\"" BERT "\"" } };
    json_t *v = learn_call("POST", "/embed", "{'model':'" BERT "','input':'w1'}", 404);
    const char *detail = text_at(v, "/detail");
    ck_assert_msg(strstr(detail, LEARN_MODEL) && strstr(detail, "kindred model pull") &&
            strstr(detail, "kindred model add"),
        "%s", detail);
    json_decref(v);
    expect("PUT", "/collections/none", "{'modality':'text','model':'" BERT "'}", 404);
    expect("GET", "/v1/models/" BERT, NULL, 404);
    bring_model();
    check_prompts();
    expect("GET", "/v1/models/" BERT, NULL, 200);
    for (size_t i = 0; i < 2; i++) {
        v = learn_call("GET", lists[i][0], NULL, 200);
        char *all = json_dumps(v, JSON_COMPACT);
        ck_assert_msg(strstr(all, lists[i][1]) != NULL, "%s", all);
        free(all);
        json_decref(v);
    }
}
END_TEST

/* ---- learning ---- */

/* The third item is the best for its own text; as the model of which version. */
static void check_search(long long version)
{
    json_t *item = learn_call("GET", "/collections/b/items/i3", NULL, 200);
    json_t *v = learn_call("POST", "/collections/b/search",
        learn_print("{'text':'%s','k':3}", text_at(item, "/text")), 200);
    ck_assert_uint_eq(json_array_size(at(v, "/hits")), 3);
    ck_assert_int_eq(int_at(v, "/model/version"), version);
    json_decref(v);
    json_decref(item);
}

/* Judged, whatever the judgement: so few steps need not be a gain. */
static void check_method(const char *method, const char *more)
{
    long long run = learn_retrain(
        "b", learn_print("'method':'%s','promote':'never',%s%s", method, more, FEW_STEPS));
    json_t *v;
    for (;;) {
        v = learn_call("GET", learn_print("/admin/runs/%lld", run), NULL, 200);
        if (!json_is_null(at(v, "/finished_at"))) break;
        json_decref(v);
    }
    char *all = json_dumps(v, JSON_COMPACT);
    const char *status = text_at(v, "/status");
    ck_assert_msg(strcmp(status, "succeeded") == 0 || strcmp(status, "rejected") == 0, "%s", all);
    ck_assert_str_eq(text_at(v, "/method"), method);
    free(all);
    json_decref(v);
}

START_TEST(it_learns)
{
    bring_model();
    expect("PUT", "/collections/b", "{'modality':'text','model':'" BERT "'}", 201);
    learn_add("b", 0, ITEMS);
    check_search(1);
    check_method("adapter", "");
    check_method("last_layers", "'layers':1,");

    json_t *v = learn_wait(
        learn_retrain("b", "'method':'adapter','promote':'always'," FEW_STEPS), "succeeded");
    long long version = int_at(v, "/to_version");
    ck_assert_int_gt(version, 1);
    json_decref(v);
    check_search(version);
    server_stop(&suite_server);
    learn_server_restart();
    check_search(version);
    json_decref(learn_call("POST", "/admin/collections/b/rollback", NULL, 200));
    check_search(1);

    learn_fill("static");
    expect(
        "POST", "/admin/retrain", "{'collection':'static','method':'adapter'," FEW_STEPS "}", 422);
}
END_TEST

TEST_SUITE(bert_http)
{
    TCase *tc = tcase_create("bert");
    tcase_add_checked_fixture(tc, start, learn_server_stop);
    tcase_set_timeout(tc, 180);
    tcase_add_test(tc, a_model_comes_in);
    tcase_add_test(tc, it_learns);
    suite_add_tcase(s, tc);
}
