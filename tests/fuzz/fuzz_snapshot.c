/* A snapshot of an index. Bytes as they come hardly get past the checksums; so an input is a list of changes to a
 * small sound snapshot, whose checksums are then made right again. Whatever loads must bear being searched, linked,
 * repaired and emptied.
 *
 *   byte 0      which snapshot: (value % 4) of 0 cosine with codes, 1 L2 with few dimensions, 2 dot product with 12 bits;
 *               3: the rest is a file as it is. From 128 on the checksums are left wrong
 *   then        changes of 4 bytes: offset (u16, little-endian, times 2 where the third is odd), what, value
 */
#include "index/snapshot_internal.h"

#include "base/checksum.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KINDS = 3, NODES = 48, DIM_MOST = 40 };

static const struct index_options kinds[KINDS] = {
    { .dim = 40,
        .metric = INDEX_COSINE,
        .m = 4,
        .ef_construction = 16,
        .ef_search = 8,
        .bits = 24,
        .seed = 5 },
    { .dim = 3,
        .metric = INDEX_L2,
        .m = 4,
        .ef_construction = 16,
        .ef_search = 8,
        .bits = 24,
        .seed = 5 },
    { .dim = 33,
        .metric = INDEX_DOT,
        .m = 4,
        .ef_construction = 16,
        .ef_search = 8,
        .bits = 12,
        .seed = 5 },
};

static void draw(struct rng *r, float *v, size_t dim)
{
    for (size_t d = 0; d < dim; d++)
        v[d] = (float)rng_normal(r);
}

/* ---- a sound one: twins, tombstones, vacant places, levels, vectors that wait ---- */
static void fill(struct index *ix, struct index_scratch *s)
{
    struct err e = ERR_INIT;
    struct rng r;
    float v[DIM_MOST];
    size_t n;
    rng_init(&r, 7);
    for (uint64_t id = 0; id < NODES; id++) {
        if (id % 5 != 4) draw(&r, v, index_options(ix)->dim); /* else: as the one before */
        FUZZ_CHECK(index_put(ix, id, v, &e) == ERR_OK);
    }
    FUZZ_CHECK(index_link(ix, NODES, s, &n, &e) == ERR_OK);
    for (uint64_t id = 0; id < NODES; id += 7)
        (void)index_delete(ix, id);
    for (size_t i = 0; i < 40; i++)
        FUZZ_CHECK(index_maintain(ix, 1000, true, s, &n, &e) == ERR_OK);
    FUZZ_CHECK(index_link(ix, NODES, s, &n, &e) == ERR_OK);
    (void)index_delete(ix, 3);
    draw(&r, v, index_options(ix)->dim);
    FUZZ_CHECK(index_put(ix, 1000, v, &e) == ERR_OK);
}

static char *make_sound(size_t kind, size_t *ret_n)
{
    struct err e = ERR_INIT;
    struct index *ix;
    char path[64], *bytes;
    size_t n;
    const struct snapshot_mark mark = { .seq = 1, .label = "fuzz" };
    struct index_scratch *s = index_scratch_new();
    snprintf(path, sizeof path, "/tmp/kindred-fuzz-%d", (int)getpid());
    FUZZ_CHECK(s && index_new(&kinds[kind], &ix, &e) == ERR_OK);
    fill(ix, s);
    FUZZ_CHECK(index_save(ix, path, &mark, &n, &e) == ERR_OK);
    FUZZ_CHECK(file_read(path, 1 << 20, &bytes, ret_n, &e) == ERR_OK);
    (void)unlink(path);
    index_free(ix);
    index_scratch_free(s);
    return bytes;
}

static const char *sound(size_t kind, size_t *ret_n)
{
    static char *made[KINDS];
    static size_t sizes[KINDS];
    if (!made[kind]) made[kind] = make_sound(kind, &sizes[kind]);
    *ret_n = sizes[kind];
    return made[kind];
}

/* ---- changing it ---- */
static void change(unsigned char *p, size_t *n, const uint8_t c[4])
{
    size_t at = (size_t)(c[0] | c[1] << 8) * (c[2] & 1 ? 2 : 1);
    uint32_t word = c[3] == 255 ? UINT32_MAX : c[3];
    if (at >= *n) return;
    switch (c[2] / 2 % 5) {
    case 0: p[at] = c[3]; break;
    case 1: p[at] ^= c[3]; break;
    case 2: /* a number, as links, twins and sizes are */
        if (*n - at >= sizeof word) memcpy(p + at, &word, sizeof word);
        break;
    case 3: /* from elsewhere */
        if (*n - at >= 8 && *n > 8) memmove(p + at, p + c[3] * 64u % (*n - 8), 8);
        break;
    default: *n = at + 1; break;
    }
}

static bool lies_within(const struct snapshot_section *s, size_t n)
{
    return s->offset <= n && s->bytes <= n - s->offset;
}

