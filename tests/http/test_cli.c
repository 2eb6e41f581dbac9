/* The commands of the program, run as a user runs them: what they print, how they end. */
#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "tests/http/http_test.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { OUTPUT_BYTES_MAX = 1 << 20 };

/* Run `kindred ARGS` in a shell, both outputs together; returns its exit status. */
static int run(struct buf *out, const char *args)
{
    struct buf command = BUF_INIT(0);
    char chunk[4096];
    size_t got;

    buf_printf(&command, "'%s' %s 2>&1", getenv("KINDRED_BIN"), args);
    FILE *pipe = popen(command.p, "re");
    ck_assert_ptr_nonnull(pipe);
    buf_clear(out);
    while ((got = fread(chunk, 1, sizeof chunk, pipe)) > 0)
        buf_append(out, chunk, got);
    int status = pclose(pipe);
    buf_done(&command);
    ck_assert_msg(WIFEXITED(status), "kindred %s was killed", args);
    return WEXITSTATUS(status);
}

static void expect_run(const char *args, int want_status, const char *want_text)
{
    struct buf out = BUF_INIT(OUTPUT_BYTES_MAX);
    int status = run(&out, args);
    const char *text = out.p ? out.p : "";

    ck_assert_msg(status == want_status, "kindred %s: exit %d: %s", args, status, text);
    ck_assert_msg(strstr(text, want_text) != NULL, "kindred %s printed: %s", args, text);
    buf_done(&out);
}

static const struct {
    const char *args;
    int status;
    const char *text;
} usages[] = {
    { "--help", 0, "usage: kindred COMMAND" },
    { "", 2, "usage: kindred COMMAND" },
    { "frobnicate", 2, "there is no command \"frobnicate\"" },
    { "version", 0, "kindred 0." },
    { "serve --help", 0, "--listen" },
    { "serve --colour red", 2, "there is no flag --colour" },
    { "serve --http-threads many", 2, "http.threads needs a whole number" },
    { "serve --config /nowhere.conf", 2, "/nowhere.conf" },
    { "bench --help", 0, "--vectors FILE.npy" },
    { "bench", 2, "usage: kindred bench index" },
    { "bench index", 2, "usage: kindred bench index" },
    { "bench index --vectors /nowhere.npy", 1, "/nowhere.npy" },
    { "bench index --vectors README.md", 1, "not a .npy file" },
    { "bench index --vectors x.npy --k none", 2, "--k: none is not a number" },
    { "bench index --vectors x.npy --bits 16", 2, "24 or 12" },
    { "bench index --vectors x.npy --metric near", 2, "cosine, dot or l2" },
    { "import --help", 0, "NDJSON" },
    { "import", 2, "usage: kindred import" },
    { "import --colour x", 2, "unknown or incomplete flag" },
    { "import --collection c /nowhere.ndjson", 1, "/nowhere.ndjson" },
    { "import --collection c --url http://127.0.0.1:1 </dev/null", 1, "127.0.0.1:1" },
    { "eval --help", 0, "retrieval" },
    { "eval --model x", 2, "usage: kindred eval" },
    { "eval --model x --task general --data y", 2, "usage: kindred eval" },
    { "eval --model x --task sts --data y --baseline z", 2, "usage: kindred eval" },
    { "eval --model x --task retrieval --data y --baseline z --test 0", 1, "--test" },
    { "train --collection x --help", 0, "what the gate says" },
    { "train --run 1 --collection x", 2, "one of --run and --collection" },
    { "train --collection x --such 1", 2, "such" },
    { "train --run x --data /nowhere", 2, "--run needs a whole number" },
    { "train --run 1 --data /nowhere", 1, "error " },
    { "train --collection x --data /nowhere", 1, "/nowhere" },
    { "train --collection x --data /nowhere --max-seconds 0", 1, "--max-seconds" },
    { "eval --model text-small --task sts --data /nowhere.tsv", 1, "/nowhere.tsv" },
    { "train --help", 0, "--token-dropout X" },
    { "train", 2, "usage: kindred train" },
    { "train --model x --out y", 2, "usage: kindred train" },
    { "train --colour x", 2, "there is no flag --colour" },
    { "train --pairs a --steps", 2, "--steps needs N" },
    { "train --pairs a --steps many", 2, "--steps needs a whole number" },
    { "train --pairs a --warmup=1.5", 2, "--warmup needs a number from 0 to 1" },
    { "train --pairs a --rate -1", 2, "--rate needs a number, 0 or more" },
    { "train --pairs a:0", 2, "--pairs needs FILE[:WEIGHT]" },
    { "train --taught a", 2, "--taught needs TEXTS:VECTORS.npy" },
    { "train --pairs a --threads 0", 2, "--threads needs 1 to 256" },
    { "train --model /nowhere/m --out /nowhere/o --pairs a", 1, "/nowhere/m" },
    { "config --help", 0, "usage: kindred config" },
    { "config", 0, "--index-ef-search" },
    { "config --html", 2, "unknown argument" },
};

