/* A run from the catalog to the decision: what is learnt and judged, that it goes on where it was cut
 * (engine/train_job_notes.c), and the process around it (engine/train_job_process.c). */
#include "engine/train_job.h"

#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/evaluate.h"
#include "engine/hash.h"
#include "engine/run_folder.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tmpdir.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DIM = 16, ITEMS = 900, HALF = TINY_MODEL_WORDS / 2, LINES_MAX = 400 };

struct fixture {
    struct tmpdir dir;
    struct config cfg;
    struct catalog *catalog;
    struct arena *arena;
    struct catalog_collection col;
    struct catalog_run run;
    char folder[TMPDIR_PATH_BYTES];
    const char *name; /* the collection's */
    const struct gate_options *gate;
    volatile sig_atomic_t stop;
    /* what was said */
    struct run_line lines[LINES_MAX];
    char names[LINES_MAX][RUN_LINE_MAX];
    size_t n_lines, stop_after;
};
static struct fixture f;

static void put(size_t i, const char *text, const char *query)
{
    struct err e = ERR_INIT;
    static const float vector[DIM] = { 1 };
    struct catalog_put_result r;
    char key[24], metadata[200];
    (void)snprintf(key, sizeof key, "k%zu", i);
    (void)snprintf(metadata, sizeof metadata, "{\"q\":\"%s\"}", query);
    struct catalog_put p = { .key = str_from(key),
        .text = str_from(text),
        .metadata = str_from(metadata),
        .vector = vector };
    hash_content(p.text.p, p.text.n, p.content_hash);
    hash_content(p.metadata.p, p.metadata.n, p.metadata_hash);
    ck_assert_ok(catalog_item_put(f.catalog, &f.col, &f.col.serving, &p, f.arena, &r, &e), &e);
}

static void three_words(struct rng *rng, int from, char ret[64])
{
    (void)snprintf(ret, 64, "w%d w%d w%d", from + (int)rng_below(rng, HALF),
        from + (int)rng_below(rng, HALF), from + (int)rng_below(rng, HALF));
}

/* Word i of a query means word i + HALF of a text; or, without meaning, any. */
static void fill(size_t n, bool meaning)
{
    struct rng texts, queries;
    rng_init(&texts, 5);
    rng_init(&queries, meaning ? 5 : 6);
    ck_assert_ok(catalog_begin(f.catalog, NULL));
    for (size_t i = 0; i < n; i++) {
        char text[64], query[64];
        three_words(&texts, HALF, text);
        three_words(&queries, 0, query);
        put(i, text, query);
    }
    ck_assert_ok(catalog_commit(f.catalog, NULL));
}

static void make_collection(const char *name, enum catalog_modality modality, const char *model)
{
    struct err e = ERR_INIT;
    f.col = (struct catalog_collection){ .name = str_from(name),
        .modality = modality,
        .metric = METRIC_COSINE,
        .m = 16,
        .ef_construction = 100,
        .ef_search = 64,
        .serving = {
            .model_name = str_from(model), .model_version = *model ? 1 : 0, .dimensions = DIM } };
    ck_assert_ok(catalog_collection_create(f.catalog, &f.col, &e), &e);
}

static void open_catalog(void)
{
    struct err e = ERR_INIT;
    char path[TMPDIR_PATH_BYTES];
    ck_assert_ok(catalog_open(tmpdir_file(&f.dir, "data/catalog.db", path), &f.catalog, &e), &e);
}

static void setup(void)
{
    struct err e = ERR_INIT;
    char path[TMPDIR_PATH_BYTES];
    log_set_level(LOG_OFF);
    memset(&f, 0, sizeof f);
    tmpdir_make(&f.dir);
    ck_assert_ok(hash_start(&e), &e);
    ck_assert_ok(config_init(&f.cfg, &e), &e);
    ck_assert_ok(config_set(&f.cfg, "data", tmpdir_file(&f.dir, "data", path), &e), &e);
    ck_assert_ok(dir_make(path, &e), &e);
    ck_assert_ok(config_set(&f.cfg, "models", tmpdir_file(&f.dir, "models", path), &e), &e);
    tiny_model_write(path, "tiny", DIM, 1);
    f.arena = arena_new(1 << 16, 0);
    open_catalog();
    make_collection("c", MODALITY_TEXT, "tiny");
    f.name = "c";
    tmpdir_file(&f.dir, "run", f.folder);
    f.run = (struct catalog_run){ .kind = RUN_TRAIN,
        .objective = STR("auto"),
        .pairs_anchor = STR("metadata.q"),
        .pairs_positive = STR("text"),
        .seed = 1 };
}
static void teardown(void)
{
    catalog_close(f.catalog);
    arena_free(f.arena);
    config_done(&f.cfg);
    tmpdir_remove(&f.dir);
}

