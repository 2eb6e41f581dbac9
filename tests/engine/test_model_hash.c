#include "engine/model_hash.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "engine/hash.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Weights are bytes here: hashing opens nothing but the index and modules.json. */

static struct tmpdir dir;
/* b2sum -l 256 of "abc". */
static const char ABC[] = "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319";

static void set_up(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(hash_start(&e), &e);
    tmpdir_make(&dir);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

static void put(const char *file, const char *text)
{
    char path[TMPDIR_PATH_BYTES];
    struct err e = ERR_INIT;
    ck_assert_ok(file_write_atomic(tmpdir_file(&dir, file, path), text, strlen(text), &e), &e);
}

static void make_folder(const char *name)
{
    char path[TMPDIR_PATH_BYTES];
    ck_assert_ok(dir_make(tmpdir_file(&dir, name, path), NULL));
}

static void set_time(const char *file, int64_t seconds)
{
    char path[TMPDIR_PATH_BYTES];
    const struct timespec times[2] = { { .tv_sec = seconds }, { .tv_sec = seconds } };
    ck_assert_int_eq(utimensat(-1, tmpdir_file(&dir, file, path), times, 0), 0);
}

static void hash_now(char ret[MODEL_HASH_CHARS + 1])
{
    struct err e = ERR_INIT;
    ck_assert_ok(model_hash(dir.path, ret, &e), &e);
    ck_assert_uint_eq(strlen(ret), MODEL_HASH_CHARS);
}

static void write_shards(const char *first, const char *second)
{
    put("x-1.safetensors", first);
    put("x-2.safetensors", second);
    put("model.safetensors.index.json",
        "{\"weight_map\":{\"b\":\"x-2.safetensors\",\"a\":\"x-1.safetensors\"}}");
}

static const char adapter[] =
    "[{\"path\":\"\",\"type\":\"x.Transformer\"},{\"path\":\"1_Pooling\",\"type\":\"x.Pooling\"},"
    "{\"path\":\"2_Dense\",\"type\":\"x.Dense\"}]";

/* Catalogs hold this hash since before there were models of several files. */
START_TEST(one_file_has_its_own)
{
    char hash[MODEL_HASH_CHARS + 1];
    put("model.safetensors", "abc");
    hash_now(hash);
    ck_assert_str_eq(hash, ABC);
    make_folder("1_Pooling"); /* a module without weights */
    put("modules.json",
        "[{\"path\":\"\",\"type\":\"x.Transformer\"},{\"path\":\"1_Pooling\",\"type\":\"x."
        "Pooling\"}]");
    hash_now(hash);
    ck_assert_str_eq(hash, ABC);
    put("modules.json", "[{\"path\":\"..\"}]"); /* of an architecture that does not read it */
    hash_now(hash);
    ck_assert_str_eq(hash, ABC);
    ck_assert_int_gt(model_written_ms(dir.path), 0);
}
END_TEST

START_TEST(several_files)
{
    char hash[MODEL_HASH_CHARS + 1], other[MODEL_HASH_CHARS + 1];
    unsigned char one[CATALOG_HASH_BYTES], want[CATALOG_HASH_BYTES];
    struct buf all = BUF_INIT(0);
    write_shards("first", "second");
    hash_now(hash);
    hash_content("first", 5, one);
    buf_append(&all, "x-1.safetensors", sizeof "x-1.safetensors");
    buf_append(&all, one, sizeof one);
    hash_content("second", 6, one);
    buf_append(&all, "x-2.safetensors", sizeof "x-2.safetensors");
    buf_append(&all, one, sizeof one);
    hash_content(all.p, all.n, want);
    buf_done(&all);
    for (size_t i = 0; i < sizeof want; i++) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", want[i]);
        ck_assert_int_eq(memcmp(hash + 2 * i, hex, 2), 0);
    }
    write_shards("first", "2nd");
    hash_now(other);
    ck_assert_str_ne(hash, other);
    write_shards("second", "first");
    hash_now(other);
    ck_assert_str_ne(hash, other);
    set_time("x-1.safetensors", 2000);
    set_time("x-2.safetensors", 1000);
    ck_assert_int_eq(model_written_ms(dir.path), 2000000);
}
END_TEST

static const char bert[] = "{\"model_type\":\"bert\"}";

