/* Of engine/model_store.c, model_store_files.c, model_store_stage.c, model_store_verify.c and model_store_add.c:
 * engine/model_store_files.c engine/model_store_stage.c engine/model_store_verify.c engine/model_store_add.c */
#include "engine/model_store_internal.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tmpdir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct tmpdir dir;
static struct config cfg;
static char models[TMPDIR_PATH_BYTES], source[TMPDIR_PATH_BYTES];
static const struct vec_kernels *k;
static struct err e;

static void setup(void)
{
    char data[TMPDIR_PATH_BYTES];
    e = ERR_INIT;
    k = vec_select(VEC_BEST);
    tmpdir_make(&dir);
    ck_assert_ok(config_init(&cfg, &e), &e);
    ck_assert_ok(config_set(&cfg, "models", tmpdir_file(&dir, "models", models), &e), &e);
    ck_assert_ok(config_set(&cfg, "data", tmpdir_file(&dir, "data", data), &e), &e);
    tmpdir_file(&dir, "source", source);
    ck_assert_ok(dir_make(source, &e), &e);
    tiny_model_write(source, "tiny", 16, 1);
    tmpdir_file(&dir, "source/tiny", source);
}

static void teardown(void)
{
    config_done(&cfg);
    tmpdir_remove(&dir);
}

static void write_file(const char *path, const char *text)
{
    char full[TMPDIR_PATH_BYTES];
    tmpdir_file(&dir, path, full);
    ck_assert_ok(file_write_atomic(full, text, strlen(text), &e), &e);
}

static bool is_there(const char *path)
{
    char full[TMPDIR_PATH_BYTES];
    struct stat st;
    return lstat(tmpdir_file(&dir, path, full), &st) == 0;
}

static enum err_code add(const struct model_add *o)
{
    char name[MODEL_NAME_MAX + 1];
    struct model_add with = *o;
    if (!with.from) with.from = source;
    with.models = models;
    with.kernels = k;
    return model_add(&with, name, &e);
}

static enum err_code verify(const char *name, bool *summed)
{
    AUTO_FREE char *path = path_join(models, name);
    return model_verify(path, k, summed, &e);
}

/* ---- names ---- */