static void hear(void *arg, const struct run_line *line)
{
    (void)arg;
    ck_assert_uint_lt(f.n_lines, LINES_MAX);
    f.lines[f.n_lines] = *line;
    struct str text = line->kind == LINE_DECISION ? line->text : line->name;
    (void)snprintf(f.names[f.n_lines], RUN_LINE_MAX, "%.*s", STR_ARG(text));
    f.n_lines++;
    if (f.stop_after && f.n_lines == f.stop_after) f.stop = SIGTERM;
}

static enum err_code train(struct train_job_report *r, struct err *e)
{
    const struct train_job_by_hand o = { .cfg = &f.cfg,
        .collection = f.name,
        .folder = f.folder,
        .run = &f.run,
        .gate = f.gate,
        .stop = &f.stop,
        .say = hear };
    f.n_lines = 0;
    f.stop = 0;
    return train_job_collection(&o, r, e);
}

static struct train_job_report trained(void)
{
    struct err e = ERR_INIT;
    struct train_job_report r;
    ck_assert_ok(train(&r, &e), &e);
    return r;
}

static double metric(const char *name)
{
    for (size_t i = 0; i < f.n_lines; i++)
        if (f.lines[i].kind == LINE_METRIC && strcmp(f.names[i], name) == 0)
            return f.lines[i].value;
    ck_abort_msg("no metric %s", name);
    return 0;
}

static char *read_text(const char *name, size_t *ret_n)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *path = path_join(f.folder, name);
    char *text = NULL;
    ck_assert_ok(file_read(path, 1 << 26, &text, ret_n, &e), &e);
    return text;
}

static bool same(double a, double b)
{
    return fabs(a - b) < 1e-12;
}

/* ---- what is learnt ---- */

START_TEST(learns_judges_and_says_so)
{
    fill(ITEMS, true);
    struct train_job_report r = trained();
    ck_assert_msg(r.gate.promote, "%s", r.gate.why);
    ck_assert(r.gate.after.recall_at_10 > 0.9 && r.gate.before.recall_at_10 < 0.3);
    ck_assert_int_eq(r.pairs.source, PAIRS_FIELDS);
    ck_assert_uint_eq(r.training.pairs, r.pairs.train);
    /* In this order: what comes first, what comes last. */
    ck_assert_int_eq(f.lines[0].kind, LINE_PHASE);
    ck_assert_int_eq(f.lines[0].phase, RUN_RUNNING);
    ck_assert_int_eq(f.lines[1].kind, LINE_DATA);
    ck_assert_str_eq(f.names[1], r.pairs.data_hash);
    ck_assert_int_eq(f.lines[f.n_lines - 2].kind, LINE_WEIGHTS);
    ck_assert_str_eq(f.names[f.n_lines - 2], r.weights_hash);
    ck_assert_int_eq(f.lines[f.n_lines - 1].kind, LINE_DECISION);
    ck_assert(f.lines[f.n_lines - 1].promote);
    ck_assert_str_eq(f.names[f.n_lines - 1], r.gate.why);
    ck_assert(same(metric("before.recall_at_1"), r.gate.before.recall_at_1));
    ck_assert(same(metric("after.ndcg_at_10"), r.gate.after.ndcg_at_10));
    ck_assert(same(metric("after.general"), r.gate.anchor_after));
    ck_assert(same(metric("gain.mrr_at_10_low"), r.gate.mrr_at_10.low));
    ck_assert(same(metric("gain.recall_at_10"), r.gate.recall_at_10.mean));
    ck_assert(same(metric("gate.level"), 0.95) && same(metric("gate.test"), 1));
    ck_assert(same(metric("gate.tested"), 1));
    ck_assert(same(metric("pairs.train"), (double)r.pairs.train) && r.pairs.heldout >= 50);
    ck_assert(metric("train.steps") >= 200 && metric("train.pairs_per_second") > 0);
}
END_TEST

