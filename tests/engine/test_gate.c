#include "engine/gate.h"

#include "tests/support/test.h"

#include <stdint.h>

START_TEST(one_may_go_over_the_bound)
{
    struct gate g;
    gate_init(&g, 10);
    ck_assert(gate_try(&g, 6));
    ck_assert(gate_try(&g, 4));
    ck_assert(!gate_try(&g, 1));
    ck_assert(!gate_try(&g, SIZE_MAX)); /* no overflow */
    gate_release(&g, 4);
    ck_assert(!gate_try(&g, SIZE_MAX));
    ck_assert(gate_try(&g, 1000)); /* larger than the gate, and not alone */
    ck_assert_uint_eq(gate_used(&g), 1006);
    ck_assert(!gate_try(&g, 1));
    gate_release(&g, 6);
    ck_assert(!gate_try(&g, 1));
    gate_release(&g, 1000);
    ck_assert_uint_eq(gate_used(&g), 0);
}
END_TEST

TEST_SUITE(gate)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, one_may_go_over_the_bound);
    suite_add_tcase(s, tc);
}
