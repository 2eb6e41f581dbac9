/* Layer: tests. May include: base.
 *
 * A fuzz target is one file, tests/fuzz/fuzz_NAME.c:
 *
 *   FUZZ_TARGET(name)
 *   {
 *       ... data, size: the bytes of one input ...
 *       FUZZ_CHECK(what must hold);
 *   }
 *
 * Compiled by `make fuzz` it is libFuzzer's entry point; elsewhere it registers itself, and
 * test_corpus.c feeds it the files of tests/fuzz/corpus/NAME. Both run in the root of the source tree.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef void fuzz_fn(const uint8_t *data, size_t size);

struct fuzz_target {
    const char *name;
    fuzz_fn *run;
    struct fuzz_target *next;
};
/** Called by FUZZ_TARGET before main. */
void fuzz_register(struct fuzz_target *t);

#ifdef KINDRED_FUZZ
#define FUZZ_ENTRY(name_)                                                                          \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);                                  \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)                                   \
    {                                                                                              \
        fuzz_##name_(data, size);                                                                  \
        return 0;                                                                                  \
    }
#else
#define FUZZ_ENTRY(name_)                                                                          \
    static struct fuzz_target fuzz_target_##name_ = { #name_, fuzz_##name_, NULL };                \
    __attribute__((constructor)) static void fuzz_register_##name_(void)                           \
    {                                                                                              \
        fuzz_register(&fuzz_target_##name_);                                                       \
    }
#endif

#define FUZZ_TARGET(name_)                                                                         \
    static fuzz_fn fuzz_##name_;                                                                   \
    FUZZ_ENTRY(name_)                                                                              \
    static void fuzz_##name_(const uint8_t *data, size_t size)

/** Ends the process, which is a finding, unless cond holds. */
#define FUZZ_CHECK(cond)                                                                           \
    do {                                                                                           \
        if (cond) break;                                                                           \
        fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond);                  \
        abort();                                                                                   \
    } while (0)