START_TEST(figures_are_those_of_eval)
{
    fill(ITEMS, true);
    struct train_job_report r = trained();
    AUTO_FREE char *model = path_join(f.folder, "model");
    struct eval_request rq = { .model_dir = model, .task = EVAL_RETRIEVAL };
    struct eval_report alone;
    AUTO_FREE char *text = read_text("heldout.tsv", &rq.data.n);
    rq.data.p = text;
    ck_assert_ok(evaluate(&rq, &alone, NULL));
    ck_assert_int_eq(memcmp(&alone.retrieval, &r.gate.after, sizeof alone.retrieval), 0);
    ck_assert_uint_eq(alone.documents, r.pairs.heldout + r.pairs.distractors);

    size_t n;
    unsigned char hash[CATALOG_HASH_BYTES];
    char first[3];
    AUTO_FREE char *weights = read_text("model/model.safetensors", &n);
    hash_content(weights, n, hash);
    (void)snprintf(first, sizeof first, "%02x", hash[0]);
    ck_assert_int_eq(strncmp(first, r.weights_hash, 2), 0);
    ck_assert_uint_eq(strlen(r.weights_hash), 64);

    AUTO_FREE char *card = read_text("model/README.md", &n);
    ck_assert_ptr_nonnull(strstr(card, "base_model: \"tiny\""));
    ck_assert_ptr_nonnull(strstr(card, "| recall@10 | "));
    ck_assert_ptr_nonnull(strstr(card, r.gate.why));
    ck_assert_ptr_nonnull(strstr(card, r.pairs.data_hash));
    ck_assert_ptr_nonnull(strstr(card, "train.tsv"));
}
END_TEST

START_TEST(pairs_without_meaning_are_rejected)
{
    fill(ITEMS, false);
    struct train_job_report r = trained();
    ck_assert_msg(!r.gate.promote, "%s", r.gate.why);
    ck_assert_int_eq(f.lines[f.n_lines - 1].kind, LINE_DECISION);
    ck_assert(!f.lines[f.n_lines - 1].promote);
}
END_TEST

START_TEST(options_follow_the_request)
{
    fill(ITEMS, true);
    struct trainer_options a, b;
    struct pairs_report pairs = { .source = PAIRS_FIELDS, .train = 5000 };
    char path[TMPDIR_PATH_BYTES];
    struct train_job job = {
        .cfg = &f.cfg, .parent_dir = tmpdir_file(&f.dir, "models/tiny", path), .run = &f.run
    };
    f.run.seed = 7;
    ck_assert_ok(train_job_options(&job, &pairs, &a, NULL));
    ck_assert_int_eq(a.steps, 200); /* at least */
    ck_assert(same(a.max_seconds, (double)f.cfg.learn_max_seconds) && a.seed == 7);
    ck_assert(a.rate > 0.01 && a.rate < 0.02); /* the tiny model's values have size 1 */
    f.run.max_steps = 50;
    f.run.max_seconds = 9;
    ck_assert_ok(train_job_options(&job, &pairs, &b, NULL));
    ck_assert(b.steps == 50 && same(b.max_seconds, 9));
    f.run.max_steps = 1000000; /* a limit, not a wish */
    ck_assert_ok(train_job_options(&job, &pairs, &b, NULL));
    ck_assert_int_eq(b.steps, 200);
    pairs.train = 20000;
    ck_assert_ok(train_job_options(&job, &pairs, &b, NULL));
    ck_assert_int_eq(b.steps, 391); /* ten times through */
    pairs.train = 400000;
    ck_assert_ok(train_job_options(&job, &pairs, &b, NULL));
    ck_assert_int_eq(b.steps, 500); /* at most */
    f.run.max_steps = 3;
    struct train_job_report r = trained();
    ck_assert_int_eq(r.training.steps, 3);
}
END_TEST

