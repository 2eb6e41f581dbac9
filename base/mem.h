/* Layer: base. May include: libc, pthread.
 *
 * Memory. Every allocation of the product goes through here, so that a test
 * build can fail the Nth one (`make check-oom`). NULL means out of memory and
 * must be handled; the callers turn it into ERR_NOMEM.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/** a*b into *ret; false on overflow. */
bool mem_mul(size_t a, size_t b, size_t *ret) __attribute__((warn_unused_result));
/** a+b into *ret; false on overflow. */
bool mem_add(size_t a, size_t b, size_t *ret) __attribute__((warn_unused_result));

/** n elements of `size` bytes, not initialised. n*size of 0 gives a unique pointer. NULL: overflow or no memory. */
void *mem_alloc(size_t n, size_t size) __attribute__((malloc));
/** As mem_alloc, all bytes 0. */
void *mem_zalloc(size_t n, size_t size) __attribute__((malloc));
/** Resize to n elements; on NULL the old block is untouched and still owned by the caller. */
void *mem_realloc(void *p, size_t n, size_t size);
/** Aligned to `align` (a power of two ≥ 8), not initialised; freed with mem_free. */
void *mem_alloc_aligned(size_t align, size_t n, size_t size) __attribute__((malloc));
/** Copy of n bytes plus a NUL after them. */
char *mem_strndup(const char *p, size_t n) __attribute__((malloc));
char *mem_strdup(const char *s) __attribute__((malloc));
/** Accepts NULL. */
void mem_free(void *p);

/** Whole pages of zeros straight from the system, so that mem_unmap gives them back to it at once. Not touched: they
 * cost nothing until they are written. `huge`: aligned to 2 MiB, and huge pages are asked for. */
void *mem_map(size_t bytes, bool huge);
/** A private copy of part of a file, read when it is first touched. offset: a multiple of the page size. */
void *mem_map_file(int fd, size_t offset, size_t bytes);
/** bytes: as given to mem_map or mem_map_file. Accepts NULL. */
void mem_unmap(void *p, size_t bytes);

/** Test hook: fail the allocation after `n` more successes (0: the next), once; negative: never.
 * The count is per thread, so a suite can drive one caller while others run. */
void mem_fail_after(long n);
/** Allocations this thread asked for since mem_fail_after() was last called, the failed one counted; 0
 * in builds without KINDRED_CHECKED, where the hook does nothing. */
long mem_alloc_count(void);

/* Release at the end of the scope, for a `char *` or any pointer: AUTO_FREE char *p = NULL; */
static inline void mem__auto_free(void *pp)
{
    void *p;
    memcpy(&p, pp, sizeof p);
    mem_free(p);
}
#define AUTO_FREE __attribute__((cleanup(mem__auto_free)))
#define AUTO(fn) __attribute__((cleanup(fn)))

/** Hand a pointer over: evaluates to *pp and sets it to NULL. */
#define steal_ptr(pp)                                                                              \
    ({                                                                                             \
        __typeof__(pp) steal_pp_ = (pp);                                                           \
        __typeof__(*steal_pp_) steal_p_ = *steal_pp_;                                              \
        *steal_pp_ = NULL;                                                                         \
        steal_p_;                                                                                  \
    })
