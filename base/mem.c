/* Memory: the only file that calls malloc, mmap for memory, and their kin.
 *
 * The failure hook is two thread-local integers, compiled in with KINDRED_CHECKED only, so that a release
 * build pays nothing for it. It fires once and disarms itself: code that undoes its work after a failure may
 * allocate again.
 */
#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef KINDRED_CHECKED
static _Thread_local long fail_after = -1;
static _Thread_local long asked;

static bool must_fail(void)
{
    asked++;
    if (fail_after < 0) return false;
    return fail_after-- == 0;
}

void mem_fail_after(long n)
{
    fail_after = n < 0 ? -1 : n;
    asked = 0;
}

long mem_alloc_count(void)
{
    return asked;
}
#else
static bool must_fail(void)
{
    return false;
}

void mem_fail_after(long n)
{
    (void)n;
}

long mem_alloc_count(void)
{
    return 0;
}
#endif

bool mem_mul(size_t a, size_t b, size_t *ret)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *ret = r;
    return true;
}

bool mem_add(size_t a, size_t b, size_t *ret)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *ret = r;
    return true;
}

/* n*size, at least 1 and at most PTRDIFF_MAX; false when it is too much. */
static bool block_bytes(size_t n, size_t size, size_t *ret)
{
    size_t bytes;
    if (!mem_mul(n, size, &bytes) || bytes > PTRDIFF_MAX) return false;
    *ret = bytes ? bytes : 1;
    return true;
}

void *mem_alloc(size_t n, size_t size)
{
    size_t bytes;
    if (must_fail() || !block_bytes(n, size, &bytes)) return NULL;
    return malloc(bytes);
}

void *mem_zalloc(size_t n, size_t size)
{
    size_t bytes;
    if (must_fail() || !block_bytes(n, size, &bytes)) return NULL;
    return calloc(bytes, 1);
}

void *mem_realloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (must_fail() || !block_bytes(n, size, &bytes)) return NULL;
    return realloc(p, bytes);
}

void *mem_alloc_aligned(size_t align, size_t n, size_t size)
{
    size_t bytes;
    void *p;
    if (must_fail() || !block_bytes(n, size, &bytes)) return NULL;
    return posix_memalign(&p, align, bytes) == 0 ? p : NULL;
}

char *mem_strndup(const char *p, size_t n)
{
    size_t bytes;
    if (!mem_add(n, 1, &bytes)) return NULL;
    char *copy = mem_alloc(bytes, 1);
    if (!copy) return NULL;
    if (n) memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

void mem_free(void *p)
{
    free(p);
}

enum { HUGE_PAGE_BYTES = 2 << 20 };

void *mem_map(size_t bytes, bool huge)
{
    size_t align = huge ? HUGE_PAGE_BYTES : 0, room;
    if (must_fail() || bytes == 0 || !mem_add(bytes, align, &room) || room > PTRDIFF_MAX)
        return NULL;
    char *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    if (!huge) return p;
    /* What stands before the first multiple of a huge page, and what is left behind, goes back. */
    size_t before = (align - (uintptr_t)p % align) % align;
    size_t page = 4096, used = (bytes + page - 1) / page * page;
    if (before) (void)munmap(p, before);
    if (room > before + used) (void)munmap(p + before + used, room - before - used);
    (void)madvise(p + before, used, MADV_HUGEPAGE);
    return p + before;
}

void *mem_map_file(int fd, size_t offset, size_t bytes)
{
    if (must_fail() || bytes == 0 || offset > INT64_MAX) return NULL;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, (off_t)offset);
    return p == MAP_FAILED ? NULL : p;
}

void mem_unmap(void *p, size_t bytes)
{
    if (p) (void)munmap(p, bytes);
}
