#include "core/learn/text_cache.h"

#include "tests/support/oom.h"
#include "tests/support/test.h"

START_TEST(finds_what_was_added)
{
    struct text_cache c;
    uint32_t ids[3] = { 1, 2, 3 };
    text_cache_init(&c, 1 << 20);
    ck_assert_ptr_null(text_cache_find(&c, ids, 3));
    for (uint32_t i = 0; i < 600; i++) {
        ids[1] = i;
        struct text_entry *entry = text_cache_add(&c, ids, 3, 2);
        ck_assert_ptr_nonnull(entry);
        ck_assert(!entry->ready);
        entry->values[0] = (float)i;
        entry->values[1] = -1;
    }
    for (uint32_t i = 0; i < 600; i++) {
        ids[1] = i;
        const struct text_entry *entry = text_cache_find(&c, ids, 3);
        ck_assert_ptr_nonnull(entry);
        ck_assert_float_eq(entry->values[0], (float)i);
    }
    ck_assert_ptr_null(text_cache_find(&c, ids, 2));
    ids[0] = 2;
    ck_assert_ptr_null(text_cache_find(&c, ids, 3));
    text_cache_done(&c);
    text_cache_done(&c);
}
END_TEST

START_TEST(keeps_to_its_limit)
{
    struct text_cache c;
    size_t n = 0;
    text_cache_init(&c, 10000);
    for (uint32_t id = 0; id < 100; id++)
        n += text_cache_add(&c, &id, 1, 100) != NULL;
    ck_assert_uint_ge(n, 20); /* 400 bytes and some */
    ck_assert_uint_le(n, 24);
    ck_assert_uint_le(c.bytes, 10000);
    ck_assert_ptr_null(text_cache_add(&c, &(uint32_t){ 7 }, 1, SIZE_MAX / 2));
    text_cache_done(&c);
    text_cache_init(&c, 0);
    ck_assert_ptr_null(text_cache_add(&c, &(uint32_t){ 7 }, 1, 1));
    text_cache_done(&c);
}
END_TEST

/* Without memory it is done without. */
static enum err_code add_some(void *arg)
{
    struct text_cache c;
    bool all = true;
    (void)arg;
    text_cache_init(&c, 1 << 20);
    for (uint32_t id = 0; id < 300; id++)
        if (!text_cache_add(&c, &id, 1, 4))
            all = false;
        else
            all = all && text_cache_find(&c, &id, 1) != NULL;
    text_cache_done(&c);
    return all ? ERR_OK : ERR_NOMEM;
}

START_TEST(out_of_memory)
{
    oom_loop(add_some, NULL);
}
END_TEST

TEST_SUITE(text_cache)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, finds_what_was_added);
    tcase_add_test(tc, keeps_to_its_limit);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