START_TEST(says_how_it_is_used)
{
    expect_run(usages[_i].args, usages[_i].status, usages[_i].text);
}
END_TEST

static void write_text(const struct tmpdir *dir, const char *name, const char *text, char path[256])
{
    struct err e = ERR_INIT;
    ck_assert_ok(file_write_atomic(tmpdir_file(dir, name, path), text, strlen(text), &e), &e);
}

START_TEST(imports_a_file_and_says_what_was_wrong)
{
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES], args[1024];

    tmpdir_make(&dir);
    json_decref(call("PUT", "/collections/cli", "{\"modality\":\"text\"}", 201));
    write_text(&dir, "good.ndjson",
        "{\"id\":\"a\",\"text\":\"a red house\"}\n{\"id\":\"b\",\"text\":\"a blue car\"}\n", path);
    snprintf(args, sizeof args, "import --collection cli --url http://127.0.0.1:%u/ %s",
        suite_server.port, path);
    expect_run(args, 0, "2 written, 0 unchanged, 0 failed");
    expect_run(args, 0, "0 written, 2 unchanged, 0 failed");
    snprintf(args, sizeof args, "import --collection cli --url=http://127.0.0.1:%u - <%s",
        suite_server.port, path);
    expect_run(args, 0, "0 written, 2 unchanged, 0 failed");

    write_text(
        &dir, "bad.ndjson", "{\"id\":\"c\",\"text\":\"a tree\"}\n{\"id\":\"d\"}\nnot json\n", path);
    snprintf(args, sizeof args, "import --quiet --collection cli --url http://127.0.0.1:%u %s",
        suite_server.port, path);
    expect_run(args, 1, "line 3");
    expect_run(args, 1, "line 2: ");
    expect_run(args, 1, "0 written, 1 unchanged, 1 failed");
    snprintf(args, sizeof args, "import --collection none --url http://127.0.0.1:%u %s",
        suite_server.port, path);
    expect_run(args, 1, "404");
    tmpdir_remove(&dir);
}
END_TEST

START_TEST(judges_a_model_on_a_file)
{
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES], args[1024];

    tmpdir_make(&dir);
    write_text(&dir, "sts.tsv",
        "5\ta dog runs\ta dog runs\n3\ta dog runs\ta cat runs\n0\ta dog runs\tthe price of oil\n",
        path);
    snprintf(args, sizeof args, "eval --model models/text-small --task sts --data %s", path);
    expect_run(args, 0, "\"cases\": 3, \"spearman\": 1.0000");
    snprintf(
        args, sizeof args, "eval --model text-small --models models --task sts --data - <%s", path);
    expect_run(args, 0, "\"spearman\": 1.0000");
    write_text(&dir, "pairs.tsv",
        "a young cat\tkitten\nthe study of stars\tastronomy\na vehicle on rails\ttrain\n", path);
    snprintf(args, sizeof args, "eval --model models/text-small --task retrieval --data %s", path);
    expect_run(args, 0, "\"recall_at_1\": 1.0000");
    snprintf(args, sizeof args,
        "eval --model text-small --models models --baseline models/text-small --task retrieval "
        "--data %s",
        path);
    expect_run(args, 0, "\"promote\": false, \"why\": \"not proven better: MRR@10 1.000 -> 1.000");
    expect_run("eval --model models/text-small --task general", 0, "\"cases\": 4");
    write_text(&dir, "bad.tsv", "a\tb\nno tab here\n", path);
    snprintf(args, sizeof args, "eval --model models/text-small --task retrieval --data %s", path);
    expect_run(args, 1, "line 2: expected query TAB document");
    snprintf(args, sizeof args, "eval --model /nowhere --task retrieval --data %s", path);
    expect_run(args, 1, "kindred eval: ");
    tmpdir_remove(&dir);
}
END_TEST