START_TEST(what_cannot_be_learnt)
{
    struct train_job_report r;
    struct err e = ERR_INIT;
    fill(150, true);
    ck_assert_err(train(&r, &e), ERR_UNPROCESSABLE);
    ck_assert_ptr_nonnull(strstr(e.msg, "200"));
    struct train_job_by_hand o = {
        .cfg = &f.cfg, .collection = "none", .folder = f.folder, .run = &f.run
    };
    ck_assert_err(train_job_collection(&o, &r, &e), ERR_NOT_FOUND);
    make_collection("vectors", MODALITY_VECTOR, "");
    o.collection = "vectors";
    ck_assert_err(train_job_collection(&o, &r, &e), ERR_UNPROCESSABLE);
    make_collection("lost", MODALITY_TEXT, "no-such-model");
    o.collection = "lost";
    ck_assert_err(train_job_collection(&o, &r, &e), ERR_NOT_FOUND);
}
END_TEST

/* ---- going on ---- */

/* Stopped after each of its first lines and later ones, and called again: the same weights. */
START_TEST(stopped_anywhere_it_ends_the_same)
{
    fill(ITEMS, true);
    struct train_job_report whole = trained(), r;
    size_t lines = f.n_lines, stops = 0;
    tmpdir_file(&f.dir, "again", f.folder);
    for (f.stop_after = 1; f.stop_after < lines; f.stop_after += 3) {
        if (train(&r, NULL) == ERR_OK) continue;
        stops++;
    }
    f.stop_after = 0;
    r = trained();
    ck_assert_uint_ge(stops, 5);
    ck_assert_str_eq(r.weights_hash, whole.weights_hash);
    ck_assert_str_eq(r.pairs.data_hash, whole.pairs.data_hash);
    ck_assert_int_eq(r.training.steps, whole.training.steps);
    ck_assert(same(r.gate.recall_at_10.low, whole.gate.recall_at_10.low));
}
END_TEST

START_TEST(pairs_are_not_drawn_anew)
{
    struct train_job_report r;
    fill(ITEMS, true);
    f.stop_after = 8; /* in training */
    ck_assert_err(train(&r, NULL), ERR_CANCELLED);
    char hash[RUN_LINE_MAX];
    (void)snprintf(hash, sizeof hash, "%s", f.names[1]);
    fill(ITEMS / 2, false); /* the collection changes meanwhile */
    f.stop_after = 0;
    r = trained();
    ck_assert_str_eq(r.pairs.data_hash, hash);
    ck_assert(r.training.resumed && r.gate.promote);
}
END_TEST

static void spoil(const char *name, const char *content)
{
    AUTO_FREE char *path = path_join(f.folder, name);
    ck_assert_ok(file_write_atomic(path, content, strlen(content), NULL));
}

static void drop(const char *name)
{
    AUTO_FREE char *path = path_join(f.folder, name);
    ck_assert_int_eq(unlink(path), 0);
}

START_TEST(what_is_not_whole_is_done_again)
{
    fill(ITEMS, true);
    struct train_job_report whole = trained();
    /* A model nobody noted: taken from the checkpoint once more. */
    drop("trained.txt");
    spoil("model/model.safetensors", "no weights");
    struct train_job_report r = trained();
    ck_assert_str_eq(r.weights_hash, whole.weights_hash);
    /* A checkpoint that is damaged: only time is lost. */
    drop("trained.txt");
    spoil("work/checkpoint", "no checkpoint");
    r = trained();
    ck_assert_str_eq(r.weights_hash, whole.weights_hash);
    ck_assert(!r.training.resumed);
    /* Half a note is none. */
    spoil("pairs.txt", "source fields\ntrain 10\n");
    spoil("train.tsv", "a\tb\n");
    r = trained();
    ck_assert_str_eq(r.weights_hash, whole.weights_hash);
    /* All there: nothing but judging. */
    f.n_lines = 0;
    r = trained();
    for (size_t i = 0; i < f.n_lines; i++)
        ck_assert_int_ne(f.lines[i].kind, LINE_PROGRESS);
    ck_assert_str_eq(r.weights_hash, whole.weights_hash);
    ck_assert_int_eq(r.training.steps, whole.training.steps);
}
END_TEST

