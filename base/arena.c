/* Arena: a list of blocks, filled one after the other.
 *
 * `cur` is the block being filled; the blocks after it are empty and wait for reuse. `before` of a block is
 * what the blocks in front of it have handed out, so that the total is one addition and a mark needs
 * nothing but block and offset. Rewinding moves `cur` back and frees nothing; a forward pass that rewinds
 * to the same mark again and again therefore stops allocating after its first round.
 *
 * Under AddressSanitizer what is not handed out is poisoned, alignment gaps included, so that writing past
 * the end of an allocation or using it after a rewind is caught as with malloc.
 */
#include "base/arena.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISON 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISON 1
#endif
#ifdef ARENA_POISON
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 16, ALIGN_MAX = 4096, BLOCK_MIN = 256 };
static const size_t BLOCK_GROW_MAX = (size_t)8 << 20; /* blocks double up to this */

struct block {
    struct block *next;
    size_t cap, used, before;
    _Alignas(ALIGN) unsigned char data[];
};

struct arena {
    struct block *first, *cur;
    size_t limit;
    size_t high_water;
};

static struct block *block_new(size_t cap)
{
    size_t bytes;
    if (!mem_add(cap, sizeof(struct block), &bytes)) return NULL;
    struct block *b = mem_alloc(bytes, 1);
    if (!b) return NULL;
    *b = (struct block){ .cap = cap };
    POISON(b->data, cap);
    return b;
}

static void blocks_free(struct block *b)
{
    while (b) {
        struct block *next = b->next;
        UNPOISON(b->data, b->cap);
        mem_free(b);
        b = next;
    }
}

struct arena *arena_new(size_t first_block_bytes, size_t limit_bytes)
{
    struct arena *a = mem_zalloc(1, sizeof *a);
    if (!a) return NULL;
    a->first = block_new(first_block_bytes < BLOCK_MIN ? BLOCK_MIN : first_block_bytes);
    if (!a->first) {
        mem_free(a);
        return NULL;
    }
    a->cur = a->first;
    a->limit = limit_bytes ? limit_bytes : SIZE_MAX;
    return a;
}

void arena_free(struct arena *a)
{
    if (!a) return;
    blocks_free(a->first);
    mem_free(a);
}

void arena_clear(struct arena *a)
{
    blocks_free(a->first->next);
    a->first->next = NULL;
    a->first->used = 0;
    a->cur = a->first;
    POISON(a->first->data, a->first->cap);
}

size_t arena_used_bytes(const struct arena *a)
{
    return a->cur->before + a->cur->used;
}

size_t arena_high_water_bytes(const struct arena *a)
{
    return a->high_water;
}

/* Bytes to skip in b so that the next one is aligned. */
static size_t gap(const struct block *b, size_t align)
{
    return (size_t)(-(uintptr_t)(b->data + b->used) & (align - 1));
}

/* Does `bytes` fit behind the gap? */
static bool fits(const struct block *b, size_t align, size_t bytes)
{
    size_t skip = gap(b, align);
    return skip <= b->cap - b->used && bytes <= b->cap - b->used - skip;
}

/* Make the next block current: one that waits if it is large enough, else a new one in front of it. */
static bool advance(struct arena *a, size_t align, size_t bytes)
{
    struct block *next = a->cur->next;
    if (next) next->used = 0;
    if (!next || !fits(next, align, bytes)) {
        size_t need, cap = a->cur->cap < BLOCK_GROW_MAX ? 2 * a->cur->cap : a->cur->cap;
        if (!mem_add(bytes, align, &need)) return false;
        struct block *b = block_new(cap < need ? need : cap);
        if (!b) return false;
        b->next = next;
        a->cur->next = b;
        next = b;
    }
    next->before = a->cur->before + a->cur->used;
    a->cur = next;
    return true;
}

void *arena_alloc_aligned(struct arena *a, size_t align, size_t n, size_t size)
{
    size_t bytes;
    ASSERT_BUG(align != 0 && (align & (align - 1)) == 0 && align <= ALIGN_MAX);
    if (align < ALIGN) align = ALIGN;
    if (!mem_mul(n, size, &bytes) || bytes > PTRDIFF_MAX) return NULL;
    if (bytes == 0) bytes = 1;
    /* Checked before a block is made, so that the limit bounds what is held, too. */
    size_t used = arena_used_bytes(a);
    if (bytes > a->limit - used) return NULL;
    if (!fits(a->cur, align, bytes) && !advance(a, align, bytes)) return NULL;

    struct block *b = a->cur;
    size_t skip = gap(b, align);
    if (skip + bytes > a->limit - used) return NULL;
    unsigned char *p = b->data + b->used + skip;
    b->used += skip + bytes;
    UNPOISON(p, bytes);
    used = arena_used_bytes(a);
    if (used > a->high_water) a->high_water = used;
    return p;
}

void *arena_alloc(struct arena *a, size_t n, size_t size)
{
    return arena_alloc_aligned(a, ALIGN, n, size);
}

void *arena_zalloc(struct arena *a, size_t n, size_t size)
{
    void *p = arena_alloc(a, n, size);
    if (p) memset(p, 0, n * size);
    return p;
}

char *arena_strndup(struct arena *a, const char *p, size_t n)
{
    size_t bytes;
    if (!mem_add(n, 1, &bytes)) return NULL;
    char *copy = arena_alloc(a, bytes, 1);
    if (!copy) return NULL;
    if (n) memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1, 1);
    if (p) vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){ a->cur, a->cur->used };
}

void arena_rewind(struct arena *a, struct arena_mark m)
{
    struct block *b = m.block;
    ASSERT_BUG(b != NULL && m.used <= b->used);
    a->cur = b;
    b->used = m.used;
    POISON(b->data + b->used, b->cap - b->used);
#ifdef ARENA_POISON
    for (struct block *later = b->next; later; later = later->next)
        POISON(later->data, later->cap);
#endif
}
