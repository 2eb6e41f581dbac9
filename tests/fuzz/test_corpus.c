/* Every input of tests/fuzz/corpus once: what fuzzing found to be worth keeping, and what it broke. */
#include "base/fileio.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <string.h>

enum { INPUTS_MAX = 4096, PATH_BYTES = 256, INPUT_BYTES_MAX = 1 << 20 };

static struct fuzz_target *targets;
static struct input {
    const struct fuzz_target *target;
    char path[PATH_BYTES];
} inputs[INPUTS_MAX];
static int n_inputs;

void fuzz_register(struct fuzz_target *t)
{
    t->next = targets;
    targets = t;
}

/* Names in order, so that a failed test's number says which. */
static void list_inputs(const struct fuzz_target *t)
{
    char dir[PATH_BYTES];
    struct dirent **names;
    snprintf(dir, sizeof dir, "tests/fuzz/corpus/%s", t->name);
    int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        struct input *in = &inputs[n_inputs];
        if (names[i]->d_name[0] != '.' && n_inputs < INPUTS_MAX) {
            int k = snprintf(in->path, PATH_BYTES, "%s/%s", dir, names[i]->d_name);
            in->target = t;
            n_inputs += k > 0 && k < PATH_BYTES;
        }
        free(names[i]);
    }
    if (n >= 0) free(names);
}

START_TEST(one_input)
{
    const struct input *in = &inputs[_i];
    char *text;
    size_t n;
    struct err e = ERR_INIT;
    ck_assert_ok(file_read(in->path, INPUT_BYTES_MAX, &text, &n, &e), &e);
    /* A block of exactly that size, so that ASan sees a byte too far. */
    uint8_t *data = mem_alloc(n ? n : 1, 1);
    ck_assert_ptr_nonnull(data);
    memcpy(data, text, n);
    mem_free(text);
    printf("%s\n", in->path);
    in->target->run(data, n);
    mem_free(data);
}
END_TEST

START_TEST(every_target_has_inputs)
{
    for (const struct fuzz_target *t = targets; t; t = t->next) {
        int n = 0;
        for (int i = 0; i < n_inputs; i++)
            n += inputs[i].target == t;
        ck_assert_msg(n > 0, "tests/fuzz/corpus/%s holds nothing", t->name);
    }
    ck_assert_int_lt(n_inputs, INPUTS_MAX);
}
END_TEST

TEST_SUITE(corpus)
{
    for (const struct fuzz_target *t = targets; t; t = t->next)
        list_inputs(t);
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, every_target_has_inputs);
    tcase_add_loop_test(tc, one_input, 0, n_inputs);
    suite_add_tcase(s, tc);
}