/* Words of general sentences are learnt to mean others: with a gate that allows no fall the rate is halved, as
 * often as it may be. */
START_TEST(general_sentences_slow_it_down)
{
    static const char *const words[] = { "train", "dog", "water", "man", "woman", "children",
        "price", "house", "doctor", "car", "school", "rain", "company", "city", "bank", "film",
        "police", "teacher", "bread", "winter", "river", "team", "old", "new", "playing", "closed",
        "the" };
    enum { WORDS = sizeof words / sizeof *words };
    struct gate_options gate = GATE_OPTIONS_DEFAULTS;
    struct rng rng;
    rng_init(&rng, 3);
    ck_assert_ok(config_set(&f.cfg, "models", "models", NULL));
    make_collection("english", MODALITY_TEXT, "text-small");
    f.name = "english";
    ck_assert_ok(catalog_begin(f.catalog, NULL));
    for (size_t i = 0; i < ITEMS; i++) {
        char text[64], query[64];
        size_t w[4];
        for (size_t k = 0; k < 4; k++)
            w[k] = rng_below(&rng, WORDS);
        (void)snprintf(
            query, sizeof query, "%s %s %s %s", words[w[0]], words[w[1]], words[w[2]], words[w[3]]);
        for (size_t k = 0; k < 4; k++)
            w[k] = (w[k] + 11) % WORDS;
        (void)snprintf(
            text, sizeof text, "%s %s %s %s.", words[w[0]], words[w[1]], words[w[2]], words[w[3]]);
        put(i, text, query);
    }
    ck_assert_ok(catalog_commit(f.catalog, NULL));
    gate.anchor_fall_max = 2; /* more than there is to lose */
    f.gate = &gate;
    struct train_job_report fast = trained();
    ck_assert(same(metric("train.halvings"), 0));
    ck_assert_msg(fast.gate.anchor_after < fast.gate.anchor_before - 0.02, "%s", fast.gate.why);
    double before = fast.gate.anchor_before;
    size_t lines = f.n_lines;

    gate.anchor_fall_max = 0;
    tmpdir_file(&f.dir, "slow", f.folder);
    struct train_job_report slow = trained();
    double halvings = metric("train.halvings");
    ck_assert(halvings >= 1 && halvings <= 3);
    ck_assert(slow.gate.anchor_after > fast.gate.anchor_after);
    ck_assert(slow.gate.vetoed == (slow.gate.anchor_after < before));
    ck_assert_uint_gt(f.n_lines, lines); /* of all attempts, */
    int64_t step = 0;
    for (size_t i = 0; i < f.n_lines; i++) {
        if (f.lines[i].kind != LINE_PROGRESS) continue;
        ck_assert_int_gt(f.lines[i].step, step); /* one after the other */
        step = f.lines[i].step;
    }
    ck_assert_int_eq(step, (int64_t)(halvings + 1) * slow.training.steps);
    /* Cut anywhere it ends the same. */
    size_t n = f.n_lines;
    tmpdir_file(&f.dir, "cut", f.folder);
    for (f.stop_after = 6; f.stop_after < n; f.stop_after += 17)
        if (train(&fast, NULL) != ERR_OK) ck_assert(f.stop != 0);
    f.stop_after = 0;
    ck_assert_str_eq(trained().weights_hash, slow.weights_hash);
    ck_assert(same(metric("train.halvings"), halvings));
}
END_TEST

/* ---- the process ---- */

struct heard {
    int status;
    size_t n_progress;
    bool decision, promote, error, end;
    enum err_code code;
    double test, before, floor; /* before.general, gate.general_floor */
    char text[RUN_LINE_MAX];
};

static void hear_line(struct heard *h, struct str text)
{
    struct run_line line;
    ck_assert_ok(run_line_parse(text, &line, NULL));
    ck_assert(!h->end);
    if (line.kind == LINE_PROGRESS) h->n_progress++;
    if (line.kind == LINE_METRIC && str_is(line.name, "gate.test")) h->test = line.value;
    if (line.kind == LINE_METRIC && str_is(line.name, "before.general")) h->before = line.value;
    if (line.kind == LINE_METRIC && str_is(line.name, "gate.general_floor")) h->floor = line.value;
    if (line.kind == LINE_END) h->end = true;
    if (line.kind == LINE_DECISION) {
        h->decision = true;
        h->promote = line.promote;
    }
    if (line.kind == LINE_ERROR) {
        h->error = true;
        h->code = line.code;
        (void)snprintf(h->text, sizeof h->text, "%.*s", STR_ARG(line.text));
    }
}