/* Word i belongs to word i + 100. */
static void write_word_pairs(const struct tmpdir *dir, char path[256])
{
    struct buf b = BUF_INIT(0);

    for (int i = 0; i < 100; i++)
        buf_printf(&b, "w%d\tw%d\n", i, i + 100);
    write_text(dir, "a:pairs.tsv", b.p, path);
    buf_done(&b);
}

START_TEST(trains_a_model_on_a_file)
{
    struct tmpdir dir;
    char pairs[TMPDIR_PATH_BYTES], args[2048];

    tmpdir_make(&dir);
    tiny_model_write(dir.path, "tiny", 16, 1);
    write_word_pairs(&dir, pairs);
    snprintf(args, sizeof args,
        "train --model %s/tiny --out %s/out/ --pairs %s --pairs %s:0.5 --steps 60 --batch 64 "
        "--rate 0.1 "
        "--anchor-weight 0",
        dir.path, dir.path, pairs, pairs);
    expect_run(args, 0, "60 steps on 200 pairs");
    expect_run(args, 1, "is there already");
    snprintf(args, sizeof args, "eval --model %s/out --task retrieval --data %s", dir.path, pairs);
    expect_run(args, 0, "\"recall_at_1\": 1.0000");
    snprintf(args, sizeof args, "train --model tiny --models %s --out %s/out2 --pairs %s --steps 2",
        dir.path, dir.path, pairs);
    expect_run(args, 0, "2 steps on 100 pairs");
    tmpdir_remove(&dir);
}
END_TEST

/* The same weights as without a stop in between. */
START_TEST(goes_on_where_a_signal_stopped_it)
{
    struct tmpdir dir;
    char pairs[TMPDIR_PATH_BYTES], path[TMPDIR_PATH_BYTES], args[2048];
    char *whole = NULL, *parts = NULL;
    size_t n_whole, n_parts;
    struct err e = ERR_INIT;

    tmpdir_make(&dir);
    tiny_model_write(dir.path, "tiny", 16, 1);
    write_word_pairs(&dir, pairs);
    snprintf(args, sizeof args,
        "train --model %s/tiny --out %s/whole --pairs %s --steps 20000 --batch 64", dir.path,
        dir.path, pairs);
    expect_run(args, 0, "20000 steps");
    /* The shell that runs this is the parent of the program, which it sends the signal to. */
    snprintf(args, sizeof args,
        "train --model %s/tiny --out %s/parts --pairs %s --steps 20000 --batch 64 2>&1 & "
        "pid=$!; until test -s %s/parts.work/log.csv; do sleep 0.02; done; kill -TERM $pid; wait "
        "$pid",
        dir.path, dir.path, pairs, dir.path);
    expect_run(args, 128 + 15, "--resume goes on");
    snprintf(args, sizeof args,
        "train --model %s/tiny --out %s/parts --pairs %s --steps 20000 --batch 64 --resume",
        dir.path, dir.path, pairs);
    expect_run(args, 0, "20000 steps");
    ck_assert_ok(file_read(tmpdir_file(&dir, "whole/model.safetensors", path), OUTPUT_BYTES_MAX,
                     &whole, &n_whole, &e),
        &e);
    ck_assert_ok(file_read(tmpdir_file(&dir, "parts/model.safetensors", path), OUTPUT_BYTES_MAX,
                     &parts, &n_parts, &e),
        &e);
    ck_assert_mem_eq(whole, parts, n_whole);
    ck_assert_uint_eq(n_whole, n_parts);
    mem_free(whole);
    mem_free(parts);
    tmpdir_remove(&dir);
}
END_TEST

TEST_SUITE(cli)
{
    TCase *tc = tcase_create("usage");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, says_how_it_is_used, 0, (int)(sizeof usages / sizeof usages[0]));
    tcase_add_test(tc, judges_a_model_on_a_file);
    tcase_add_test(tc, trains_a_model_on_a_file);
    tcase_add_test(tc, goes_on_where_a_signal_stopped_it);
    suite_add_tcase(s, tc);

    tc = tcase_create("server");
    tcase_set_timeout(tc, 60);
    tcase_add_unchecked_fixture(tc, suite_server_start, suite_server_stop);
    tcase_add_test(tc, imports_a_file_and_says_what_was_wrong);
    suite_add_tcase(s, tc);
}
