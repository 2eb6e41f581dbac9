#include "core/model/weights.h"

#include "base/fileio.h"
#include "tests/core/model_fixture.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct tmpdir dir;
static const float VALUES[6] = { 1, -2, 0.5F, 4, 8, -0.25F };
static const struct safetensor_out A = { "a", DTYPE_F32, 2, { 2, 3 }, VALUES },
                                   B = { "b", DTYPE_F32, 1, { 4 }, VALUES + 2 };

static void put(const char *file, const struct safetensor_out *t, size_t n)
{
    char path[TMPDIR_PATH_BYTES];
    struct err e = ERR_INIT;
    ck_assert_ok(safetensors_write(tmpdir_file(&dir, file, path), t, n, &e), &e);
}

static void make_folder(const char *name)
{
    char path[TMPDIR_PATH_BYTES];
    ck_assert_ok(dir_make(tmpdir_file(&dir, name, path), NULL));
}

static void write_shards(void)
{
    put("x-1.safetensors", &A, 1);
    put("x-2.safetensors", &B, 1);
    fixture_write(&dir, "model.safetensors.index.json",
        "{\"metadata\":{\"total_size\":40},"
        "\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-2.safetensors\"}}");
}

static void set_up(void)
{
    tmpdir_make(&dir);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

START_TEST(one_file)
{
    struct weights *w = NULL;
    struct err e = ERR_INIT;
    const struct safetensor_out both[] = { A, B };
    const char *file = NULL;
    put("model.safetensors", both, 2);
    fixture_write(&dir, "model.safetensors.index.json", "nonsense"); /* not looked at */
    ck_assert_ok(weights_open(dir.path, NULL, &w, &e), &e);
    ck_assert_uint_eq(weights_count(w), 2);
    ck_assert_ptr_nonnull(weights_find(w, "b", &file));
    ck_assert_str_eq(file, "model.safetensors");
    ck_assert_ptr_null(weights_find(w, "c", NULL));
    ck_assert_ptr_null(weights_at(w, 2, NULL));
    weights_close(w);
}
END_TEST

START_TEST(shards_are_one_set)
{
    struct weights *w = NULL;
    struct err e = ERR_INIT;
    const char *file = NULL;
    float got[4];
    write_shards();
    ck_assert_ok(weights_open(dir.path, NULL, &w, &e), &e);
    ck_assert_uint_eq(weights_count(w), 2);
    ck_assert(str_is(weights_at(w, 1, &file)->name, "b"));
    ck_assert_str_eq(file, "x-2.safetensors");
    ck_assert_ok(weights_read_f32(w, "b", (size_t[]){ 4 }, 1, got, &e), &e);
    ck_assert_mem_eq(got, VALUES + 2, sizeof got);
    weights_close(w);
}
END_TEST

static const struct {
    const char *index;
    enum err_code code;
    const char *mentions;
} INDEXES[] = {
    { "[]", ERR_CORRUPT, "object" },
    { "{}", ERR_CORRUPT, "weight_map" },
    { "{\"weight_map\":{}}", ERR_CORRUPT, "no file" },
    { "{\"weight_map\":{\"a\":7}}", ERR_CORRUPT, "string" },
    { "{\"weight_map\":{\"a\":\"../x-1.safetensors\"}}", ERR_CORRUPT, "name of a file" },
    { "{\"weight_map\":{\"a\":\"/x-1.safetensors\"}}", ERR_CORRUPT, "name of a file" },
    { "{\"weight_map\":{\"a\":\"..\"}}", ERR_CORRUPT, "name of a file" },
    { "{\"weight_map\":{\"a\":\"\"}}", ERR_CORRUPT, "name of a file" },
    { "{\"weight_map\":{\"a\":\"sub/x-1.safetensors\"}}", ERR_CORRUPT, "name of a file" },
    { "{\"weight_map\":{\"a\":\"y.safetensors\"}}", ERR_NOT_FOUND, "y.safetensors" },
    { "{\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-1.safetensors\"}}", ERR_CORRUPT,
        "2 tensors" },
    { "{\"weight_map\":{\"b\":\"x-1.safetensors\"}}", ERR_CORRUPT, "\"a\"" },
    { "{\"weight_map\":{\"a\":\"x-2.safetensors\",\"b\":\"x-1.safetensors\"}}", ERR_CORRUPT,
        "x-1.safetensors" },
    /* b is in x-2 as well, which the map knows of, and in x-3 */
    { "{\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-2.safetensors\","
      "\"c\":\"x-3.safetensors\"}}",
        ERR_CORRUPT, "x-3.safetensors" },
};
enum { N_INDEXES = sizeof INDEXES / sizeof *INDEXES };

START_TEST(bad_indexes)
{
    struct weights *w = NULL;
    struct err e = ERR_INIT;
    write_shards();
    put("x-3.safetensors", &B, 1);
    fixture_write(&dir, "model.safetensors.index.json", INDEXES[_i].index);
    enum err_code code = weights_open(dir.path, NULL, &w, &e);
    ck_assert_msg(code == INDEXES[_i].code && strstr(e.msg, INDEXES[_i].mentions), "%s: %s, %s",
        INDEXES[_i].index, err_name(code), e.msg);
    ck_assert_ptr_null(w);
}
END_TEST

/* A message names the index with the module's folder. */
START_TEST(a_module_s_index)
{
    static const struct {
        const char *index, *says;
    } rows[] = {
        { "{\"weight_map\":{\"a\":\"../x\"}}", "2_Dense/model.safetensors.index.json: \"../x\"" },
        { "{\"weight_map\":{\"b\":\"x-1.safetensors\"}}",
            "2_Dense/model.safetensors.index.json: tensor \"a\"" },
        { "{\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-1.safetensors\"}}",
            "2_Dense/model.safetensors.index.json names 2 tensors" },
    };
    struct weights *w = NULL;
    struct err e = ERR_INIT;
    make_folder("2_Dense");
    put("2_Dense/x-1.safetensors", &A, 1);
    put("2_Dense/x-2.safetensors", &B, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fixture_write(&dir, "2_Dense/model.safetensors.index.json", rows[i].index);
        ck_assert_err(weights_open(dir.path, "2_Dense", &w, &e), ERR_CORRUPT);
        ck_assert_msg(strncmp(e.msg, rows[i].says, strlen(rows[i].says)) == 0, "%s", e.msg);
    }
    fixture_write(&dir, "2_Dense/model.safetensors.index.json",
        "{\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-2.safetensors\"}}");
    ck_assert_ok(weights_open(dir.path, "2_Dense", &w, &e), &e);
    ck_assert_err(weights_check_float(w, "c", (size_t[]){ 1 }, 1, &e), ERR_UNPROCESSABLE);
    ck_assert_str_eq(e.msg, "2_Dense/model.safetensors.index.json: tensor \"c\" is missing");
    weights_close(w);
}
END_TEST

START_TEST(too_many_files)
{
    static char json[64 * (WEIGHT_FILES_MAX + 2)];
    struct weights *w = NULL;
    struct err e = ERR_INIT;
    size_t at = (size_t)snprintf(json, sizeof json, "{\"weight_map\":{");
    for (int i = 0; i <= WEIGHT_FILES_MAX; i++)
        at += (size_t)snprintf(json + at, sizeof json - at, "%s\"%d\":\"f%d\"", i ? "," : "", i, i);
    (void)snprintf(json + at, sizeof json - at, "}}");
    fixture_write(&dir, "model.safetensors.index.json", json);
    ck_assert_err(weights_open(dir.path, NULL, &w, &e), ERR_UNPROCESSABLE);
}
END_TEST

START_TEST(pickles_are_not_loaded)
{
    struct weights *w = NULL;
    struct err e = ERR_INIT;
    ck_assert_err(weights_open(dir.path, NULL, &w, &e), ERR_NOT_FOUND);
    fixture_write(&dir, "pytorch_model.bin", "PK");
    ck_assert_err(weights_open(dir.path, NULL, &w, &e), ERR_UNPROCESSABLE);
    ck_assert_msg(strstr(e.msg, "pickle") != NULL, "%s", e.msg);
}
END_TEST

START_TEST(reads_are_checked)
{
    struct weights *w = NULL;
    struct err e = ERR_INIT;
    const float bad[2] = { 0, NAN };
    const uint16_t halves[2] = { 0x3C00, 0xC000 }; /* 1, -2 */
    const int32_t ints[1] = { 7 };
    const struct safetensor_out t[] = { A, { "nan", DTYPE_F32, 1, { 2 }, bad },
        { "half", DTYPE_F16, 1, { 2 }, halves }, { "int", DTYPE_I32, 1, { 1 }, ints } };
    float got[6];
    put("model.safetensors", t, 4);
    ck_assert_ok(weights_open(dir.path, NULL, &w, &e), &e);
    ck_assert_ok(weights_read_f32(w, "a", (size_t[]){ 2, 3 }, 2, got, &e), &e);
    ck_assert_mem_eq(got, VALUES, sizeof got);
    ck_assert_ok(weights_read_f32(w, "half", (size_t[]){ 2 }, 1, got, &e), &e);
    ck_assert(got[0] == 1 && got[1] == -2);
    ck_assert_err(weights_read_f32(w, "a", (size_t[]){ 3, 2 }, 2, got, &e), ERR_UNPROCESSABLE);
    ck_assert_str_eq(e.msg, "model.safetensors: tensor \"a\" has the shape [2,3], expected [3,2]");
    ck_assert_err(weights_read_f32(w, "a", (size_t[]){ 6 }, 1, got, &e), ERR_UNPROCESSABLE);
    ck_assert_err(weights_read_f32(w, "z", (size_t[]){ 6 }, 1, got, &e), ERR_UNPROCESSABLE);
    ck_assert_msg(strstr(e.msg, "\"z\" is missing") != NULL, "%s", e.msg);
    ck_assert_err(weights_read_f32(w, "int", (size_t[]){ 1 }, 1, got, &e), ERR_UNPROCESSABLE);
    ck_assert_msg(strstr(e.msg, "I32") != NULL, "%s", e.msg);
    ck_assert_err(weights_read_f32(w, "nan", (size_t[]){ 2 }, 1, got, &e), ERR_CORRUPT);
    ck_assert_msg(strstr(e.msg, "\"nan\"") != NULL, "%s", e.msg);
    weights_close(w);
}
END_TEST

START_TEST(lists_the_files_of_modules_too)
{
    static const char *const want[] = { "2_Dense/model.safetensors", "x-1.safetensors",
        "x-2.safetensors" };
    char **paths = NULL;
    size_t n = 0;
    struct err e = ERR_INIT;
    struct weights *w = NULL;
    ck_assert_err(weights_list(dir.path, &paths, &n, &e), ERR_NOT_FOUND);
    write_shards();
    make_folder("1_Pooling");
    make_folder("2_Dense");
    put("2_Dense/model.safetensors", &B, 1);
    fixture_write(&dir, "modules.json",
        "[{\"path\":\"\",\"type\":\"x.Transformer\"},{\"path\":\"2_Dense\",\"type\":\"x.Dense\"},"
        "{\"path\":\"1_Pooling\",\"type\":\"x.Pooling\"}]");
    ck_assert_ok(weights_list(dir.path, &paths, &n, &e), &e);
    ck_assert_uint_eq(n, 3);
    for (size_t i = 0; i < n; i++)
        ck_assert_str_eq(paths[i], want[i]);
    weights_list_free(paths, n);
    ck_assert_ok(weights_open(dir.path, "2_Dense", &w, &e), &e);
    ck_assert_uint_eq(weights_count(w), 1);
    weights_close(w);
    fixture_write(&dir, "modules.json", "[{\"path\":\"../..\",\"type\":\"x.Dense\"}]");
    ck_assert_err(weights_list(dir.path, &paths, &n, &e), ERR_UNPROCESSABLE);
}
END_TEST

static enum err_code open_and_list(void)
{
    struct weights *w = NULL;
    char **paths = NULL;
    size_t n = 0;
    TRY(weights_open(dir.path, NULL, &w, NULL));
    weights_close(w);
    TRY(weights_list(dir.path, &paths, &n, NULL));
    weights_list_free(paths, n);
    return ERR_OK;
}

START_TEST(out_of_memory)
{
    write_shards();
    OOM_LOOP(open_and_list);
}
END_TEST

TEST_SUITE(weights)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, one_file);
    tcase_add_test(tc, shards_are_one_set);
    tcase_add_loop_test(tc, bad_indexes, 0, N_INDEXES);
    tcase_add_test(tc, a_module_s_index);
    tcase_add_test(tc, too_many_files);
    tcase_add_test(tc, pickles_are_not_loaded);
    tcase_add_test(tc, reads_are_checked);
    tcase_add_test(tc, lists_the_files_of_modules_too);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_checked_fixture(oom, set_up, tear_down);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