/* Run it as a process; after `lines` lines (0: never) send it `signal_number`, or, 0, stop listening. */
static struct heard process(int64_t run, size_t lines, int signal_number)
{
    struct heard h = { .status = -1 };
    int fds[2], status;
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        (void)dup2(fds[1], STDOUT_FILENO);
        close(fds[1]);
        _exit(train_job_process(&f.cfg, run));
    }
    ck_assert_int_gt(pid, 0);
    close(fds[1]);
    FILE *in = fdopen(fds[0], "r");
    char text[RUN_LINE_MAX + 2];
    for (size_t n = 1; fgets(text, sizeof text, in); n++) {
        hear_line(&h, str_from(text));
        if (n != lines) continue;
        if (!signal_number) break;
        ck_assert_int_eq(kill(pid, signal_number), 0);
    }
    (void)fclose(in);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    h.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return h;
}

static void ask_run(int64_t from_version)
{
    struct err e = ERR_INIT;
    f.run.collection_id = f.col.id;
    f.run.collection = f.col.name;
    f.run.from_version = from_version;
    f.run.status = RUN_QUEUED;
    ck_assert_ok(catalog_run_create(f.catalog, &f.run, &e), &e);
    AUTO_FREE char *folder = run_path(f.cfg.data, f.run.id, "");
    ck_assert_ok(dir_make(folder, &e), &e); /* as the server does */
}

START_TEST(a_process_survives_what_may_come)
{
    fill(ITEMS, true);
    ask_run(1);
    /* The catalog stays open here, as a server's does. */
    struct heard h = process(f.run.id, 8, SIGKILL);
    ck_assert_int_eq(h.status, -SIGKILL);
    h = process(f.run.id, 8, SIGTERM);
    ck_assert_int_eq(h.status, RUN_EXIT_RESUMABLE);
    ck_assert(!h.end && !h.error);
    h = process(f.run.id, 8, 0);
    ck_assert_int_eq(h.status, RUN_EXIT_RESUMABLE);
    h = process(f.run.id, 0, 0);
    ck_assert_int_eq(h.status, 0);
    ck_assert(h.end && h.decision && h.promote && !h.error);
    ck_assert(same(h.test, 1));
    /* By hand it comes out the same. */
    struct train_job_report r = trained();
    size_t n, n_run;
    AUTO_FREE char *weights = read_text("model/model.safetensors", &n);
    AUTO_FREE char *path = run_path(f.cfg.data, f.run.id, "model/model.safetensors");
    char *of_run = NULL;
    ck_assert_ok(file_read(path, 1 << 26, &of_run, &n_run, NULL));
    ck_assert_mem_eq(weights, of_run, n);
    mem_free(of_run);
    ck_assert(r.gate.promote);
}
END_TEST

START_TEST(a_process_says_why_it_failed)
{
    struct heard h = process(99, 0, 0); /* no folder */
    ck_assert_int_eq(h.status, 1);
    ck_assert(h.error && h.end && h.code == ERR_NOT_FOUND);
    AUTO_FREE char *folder = run_path(f.cfg.data, 99, "");
    ck_assert_ok(dir_make(folder, NULL));
    h = process(99, 0, 0); /* no run */
    ck_assert_int_eq(h.status, 1);
    ck_assert(h.error && h.end && h.code == ERR_NOT_FOUND);
    fill(20, true);
    ask_run(1);
    h = process(f.run.id, 0, 0);
    ck_assert_int_eq(h.status, 1);
    ck_assert(h.error && h.end && h.code == ERR_UNPROCESSABLE);
    /* Another process works in the folder. */
    AUTO_FREE char *lock = run_path(f.cfg.data, f.run.id, "lock");
    int fd;
    ck_assert_ok(file_lock(lock, &fd, NULL));
    h = process(f.run.id, 0, 0);
    ck_assert_int_eq(h.status, RUN_EXIT_RESUMABLE);
    ck_assert(!h.end);
    close(fd);
}
END_TEST