START_TEST(names_are_checked)
{
    static const char *const good[] = { "a", "all-MiniLM-L6-v2", "A_b.1" };
    static const char *const bad[] = { "", ".a", "a/b", "a b", "..", "é", "a@1",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        ck_assert_ok(model_name_check(good[i], &e), &e);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_err(model_name_check(bad[i], &e), ERR_INVALID);
}
END_TEST

START_TEST(wanted_files)
{
    static const char *const wanted[] = { "config.json", "modules.json", "vocab.txt", "LICENSE",
        "model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json",
        "1_Pooling/config.json", "2_Dense/model.safetensors", "0_StaticEmbedding/tokenizer.json" };
    static const char *const others[] = { "pytorch_model.bin", "2_Dense/pytorch_model.bin",
        "training_args.bin", "modeling_x.py", "onnx/model.onnx", "onnx/config.json",
        "openvino/model.safetensors", "../config.json", "1_Pooling/../config.json", "/config.json",
        "1_Pooling/../../x.safetensors", "1_Pooling//config.json", "1_Pooling/a/config.json",
        ".safetensors", ".hidden.safetensors", "a b.safetensors", "README.md", "", "/",
        "1_/config.json", "1_.../config.json" };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        ck_assert_msg(model_file_is_wanted(wanted[i]), "%s", wanted[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert_msg(!model_file_is_wanted(others[i]), "%s", others[i]);
}
END_TEST

/* ---- list ---- */

START_TEST(folders_in_their_order)
{
    AUTO(model_folders_done) struct model_folders f = { .n = 0 };
    char data[TMPDIR_PATH_BYTES];
    ck_assert_ok(model_folders_find(&cfg, &f, &e), &e);
    ck_assert_str_eq(f.paths[0], models);
    ck_assert_str_eq(f.paths[1], tmpdir_file(&dir, "data/models", data));
    model_folders_done(&f);
    ck_assert_ok(config_set(&cfg, "models", "", &e), &e);
    ck_assert_ok(model_folders_find(&cfg, &f, &e), &e);
    ck_assert_str_eq(f.paths[0], data);
}
END_TEST

START_TEST(a_list_says_what_is_hidden_and_broken)
{
    AUTO(model_list_done) struct model_list l = { .n = 0 };
    char data[TMPDIR_PATH_BYTES], path[TMPDIR_PATH_BYTES];
    tmpdir_file(&dir, "data/models", data);
    tiny_model_write(models, "alpha", 16, 1);
    tiny_model_write(data, "alpha", 24, 2);
    tiny_model_write(data, "beta", 24, 2);
    ck_assert_ok(dir_make(tmpdir_file(&dir, "models/hurt", path), &e), &e);
    write_file("models/hurt/config.json", "{");
    tiny_model_write(data, "hurt", 24, 2);
    ck_assert_ok(model_list_read(&cfg, k, &l, &e), &e);
    ck_assert_uint_ge(l.n, 5); /* what is installed on the machine counts, too */
    static const struct {
        const char *name;
        bool hidden, broken;
        size_t folder, dimensions;
    } want[] = { { "alpha", false, false, 0, 16 }, { "hurt", false, true, 0, 0 },
        { "alpha", true, false, 1, 24 }, { "beta", false, false, 1, 24 },
        { "hurt", true, false, 1, 24 } };
    for (size_t i = 0; i < 5; i++) {
        ck_assert_str_eq(l.rows[i].name, want[i].name);
        ck_assert_int_eq(l.rows[i].hidden, want[i].hidden);
        ck_assert_int_eq(l.rows[i].broken, want[i].broken);
        ck_assert_uint_eq(l.rows[i].folder, want[i].folder);
        ck_assert_uint_eq(l.rows[i].info.dimensions, want[i].dimensions);
    }
    ck_assert_uint_gt(l.rows[0].bytes, 1000);
    ck_assert_str_ne(l.rows[1].why.msg, "");
    ck_assert_uint_eq(model_list_find(&l, "alpha")->info.dimensions, 16);
    ck_assert(model_list_find(&l, "hurt")->broken);
    ck_assert_ptr_null(model_list_find(&l, "none"));
}
END_TEST

/* ---- add ---- */

START_TEST(copies_what_a_model_needs)
{
    char path[TMPDIR_PATH_BYTES];
    bool summed = false;
    struct model_note note;
    ck_assert_ok(dir_make(tmpdir_file(&dir, "source/tiny/1_Pooling", path), &e), &e);
    write_file("source/tiny/1_Pooling/config.json", "{}");
    write_file("source/tiny/pytorch_model.bin", "pickle");
    write_file("source/tiny/code.py", "import os");
    write_file("source/tiny/README.md", "# A model");
    write_file("source/tiny/.hidden", "x");
    ck_assert_ok(add(&(struct model_add){ .name = NULL }), &e);
    ck_assert(is_there("models/tiny/model.safetensors"));
    ck_assert(is_there("models/tiny/1_Pooling/config.json"));
    ck_assert(is_there("models/tiny/README.md"));
    ck_assert(is_there("models/tiny/SHA256SUMS"));
    ck_assert(!is_there("models/tiny/pytorch_model.bin"));
    ck_assert(!is_there("models/tiny/code.py"));
    ck_assert(!is_there("models/tiny/.hidden"));
    ck_assert_ok(verify("tiny", &summed), &e);
    ck_assert(summed);
    ck_assert_ok(model_note_read(tmpdir_file(&dir, "models/tiny", path), &note, &e), &e);
    ck_assert_msg(strstr(note.source, "source/tiny") != NULL, "%s", note.source);
}
END_TEST

static void expect_no_stage(void)
{
    struct dirent *entry;
    DIR *d = opendir(models);
    ck_assert_ptr_nonnull(d);
    while ((entry = readdir(d)) != NULL)
        ck_assert_msg(!strstr(entry->d_name, ".tmp-"), "%s", entry->d_name);
    closedir(d);
}

START_TEST(a_name_is_taken_once)
{
    ck_assert_ok(add(&(struct model_add){ .name = NULL }), &e);
    ck_assert_err(add(&(struct model_add){ .name = NULL }), ERR_CONFLICT);
    ck_assert_ok(add(&(struct model_add){ .name = "other" }), &e);
    ck_assert_err(add(&(struct model_add){ .name = "../other" }), ERR_INVALID);
    /* config.json says "tiny", and a server goes by that. */
    AUTO(model_list_done) struct model_list l = { .n = 0 };
    ck_assert_ok(model_list_read(&cfg, k, &l, &e), &e);
    ck_assert_ptr_nonnull(model_list_find(&l, "other"));
    ck_assert(!model_list_find(&l, "other")->hidden);
    expect_no_stage();
}
END_TEST

START_TEST(a_model_is_replaced)
{
    char from[TMPDIR_PATH_BYTES];
    struct encoder_info info;
    AUTO_FREE char *path = path_join(models, "tiny");
    ck_assert_ok(add(&(struct model_add){ .replace = true }), &e); /* of nothing */
    tmpdir_file(&dir, "second", from);
    tiny_model_write(from, "tiny", 24, 2);
    tmpdir_file(&dir, "second/tiny", from);
    ck_assert_ok(add(&(struct model_add){ .from = from, .replace = true }), &e);
    ck_assert_ok(model_try(path, k, &info, &e), &e);
    ck_assert_uint_eq(info.dimensions, 24);
    AUTO(model_files_done) struct model_files files = { .n = 0 };
    ck_assert_ok(model_files_read(models, false, &files, &e), &e);
    for (size_t i = 0; i < files.n; i++) /* nothing of the old one is left beside it */
        ck_assert_msg(strncmp(files.rows[i].path, "tiny/", 5) == 0, "%s", files.rows[i].path);
}
END_TEST

/* As where the file system cannot swap two names. */
START_TEST(a_swap_in_steps_loses_nothing)
{
    char new[TMPDIR_PATH_BYTES], place[TMPDIR_PATH_BYTES], name[64], path[TMPDIR_PATH_BYTES];
    tiny_model_write(models, "tiny", 16, 1);
    tmpdir_file(&dir, "models/tiny", place);
    tmpdir_file(&dir, "models/.tiny.new", new);
    (void)snprintf(name, sizeof name, "models/.tiny.old-%ld", (long)getpid());
    ck_assert_ok(dir_make(tmpdir_file(&dir, name, path), &e), &e); /* left by an earlier one */
    write_file("models/tiny/old.txt", "old");
    ck_assert_err(model__swap_in_steps(new, place, &e), ERR_IO); /* there is no new one */
    ck_assert(is_there("models/tiny/old.txt"));
    ck_assert(!is_there(name));
    ck_assert_ok(dir_make(new, &e), &e);
    write_file("models/.tiny.new/new.txt", "new");
    ck_assert_ok(model__swap_in_steps(new, place, &e), &e);
    ck_assert(is_there("models/tiny/new.txt"));
    ck_assert(!is_there("models/tiny/old.txt"));
    ck_assert(!is_there("models/.tiny.new"));
    ck_assert(!is_there(name));
}
END_TEST

START_TEST(prompts_go_with_the_copy)
{
    struct encoder_info info;
    AUTO_FREE char *path = path_join(models, "tiny");
    write_file("source/tiny/config_sentence_transformers.json",
        "{\"prompts\": {\"passage\": \"p: \", \"other\": \"o: \"}, \"similarity_fn_name\": "
        "\"cosine\"}");
    ck_assert_ok(add(&(struct model_add){ .query_prompt = "query: ", .document_prompt = "" }), &e);
    ck_assert_ok(model_try(path, k, &info, &e), &e);
    ck_assert_str_eq(info.prompts[ENCODE_QUERY], "query: ");
    ck_assert_str_eq(info.prompts[ENCODE_DOCUMENT], "");
    AUTO_FREE char *file = path_join(path, "config_sentence_transformers.json");
    AUTO_FREE char *text = NULL;
    size_t n;
    ck_assert_ok(file_read(file, 4096, &text, &n, &e), &e);
    ck_assert_ptr_nonnull(strstr(text, "\"similarity_fn_name\": \"cosine\""));
    ck_assert_ptr_nonnull(strstr(text, "\"other\": \"o: \""));
    ck_assert_err(add(&(struct model_add){ .name = "bad", .query_prompt = "\xff" }), ERR_INVALID);
    ck_assert(!is_there("models/bad"));
}
END_TEST

START_TEST(what_does_not_load_is_not_added)
{
    write_file("source/tiny/config.json", "{\"model_type\": \"none\"}");
    ck_assert_err(add(&(struct model_add){ .name = NULL }), ERR_UNPROCESSABLE);
    ck_assert(!is_there("models"));
    ck_assert_err(add(&(struct model_add){ .from = "/nowhere/at/all" }), ERR_NOT_FOUND);
}
END_TEST

START_TEST(where_links_may_lead)
{
    static const char *const rows[][2] = { { "/a/models--b/snapshots/c", "/a/models--b" },
        { "/a/b", "/a/b" }, { "/a/snapshots", "/a/snapshots" }, { "/snapshots/c", "/snapshots/c" },
        { "/a/xsnapshots/c", "/a/xsnapshots/c" }, { "/a", "/a" }, { "/", "/" } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "%s", rows[i][0]);
        model__cut_snapshot(path);
        ck_assert_str_eq(path, rows[i][1]);
    }
}
END_TEST

START_TEST(links_stay_inside)
{
    char from[TMPDIR_PATH_BYTES], to[TMPDIR_PATH_BYTES];
    ck_assert_int_eq(symlink("vocab.txt", tmpdir_file(&dir, "source/tiny/LICENSE", to)), 0);
    ck_assert_ok(add(&(struct model_add){ .name = "inside" }), &e);
    ck_assert_int_eq(unlink(to), 0);
    ck_assert_int_eq(symlink("/etc/hostname", to), 0);
    ck_assert_err(add(&(struct model_add){ .name = "outside" }), ERR_CORRUPT);
    ck_assert_msg(strstr(e.msg, "LICENSE") != NULL, "%s", e.msg);
    ck_assert(!is_there("models/outside"));

    /* A snapshot of a download cache is made of links to its blobs. */
    ck_assert_ok(dir_make(tmpdir_file(&dir, "models--a--b/snapshots/c0", from), &e), &e);
    ck_assert_ok(dir_make(tmpdir_file(&dir, "models--a--b/blobs", to), &e), &e);
    static const char *const names[] = { "config.json", "vocab.txt", "model.safetensors" };
    for (size_t i = 0; i < 3; i++) {
        char old[TMPDIR_PATH_BYTES], blob[TMPDIR_PATH_BYTES], link[600], target[600];
        (void)snprintf(old, sizeof old, "%.200s/%s", source, names[i]);
        (void)snprintf(link, sizeof link, "models--a--b/blobs/%zu", i);
        ck_assert_int_eq(rename(old, tmpdir_file(&dir, link, blob)), 0);
        (void)snprintf(target, sizeof target, "../../blobs/%zu", i);
        (void)snprintf(link, sizeof link, "%s/%s", from, names[i]);
        ck_assert_int_eq(symlink(target, link), 0);
    }
    ck_assert_ok(add(&(struct model_add){ .from = from, .name = "cached" }), &e);
    bool summed;
    ck_assert_ok(verify("cached", &summed), &e);
}
END_TEST

static void make_folder(const char *name, time_t hours_ago)
{
    char path[TMPDIR_PATH_BYTES];
    const time_t when = time(NULL) - hours_ago * 3600;
    const struct timespec times[2] = { { .tv_sec = when }, { .tv_sec = when } };
    ck_assert_ok(dir_make(tmpdir_file(&dir, name, path), &e), &e);
    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

START_TEST(what_a_dead_process_left_is_removed)
{
    char dead[64], new[64], own[64];
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    (void)snprintf(dead, sizeof dead, "models/.tiny.tmp-%ld-aaaaaa", (long)pid);
    (void)snprintf(new, sizeof new, "models/.tiny.tmp-%ld-bbbbbb", (long)pid);
    (void)snprintf(own, sizeof own, "models/.tiny.tmp-%ld-cccccc", (long)getpid());
    make_folder(dead, 25);
    make_folder(new, 23);                         /* may be of another container's process */
    make_folder(own, 25);                         /* of one that had this number earlier */
    make_folder("models/.tiny.tmp-1-aaaaaa", 25); /* lives */
    ck_assert_ok(add(&(struct model_add){ .name = NULL }), &e);
    ck_assert(!is_there(dead));
    ck_assert(!is_there(own));
    ck_assert(is_there(new));
    ck_assert(is_there("models/.tiny.tmp-1-aaaaaa"));
}
END_TEST

/* ---- verify ---- */

static void change(const char *path, long at)
{
    char full[TMPDIR_PATH_BYTES];
    FILE *f = fopen(tmpdir_file(&dir, path, full), "r+be");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, at, SEEK_END), 0);
    int c = fgetc(f);
    ck_assert_int_eq(fseek(f, at, SEEK_END), 0);
    ck_assert_int_ne(fputc(c ^ 1, f), EOF);
    ck_assert_int_eq(fclose(f), 0);
}

START_TEST(a_change_is_found)
{
    static const char *const files[] = { "model.safetensors", "vocab.txt", "config.json" };
    char path[TMPDIR_PATH_BYTES];
    bool summed = false;
    ck_assert_ok(add(&(struct model_add){ .name = NULL }), &e);
    (void)snprintf(path, sizeof path, "models/tiny/%s", files[_i]);
    change(path, -2);
    ck_assert_err(verify("tiny", &summed), ERR_CORRUPT);
    ck_assert_msg(strstr(e.msg, files[_i]) != NULL, "%s", e.msg);
    change(path, -2);
    ck_assert_ok(verify("tiny", &summed), &e);
}
END_TEST

START_TEST(files_that_come_and_go_are_found)
{
    char path[TMPDIR_PATH_BYTES];
    bool summed = false;
    ck_assert_ok(add(&(struct model_add){ .name = NULL }), &e);
    write_file("models/tiny/modules.json", "[]");
    ck_assert_err(verify("tiny", &summed), ERR_CORRUPT);
    ck_assert_msg(strstr(e.msg, "modules.json") != NULL, "%s", e.msg);
    ck_assert_int_eq(unlink(tmpdir_file(&dir, "models/tiny/modules.json", path)), 0);
    write_file("models/tiny/notes.txt", "mine"); /* no part of the model */
    ck_assert_ok(verify("tiny", &summed), &e);
    ck_assert_int_eq(unlink(tmpdir_file(&dir, "models/tiny/vocab.txt", path)), 0);
    ck_assert_err(verify("tiny", &summed), ERR_CORRUPT);
    ck_assert_msg(strstr(e.msg, "vocab.txt") != NULL, "%s", e.msg);
}
END_TEST

START_TEST(without_sums_it_is_tried)
{
    bool summed = true;
    tiny_model_write(models, "plain", 16, 1);
    ck_assert_ok(verify("plain", &summed), &e);
    ck_assert(!summed);
    write_file("models/plain/SHA256SUMS", "nonsense\n");
    ck_assert_err(verify("plain", &summed), ERR_CORRUPT);
    ck_assert_err(verify("nothing", &summed), ERR_NOT_FOUND);
}
END_TEST

START_TEST(notes_are_kept)
{
    char path[TMPDIR_PATH_BYTES];
    struct model_note note;
    tmpdir_file(&dir, "source/tiny", path);
    ck_assert_ok(model_note_read(path, &note, &e), &e);
    ck_assert_str_eq(note.source, "");
    ck_assert_str_eq(note.licence, "");
    write_file("source/tiny/source.json",
        "{\"source\": \"somewhere\", \"version\": \"7\", \"license\": \"mit\"}");
    ck_assert_ok(add(&(struct model_add){ .name = NULL }), &e);
    ck_assert_ok(model_note_read(tmpdir_file(&dir, "models/tiny", path), &note, &e), &e);
    ck_assert_str_eq(note.source, "somewhere"); /* a copy comes from where the original came from */
    ck_assert_str_eq(note.version, "7");
    ck_assert_str_eq(note.licence, "mit");
}
END_TEST

TEST_SUITE(model_store)
{
    TCase *tc = tcase_create("store");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, names_are_checked);
    tcase_add_test(tc, wanted_files);
    tcase_add_test(tc, folders_in_their_order);
    tcase_add_test(tc, a_list_says_what_is_hidden_and_broken);
    tcase_add_test(tc, copies_what_a_model_needs);
    tcase_add_test(tc, a_name_is_taken_once);
    tcase_add_test(tc, a_model_is_replaced);
    tcase_add_test(tc, a_swap_in_steps_loses_nothing);
    tcase_add_test(tc, prompts_go_with_the_copy);
    tcase_add_test(tc, what_does_not_load_is_not_added);
    tcase_add_test(tc, where_links_may_lead);
    tcase_add_test(tc, links_stay_inside);
    tcase_add_test(tc, what_a_dead_process_left_is_removed);
    tcase_add_loop_test(tc, a_change_is_found, 0, 3);
    tcase_add_test(tc, files_that_come_and_go_are_found);
    tcase_add_test(tc, without_sums_it_is_tried);
    tcase_add_test(tc, notes_are_kept);
    suite_add_tcase(s, tc);
}
