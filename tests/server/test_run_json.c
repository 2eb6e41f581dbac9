/* Runs and versions as JSON: every status, what is left out, and what cannot be said in JSON as it is. */
#include "server/run_json.h"

#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *quoted(const char *s)
{
    char *p = strdup(s);
    ck_assert_ptr_nonnull(p);
    for (char *c = p; *c; c++)
        if (*c == '\'') *c = '"';
    return p;
}

/* ' stands for " in `want`. */
static void check(const struct buf *b, const char *want)
{
    struct err e = ERR_INIT;
    char *text = quoted(want);
    ck_assert_ok(buf_check(b, &e), &e);
    ck_assert_msg(b->n == strlen(text) && memcmp(b->p, text, b->n) == 0, "%.*s\ninstead of\n%s",
        (int)b->n, b->p, text);
    free(text);
}

START_TEST(statuses_have_names)
{
    static const char *const names[] = { [RUN_QUEUED] = "queued",
        [RUN_RUNNING] = "running",
        [RUN_EVALUATING] = "evaluating",
        [RUN_PROMOTING] = "promoting",
        [RUN_SUCCEEDED] = "succeeded",
        [RUN_REJECTED] = "rejected",
        [RUN_FAILED] = "failed",
        [RUN_CANCELLED] = "cancelled" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        ck_assert_str_eq(run_status_name((enum run_status)i), names[i]);
}
END_TEST

START_TEST(metrics_are_grouped)
{
    static const struct {
        struct run_metric m[5];
        size_t n;
        const char *json;
    } rows[] = {
        { .n = 0, .json = "{}" },
        { { { STR("a"), 1 } }, 1, "{'a':1}" },
        { { { STR("a.b"), 1 }, { STR("a.c"), 0.5 } }, 2, "{'a':{'b':1,'c':0.5}}" },
        { { { STR("Z"), 1 }, { STR("a.b"), 2 }, { STR("ab.c"), 3 }, { STR("b"), 4 },
              { STR("c.d.e"), 5 } },
            5, "{'Z':1,'a':{'b':2},'ab':{'c':3},'b':4,'c':{'d.e':5}}" },
        { { { STR("a.b"), NAN }, { STR("a.c"), INFINITY } }, 2, "{'a':{'b':null,'c':null}}" },
        { { { STR("a\"b.c\n"), 1 } }, 1, "{'a\\'b':{'c\\n':1}}" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = BUF_INIT(0);
        struct json_write w = JSON_WRITE_INIT(&b);
        run_json_metrics(&w, rows[i].m, rows[i].n);
        check(&b, rows[i].json);
        buf_done(&b);
    }
}
END_TEST

START_TEST(a_queued_run_has_little)
{
    struct buf b = BUF_INIT(0);
    struct json_write w = JSON_WRITE_INIT(&b);
    const struct catalog_run r = { .id = 7,
        .kind = RUN_TRAIN,
        .status = RUN_QUEUED,
        .collection = STR("words"),
        .objective = STR("auto"),
        .from_version = 1,
        .seed = 3,
        .created_ms = 1700000000000,
        .promote = PROMOTE_AUTO };
    run_json(&w, &r, 0);
    check(&b,
        "{'run':7,'kind':'train','status':'queued','collection':'words','progress':0,"
        "'objective':'auto','promote':'auto','method':'auto','seed':3,'step':0,'steps':0,'loss':"
        "null,'attempts':0,"
        "'data_hash':null,'metrics':{},'decision':null,'from_version':1,'to_version':null,"
        "'created_at':'2023-11-14T22:13:20.000Z','started_at':null,'finished_at':null}");
    buf_done(&b);
}
END_TEST

START_TEST(an_ended_run_has_all)
{
    struct buf b = BUF_INIT(0);
    struct json_write w = JSON_WRITE_INIT(&b);
    const struct run_metric m = { STR("train.steps"), 90 };
    const struct catalog_run r = { .id = 8,
        .kind = RUN_TRAIN,
        .status = RUN_FAILED,
        .collection = STR("words"),
        .objective = STR("mnrl"),
        .pairs_anchor = STR("metadata.\"a"),
        .pairs_positive = STR("text"),
        .labels = STR("metadata.l"),
        .max_seconds = 7.5,
        .max_steps = 100,
        .seed = 9007199254740991,
        .promote = PROMOTE_ALWAYS,
        .method = STR("last_layers"),
        .layers = 2,
        .step = 90,
        .steps = 100,
        .loss = NAN,
        .attempts = 3,
        .data_hash = STR("00ff"),
        .metrics = &m,
        .n_metrics = 1,
        .decision = STR("no\nbetter"),
        .from_version = 2,
        .to_version = 3,
        .created_ms = 1700000000000,
        .started_ms = 1700000000001,
        .finished_ms = 1700000000002,
        .error_code = STR("io"),
        .error = STR("the \"disk\"") };
    run_json(&w, &r, 1);
    check(&b,
        "{'run':8,'kind':'train','status':'failed','collection':'words','progress':1,"
        "'objective':'mnrl','pairs':{'anchor':'metadata.\\'a','positive':'text'},"
        "'labels':'metadata.l','promote':'always','method':'last_layers','layers':2,"
        "'seed':9007199254740991,'max_seconds':7.5,"
        "'max_steps':100,'step':90,'steps':100,'loss':null,'attempts':3,'data_hash':'00ff',"
        "'metrics':{'train':{'steps':90}},'decision':'no\\nbetter','from_version':2,'to_version':3,"
        "'created_at':'2023-11-14T22:13:20.000Z','started_at':'2023-11-14T22:13:20.001Z',"
        "'finished_at':'2023-11-14T22:13:20.002Z',"
        "'error':{'code':'io','detail':'the \\'disk\\''}}");
    /* an event is one line */
    ck_assert_ptr_null(memchr(b.p, '\n', b.n));
    buf_done(&b);
}
END_TEST

START_TEST(other_kinds_do_not_train)
{
    static const char *const kinds[] = { [RUN_PROMOTE] = "promote", [RUN_ROLLBACK] = "rollback" };
    static const enum run_kind rows[] = { RUN_PROMOTE, RUN_ROLLBACK };
    for (size_t i = 0; i < 2; i++) {
        struct buf b = BUF_INIT(0);
        struct json_write w = JSON_WRITE_INIT(&b);
        char want[400];
        const struct catalog_run r = { .id = 1,
            .kind = rows[i],
            .status = RUN_PROMOTING,
            .collection = STR("c"),
            .from_version = 1,
            .to_version = 2,
            .created_ms = 1700000000000,
            .started_ms = 1700000000000 };
        run_json(&w, &r, 0.25);
        (void)snprintf(want, sizeof want,
            "{'run':1,'kind':'%s','status':'promoting','collection':'c','progress':0.25,"
            "'metrics':{},'decision':null,'from_version':1,'to_version':2,"
            "'created_at':'2023-11-14T22:13:20.000Z','started_at':'2023-11-14T22:13:20.000Z',"
            "'finished_at':null}",
            kinds[rows[i]]);
        check(&b, want);
        buf_done(&b);
    }
}
END_TEST

START_TEST(progress_is_short)
{
    struct buf b = BUF_INIT(0);
    struct json_write w = JSON_WRITE_INIT(&b);
    const struct run_progress p = {
        .status = RUN_RUNNING, .step = 3, .steps = 12, .loss = 1.5, .progress = 0.125
    };
    run_json_progress(&w, 4, &p);
    check(&b, "{'run':4,'status':'running','progress':0.125,'step':3,'steps':12,'loss':1.5}");
    buf_clear(&b);
    const struct run_progress first = { .status = RUN_QUEUED };
    w = (struct json_write)JSON_WRITE_INIT(&b);
    run_json_progress(&w, 4, &first);
    check(&b, "{'run':4,'status':'queued','progress':0,'step':0,'steps':0,'loss':null}");
    buf_done(&b);
}
END_TEST

START_TEST(versions_come_out)
{
    struct buf b = BUF_INIT(0);
    struct json_write w = JSON_WRITE_INIT(&b);
    struct version_info v = { .row = { .version = 1,
                                  .state = VERSION_RETIRED,
                                  .base_model = STR("text-small"),
                                  .created_ms = 1700000000000 },
        .model = STR("text-small@1") };
    run_json_version(&w, &v);
    check(&b,
        "{'version':1,'model':'text-small@1','state':'retired','parent_version':null,'run':null,"
        "'base_model':'text-small','data_hash':null,'weights_hash':null,'has_vectors':false,"
        "'metrics':{},'created_at':'2023-11-14T22:13:20.000Z','served_at':null}");
    buf_clear(&b);
    const struct run_metric m = { STR("after.general"), 0.5 };
    v = (struct version_info){ .row = { .version = 2,
                                   .parent_version = 1,
                                   .run_id = 5,
                                   .state = VERSION_SERVING,
                                   .base_model = STR("text-small"),
                                   .data_hash = STR("aa"),
                                   .weights_hash = STR("bb"),
                                   .created_ms = 1700000000000,
                                   .served_ms = 1700000000000 },
        .model = STR("c/text-small@2"),
        .has_vectors = true,
        .metrics = &m,
        .n_metrics = 1 };
    w = (struct json_write)JSON_WRITE_INIT(&b);
    run_json_version(&w, &v);
    check(&b,
        "{'version':2,'model':'c/text-small@2','state':'serving','parent_version':1,'run':5,"
        "'base_model':'text-small','data_hash':'aa','weights_hash':'bb','has_vectors':true,"
        "'metrics':{'after':{'general':0.5}},'created_at':'2023-11-14T22:13:20.000Z',"
        "'served_at':'2023-11-14T22:13:20.000Z'}");
    buf_done(&b);
}
END_TEST

TEST_SUITE(run_json)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, statuses_have_names);
    tcase_add_test(tc, metrics_are_grouped);
    tcase_add_test(tc, a_queued_run_has_little);
    tcase_add_test(tc, an_ended_run_has_all);
    tcase_add_test(tc, other_kinds_do_not_train);
    tcase_add_test(tc, progress_is_short);
    tcase_add_test(tc, versions_come_out);
    suite_add_tcase(s, tc);
}