/* What it is at may take longer than anybody waits: here the opening of a pipe that nobody reads. */
START_TEST(a_process_ends_in_the_middle_of_a_step)
{
    fill(ITEMS, true);
    ask_run(1);
    AUTO_FREE char *path = run_path(f.cfg.data, f.run.id, "train.tsv.tmp");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    struct heard h = process(f.run.id, 1, SIGTERM);
    ck_assert_int_eq(h.status, -SIGALRM);
    ck_assert(!h.end && !h.error && h.n_progress == 0);
}
END_TEST

/* The next version starts from the last one's folder, and its test is stricter. */
START_TEST(a_version_begets_the_next)
{
    struct err e = ERR_INIT;
    fill(ITEMS, true);
    f.run.max_steps = 20;
    ask_run(1);
    struct heard one = process(f.run.id, 0, 0);
    ck_assert_int_eq(one.status, 0);
    struct catalog_version v = {
        .parent_version = 1, .run_id = f.run.id, .base_model = STR("tiny")
    };
    ck_assert_ok(catalog_version_create(f.catalog, &f.col, &v, &e), &e);
    const struct run_metric tested = { STR("gate.tested"), 1 };
    f.run.metrics = &tested;
    f.run.n_metrics = 1;
    f.run.status = RUN_SUCCEEDED;
    f.run.to_version = v.version;
    ck_assert_ok(catalog_run_update(f.catalog, &f.run, &e), &e);
    int64_t first = f.run.id;
    f.run = (struct catalog_run){ .kind = RUN_TRAIN,
        .objective = STR("auto"),
        .pairs_anchor = STR("metadata.q"),
        .pairs_positive = STR("text"),
        .seed = 1 };
    ask_run(v.version);
    struct heard h = process(f.run.id, 0, 0);
    ck_assert_int_eq(h.status, 0);
    ck_assert(h.decision && same(h.test, 2));
    ck_assert(h.floor < 1 && h.floor >= one.before - 0.02 - 1e-9);
    AUTO_FREE char *path = run_path(f.cfg.data, f.run.id, "model/README.md");
    char *card = NULL;
    size_t n;
    ck_assert_ok(file_read(path, 1 << 20, &card, &n, &e), &e);
    ck_assert_ptr_nonnull(strstr(card, "base_model: \"tiny@2\""));
    mem_free(card);
    /* Its folder gone, there is nothing to start from. */
    ck_assert_ok(run_folder_remove(f.cfg.data, first, &e), &e);
    ck_assert_ok(run_folder_remove(f.cfg.data, f.run.id, &e), &e);
    AUTO_FREE char *folder = run_path(f.cfg.data, f.run.id, "");
    ck_assert_ok(dir_make(folder, &e), &e);
    h = process(f.run.id, 0, 0);
    ck_assert_int_eq(h.status, 1);
    ck_assert(h.error && h.code == ERR_NOT_FOUND);
}
END_TEST

TEST_SUITE(train_job)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 300); /* the process has the lowest priority there is */
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, learns_judges_and_says_so);
    tcase_add_test(tc, figures_are_those_of_eval);
    tcase_add_test(tc, pairs_without_meaning_are_rejected);
    tcase_add_test(tc, options_follow_the_request);
    tcase_add_test(tc, what_cannot_be_learnt);
    tcase_add_test(tc, stopped_anywhere_it_ends_the_same);
    tcase_add_test(tc, pairs_are_not_drawn_anew);
    tcase_add_test(tc, what_is_not_whole_is_done_again);
    tcase_add_test(tc, general_sentences_slow_it_down);
    if (test_forks()) {
        tcase_add_test(tc, a_process_survives_what_may_come);
        tcase_add_test(tc, a_process_says_why_it_failed);
        tcase_add_test(tc, a_process_ends_in_the_middle_of_a_step);
        tcase_add_test(tc, a_version_begets_the_next);
    }
    suite_add_tcase(s, tc);
}