/* They share their parent's model.safetensors byte for byte. */
START_TEST(adapters_of_one_parent)
{
    char first[MODEL_HASH_CHARS + 1], second[MODEL_HASH_CHARS + 1];
    put("config.json", bert);
    put("model.safetensors", "abc");
    make_folder("2_Dense");
    put("modules.json", adapter);
    put("2_Dense/model.safetensors", "one");
    hash_now(first);
    ck_assert_str_ne(first, ABC);
    put("2_Dense/model.safetensors", "two");
    hash_now(second);
    ck_assert_str_ne(first, second);
    put("2_Dense/model.safetensors", "one");
    hash_now(second);
    ck_assert_str_eq(first, second);
}
END_TEST

/* Of a static encoder nothing else counts, as it was from the start; prompts do. */
START_TEST(a_static_model_is_its_weights)
{
    static const char prompts[] = "{\"prompts\":{\"query\":\"%s\",\"document\":\"\"}}";
    char hash[MODEL_HASH_CHARS + 1], text[128];
    put("model.safetensors", "abc");
    put("config.json", "{\"model_type\":\"static\"}");
    make_folder("2_Dense");
    put("modules.json", adapter);
    put("2_Dense/model.safetensors", "one");
    put("2_Dense/config.json", "{}");
    put("tokenizer.json", "{}");
    (void)snprintf(text, sizeof text, prompts, "");
    put("config_sentence_transformers.json", text);
    hash_now(hash);
    ck_assert_str_eq(hash, ABC);
    (void)snprintf(text, sizeof text, prompts, "search: ");
    put("config_sentence_transformers.json", text);
    hash_now(hash);
    ck_assert_str_ne(hash, ABC);
}
END_TEST

/* Each file that decides vectors, changed by a byte, makes another model; others do not. */
START_TEST(settings_count)
{
    static const char *const files[] = { "modules.json", "sentence_bert_config.json",
        "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
        "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors",
        "config.json" };
    enum { N = sizeof files / sizeof *files };
    char hashes[N + 2][MODEL_HASH_CHARS + 1];
    put("model.safetensors", "abc");
    put("config.json", bert);
    put("modules.json", adapter);
    make_folder("1_Pooling");
    make_folder("2_Dense");
    put("2_Dense/model.safetensors", "one");
    put("README.md", "one");
    hash_now(hashes[0]);
    put("README.md", "two");
    put("2_Dense/README.md", "two");
    hash_now(hashes[1]);
    ck_assert_str_eq(hashes[0], hashes[1]);
    for (size_t i = 0; i < N; i++) {
        const char *now = strcmp(files[i], "config.json") == 0
            ? "{\"model_type\":\"bert\",\"layer_norm_eps\":1e-6}"
            : "{} ";
        if (strcmp(files[i], "modules.json") == 0)
            put(files[i], "[{\"path\":\"\"}, {\"path\":\"1_Pooling\"},{\"path\":\"2_Dense\"}]");
        else
            put(files[i], now);
        hash_now(hashes[i + 2]);
        for (size_t k = 1; k < i + 2; k++)
            ck_assert_msg(strcmp(hashes[k], hashes[i + 2]) != 0, "%s does not count", files[i]);
    }
}
END_TEST

START_TEST(nothing_there)
{
    char hash[MODEL_HASH_CHARS + 1] = "";
    struct err e = ERR_INIT;
    ck_assert_err(model_hash(dir.path, hash, &e), ERR_NOT_FOUND);
    ck_assert_int_eq(model_written_ms(dir.path), 0);
    put("pytorch_model.bin", "x");
    ck_assert_err(model_hash(dir.path, hash, &e), ERR_UNPROCESSABLE);
    write_shards("a", "b");
    put("model.safetensors.index.json",
        "{\"weight_map\":{\"b\":\"x-3.safetensors\",\"a\":\"x-1.safetensors\"}}");
    ck_assert_err(model_hash(dir.path, hash, &e), ERR_NOT_FOUND);
    ck_assert_str_eq(hash, "");
}
END_TEST

TEST_SUITE(model_hash)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, one_file_has_its_own);
    tcase_add_test(tc, several_files);
    tcase_add_test(tc, adapters_of_one_parent);
    tcase_add_test(tc, a_static_model_is_its_weights);
    tcase_add_test(tc, settings_count);
    tcase_add_test(tc, nothing_there);
    suite_add_tcase(s, tc);
}