/** As a writer of evil intent would. */
static void seal(unsigned char *p, size_t n, const struct index_options *o)
{
    struct snapshot_header h;
    struct index *ix;
    struct err e = ERR_INIT;
    if (n < sizeof h) return;
    memcpy(&h, p, sizeof h);
    h.file_bytes = n;
    struct snapshot_section *all[] = { &h.centre, &h.upper };
    for (size_t i = 0; i < 2; i++)
        if (lies_within(all[i], n)) all[i]->sum = checksum64(p + all[i]->offset, all[i]->bytes);
    FUZZ_CHECK(index_new(o, &ix, &e) == ERR_OK);
    struct block_shape shape = index__shape(ix, h.n_nodes < 4096 ? h.n_nodes : 1);
    index_free(ix);
    if (lies_within(&h.sums, n) && h.sums.bytes >= sizeof(struct snapshot_block_sums) &&
        h.blocks_offset <= n && shape.bytes <= n - h.blocks_offset) {
        const unsigned char *block = p + h.blocks_offset;
        struct snapshot_block_sums sums = { .rows = checksum64(block, shape.links),
            .graph = checksum64(block + shape.links, shape.bytes - shape.links) };
        memcpy(p + h.sums.offset, &sums, sizeof sums);
    }
    if (lies_within(&h.sums, n)) h.sums.sum = checksum64(p + h.sums.offset, h.sums.bytes);
    h.sum = checksum64(&h, offsetof(struct snapshot_header, sum));
    memcpy(p, &h, sizeof h);
}

/* ---- using what loads ---- */
static void search_all_ways(const struct index *ix, struct index_scratch *s, struct rng *r)
{
    static const size_t ks[] = { 1, 5, 100 };
    uint64_t bits[2] = { rng_u64(r), rng_u64(r) };
    struct index_allow allow = { bits, 128, 64 };
    struct index_hit hits[100];
    struct err e = ERR_INIT;
    float v[DIM_MOST];
    for (size_t i = 0; i < 12; i++) {
        draw(r, v, index_options(ix)->dim);
        struct index_query q = { .vector = v, .k = ks[i % 3], .ef = 1 + i, .exact = i == 4 };
        size_t n = 0;
        if (i % 4 == 1) q.allow = &allow;
        q.has_min_score = i % 4 == 2;
        FUZZ_CHECK(index_search(ix, &q, s, hits, &n, NULL, &e) == ERR_OK);
        FUZZ_CHECK(n <= q.k);
    }
}

static void use(struct index *ix)
{
    struct index_scratch *s = index_scratch_new();
    struct err e = ERR_INIT;
    struct index_stats st;
    struct rng r;
    float v[DIM_MOST];
    size_t n;
    rng_init(&r, 11);
    FUZZ_CHECK(s);
    index_stats(ix, &st);
    FUZZ_CHECK(st.live <= NODES + 4096);
    search_all_ways(ix, s, &r);
    for (uint64_t id = 0; id < 30; id++) {
        draw(&r, v, index_options(ix)->dim);
        FUZZ_CHECK(index_put(ix, id * 3, v, &e) == ERR_OK);
    }
    FUZZ_CHECK(index_link(ix, 200, s, &n, &e) == ERR_OK);
    search_all_ways(ix, s, &r);
    for (uint64_t id = 0; id < 40; id++)
        (void)index_delete(ix, id);
    for (size_t i = 0; i < 40; i++)
        FUZZ_CHECK(index_maintain(ix, 200, true, s, &n, &e) == ERR_OK);
    FUZZ_CHECK(index_link(ix, 200, s, &n, &e) == ERR_OK);
    search_all_ways(ix, s, &r);
    index_scratch_free(s);
}

FUZZ_TARGET(snapshot)
{
    struct index *ix = NULL;
    struct snapshot_mark mark;
    struct err e = ERR_INIT;
    if (size < 1) return;
    size_t kind = data[0] % 4, n = size - 1;
    const struct index_options *o = &kinds[kind % KINDS];
    const char *from = (const char *)data + 1;
    if (kind < KINDS) from = sound(kind, &n);
    unsigned char *bytes = mem_alloc(n ? n : 1, 1);
    if (!bytes) return;
    memcpy(bytes, from, n);
    if (kind < KINDS) {
        for (size_t at = 1; at + 4 <= size; at += 4)
            change(bytes, &n, data + at);
        if (data[0] < 128) seal(bytes, n, o);
    }
    enum err_code code = index_load_bytes(bytes, n, o, &ix, &mark, &e);
    mem_free(bytes);
    if (code != ERR_OK) {
        FUZZ_CHECK((code == ERR_CORRUPT || code == ERR_NOMEM) && e.code == code && e.msg[0]);
        FUZZ_CHECK(kind == 3 || size > 4); /* unchanged ones load */
        return;
    }
    use(ix);
    index_free(ix);
}
