/* kill -9 of the server or of its training process, ROUNDS times, at random moments of runs: training, judging,
 * encoding again, swapping, going back. After each restart the server is ready, answers with one version, and has
 * every acknowledged write; every run ends in a final status, with a reason if it failed; and in the end the
 * runs folder holds what finished runs may keep, and nothing else. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "tests/support/http_client.h"
#include "tests/support/server_proc.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 30, ITEMS = 6000, RUN_WAIT_S = 120, KEPT_FOLDERS_MAX = 12 };

static struct {
    struct server_proc server;
    struct rng rng;
    size_t written;
    size_t server_kills, trainer_kills, succeeded, rejected, failed, cancelled, resumed;
} t;

static const char *const words[] = { "river", "stone", "garden", "engine", "winter", "silver",
    "letter", "island", "music", "window", "forest", "bridge", "candle", "market", "planet",
    "shadow", "copper", "harbour", "meadow", "signal", "thunder", "velvet", "wagon", "orchard" };
enum { WORDS = sizeof words / sizeof words[0] };

/* ---- JSON over HTTP ---- */

static json_t *call(const char *method, const char *path, const char *body, int *ret_status)
{
    struct http_reply reply;
    struct http_call c = { .method = method,
        .path = path,
        .type = body ? "application/json" : NULL,
        .body = body ? str_from(body) : (struct str){ NULL, 0 } };
    http_reply_init(&reply);
    http_call(t.server.port, &c, &reply);
    *ret_status = reply.status;
    json_t *json = json_loads(reply.body.n ? http_reply_text(&reply) : "{}", 0, NULL);
    ck_assert_msg(json != NULL, "%s %s: %s", method, path, http_reply_text(&reply));
    http_reply_done(&reply);
    return json;
}

static json_t *call_ok(const char *method, const char *path, const char *body)
{
    int status;
    json_t *json = call(method, path, body, &status);
    char *text = json_dumps(json, JSON_COMPACT);
    ck_assert_msg(status >= 200 && status < 300, "%s %s: %d %s", method, path, status, text);
    free(text);
    return json;
}

static const char *str_at(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void wait_ms(int64_t ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* ---- content ---- */

/* Old words for new ones in the second sentence, so that there is something to learn. */
static void sentences(size_t i, char *text, char *modern, size_t size)
{
    size_t n = 0, m = 0;
    for (int w = 0; w < 6; w++, i /= WORDS) {
        const char *word = words[(i + (size_t)w * 5) % WORDS];
        n += (size_t)snprintf(text + n, size - n, "%s%s", w ? " " : "", word);
        m += (size_t)snprintf(modern + m, size - m, "%s%s", w ? " " : "",
            words[((i + (size_t)w * 5) % WORDS + WORDS / 2) % WORDS]);
    }
}

static void write_items(size_t first, size_t n)
{
    char text[256], modern[256];
    struct buf body = BUF_INIT(0);
    buf_puts(&body, "{\"items\":[");
    for (size_t i = first; i < first + n; i++) {
        sentences(i * 7919 % 190000000, text, modern, sizeof text);
        buf_printf(&body, "%s{\"id\":\"k%zu\",\"text\":\"%s\",\"metadata\":{\"modern\":\"%s\"}}",
            i > first ? "," : "", i, text, modern);
    }
    buf_puts(&body, "]}");
    json_decref(call_ok("POST", "/collections/k/items", body.p));
    buf_done(&body);
    t.written = first + n;
}

static void check_content(void)
{
    json_t *count = call_ok("POST", "/collections/k/items/count", "{}");
    ck_assert_uint_eq((size_t)json_integer_value(json_object_get(count, "count")), t.written);
    json_decref(count);
    for (int i = 0; i < 5; i++) {
        char text[256], modern[256], body[600], id[32];
        size_t at = i < 2 ? t.written - 1 - (size_t)i : (size_t)rng_below(&t.rng, t.written);
        sentences(at * 7919 % 190000000, text, modern, sizeof text);
        snprintf(id, sizeof id, "k%zu", at);
        snprintf(body, sizeof body, "{\"text\":\"%s\",\"exact\":true,\"k\":50}", text);
        json_t *answer = call_ok("POST", "/collections/k/search", body);
        long long version =
            json_integer_value(json_object_get(json_object_get(answer, "model"), "version"));
        const json_t *hits = json_object_get(answer, "hits");
        bool found = false;
        for (size_t h = 0; h < json_array_size(hits); h++) {
            const json_t *hit = json_array_get(hits, h);
            ck_assert_int_eq(json_integer_value(json_object_get(hit, "model_version")), version);
            found |= !strcmp(str_at(hit, "id"), id) &&
                json_number_value(json_object_get(hit, "score")) > 0.999;
        }
        ck_assert_msg(found, "%s is not found by its own text in version %lld", id, version);
        json_decref(answer);
    }
}

/* ---- runs ---- */

static bool is_open(const char *status)
{
    return !strcmp(status, "queued") || !strcmp(status, "running") ||
        !strcmp(status, "evaluating") || !strcmp(status, "promoting");
}

static json_t *last_run(void)
{
    json_t *list = call_ok("GET", "/admin/runs?limit=1", NULL);
    json_t *run = json_incref(json_array_get(json_object_get(list, "runs"), 0));
    json_decref(list);
    return run;
}

static bool run_is_open(void)
{
    json_t *run = last_run();
    bool open = run && is_open(str_at(run, "status"));
    json_decref(run);
    return open;
}

/* Something to do, if nothing is under way: mostly training, sometimes going back or forward. */
static void start_something(size_t round)
{
    int status;
    char body[256];
    if (run_is_open()) return;
    if (round % 4 == 3) {
        json_t *answer = call("POST", "/admin/collections/k/rollback", NULL, &status);
        json_decref(answer);
        if (status < 300) return;
    }
    snprintf(body, sizeof body,
        "{\"collection\":\"k\",\"pairs\":{\"anchor\":\"metadata.modern\",\"positive\":\"text\"},"
        "\"seed\":%zu,\"promote\":\"%s\"}",
        round, round % 2 ? "always" : "auto");
    json_decref(call_ok("POST", "/admin/retrain", body));
}

static void count_end(const json_t *run)
{
    const char *status = str_at(run, "status");
    const char *why = str_at(json_object_get(run, "error"), "detail");
    if (json_integer_value(json_object_get(run, "attempts")) > 1) t.resumed++;
    if (!strcmp(status, "succeeded"))
        t.succeeded++;
    else if (!strcmp(status, "rejected"))
        t.rejected++;
    else if (!strcmp(status, "failed")) {
        t.failed++;
        printf("    run %lld failed: %s\n", json_integer_value(json_object_get(run, "run")), why);
        ck_assert_msg(why[0] != '\0', "a run failed without a reason");
    } else {
        t.cancelled++;
    }
}

static void wait_for_end(void)
{
    for (int i = 0; i < RUN_WAIT_S * 10; i++) {
        json_t *run = last_run();
        if (!run) return;
        if (!is_open(str_at(run, "status"))) {
            count_end(run);
            json_decref(run);
            return;
        }
        json_decref(run);
        wait_ms(100);
    }
    ck_abort_msg("a run does not end");
}

/* ---- killing ---- */

static pid_t parent_of(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *after = strrchr(text, ')'); /* the name may hold anything */
    return after && strlen(after) > 4 ? (pid_t)atoi(after + 4) : 0;
}

static bool kill_trainer(void)
{
    DIR *d = opendir("/proc");
    bool killed = false;
    for (struct dirent *entry; d && (entry = readdir(d)) != NULL;) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        if (pid > 0 && parent_of(pid) == t.server.pid) killed |= kill(pid, SIGKILL) == 0;
    }
    if (d) closedir(d);
    return killed;
}

/* ---- what is left on the disk ---- */

static bool may_stay(const char *name)
{
    static const char *const names[] = { "heldout.tsv", "log.csv", "loss.svg", "log.txt", "lock",
        "work", "model" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

static void check_folder(const char *path, bool names, size_t *models)
{
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        struct stat st;
        char at[4096];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(at, sizeof at, "%s/%s", path, entry->d_name);
        ck_assert_msg(!names || may_stay(entry->d_name), "%s was left over", at);
        ck_assert_msg(!strstr(entry->d_name, ".tmp"), "%s was left over", at);
        bool is_model = names && !strcmp(entry->d_name, "model");
        *models += is_model;
        if (stat(at, &st) == 0 && S_ISDIR(st.st_mode))
            check_folder(at, !is_model && !strcmp(entry->d_name, "work"), models);
    }
    closedir(d);
}

static void check_disk(void)
{
    char path[4096];
    size_t folders = 0, models = 0;
    snprintf(path, sizeof path, "%s/data/runs", t.server.dir.path);
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        char at[4400];
        if (entry->d_name[0] == '.') continue;
        snprintf(at, sizeof at, "%s/%s", path, entry->d_name);
        check_folder(at, true, &models);
        folders++;
    }
    closedir(d);
    printf("  %zu run folders, %zu models kept\n", folders, models);
    ck_assert_uint_le(models, 4); /* the serving version, two retired ones, a candidate */
}

START_TEST(resumes_when_killed)
{
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a failure is told by what came before it */
    uint64_t seed = (uint64_t)time_unix_ms();
    printf("  seed %llu\n", (unsigned long long)seed);
    rng_init(&t.rng, seed);
    server_start(&t.server, NULL);
    json_decref(call_ok("PUT", "/collections/k", "{\"modality\":\"text\"}"));
    for (size_t i = 0; i < ITEMS; i += 1000)
        write_items(i, 1000);
    for (size_t round = 0; round < ROUNDS; round++) {
        start_something(round);
        write_items(t.written, 20);
        wait_ms((int64_t)rng_below(&t.rng, round % 3 ? 2500 : 8000));
        if (rng_below(&t.rng, 2) == 0 && kill_trainer()) {
            t.trainer_kills++;
        } else {
            server_kill(&t.server);
            t.server_kills++;
            server_restart(&t.server, NULL);
        }
        check_content();
        if (rng_below(&t.rng, 3) == 0) wait_for_end(); /* else it is killed once more */
    }
    wait_for_end();
    write_items(t.written, 20);
    check_content();
    printf("  killed: server %zu times, trainer %zu times. Runs followed to their end: %zu "
           "succeeded, %zu "
           "rejected, %zu failed, %zu cancelled; %zu had been started again\n",
        t.server_kills, t.trainer_kills, t.succeeded, t.rejected, t.failed, t.cancelled, t.resumed);
    ck_assert_uint_gt(t.succeeded, 0);
    ck_assert_uint_gt(t.trainer_kills, 0);
    server_stop(&t.server);
    server_restart(&t.server, NULL); /* a start tidies too */
    check_content();
    check_disk();
    server_stop(&t.server);
    server_remove(&t.server);
}
END_TEST

TEST_SUITE(learn_kill)
{
    TCase *tc = tcase_create("kill -9 of runs");
    tcase_set_timeout(tc, 1800);
    tcase_add_test(tc, resumes_when_killed);
    suite_add_tcase(s, tc);
}
