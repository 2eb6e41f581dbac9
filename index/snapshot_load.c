/* Reading a snapshot. Nothing in it is believed before it is checked:
 *
 *   header   checksum, version, options, and every offset and size, which follow from the options and n_nodes, so
 *            they are computed and compared
 *   blocks   checksums of rows and of the graph (of mapped blocks: of the graph only, the rows are not read)
 *   nodes    states, levels, ids that come once, links, twins, entry point: snapshot_check.c
 *
 * Then what is not in the file is made: the id map, chains of vacant places, the tail of what waits, counters.
 */
#include "index/snapshot_internal.h"

#include "base/checksum.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/** Where the bytes are: a file, or memory. */
struct source {
    int fd; /* -1: memory */
    const char *p;
    uint64_t bytes;
    bool map;
    const char *name;
};

struct load {
    struct source from;
    struct snapshot_header head;
    struct index *ix;
    size_t n_blocks;
    struct snapshot_block_sums *sums;
};

static bool is_mapped(const struct load *r)
{
    return r->from.map && r->from.fd >= 0;
}

static enum err_code damaged(const struct load *r, const char *what, struct err *e)
{
    return err_set(e, ERR_CORRUPT, "snapshot %s: %s", r->from.name, what);
}

static enum err_code get(const struct load *r, void *ret, uint64_t at, size_t n, struct err *e)
{
    if (at > r->from.bytes || n > r->from.bytes - at) return damaged(r, "it is cut short", e);
    if (r->from.fd < 0) {
        memcpy(ret, r->from.p + at, n);
        return ERR_OK;
    }
    for (char *to = ret; n > 0;) {
        ssize_t done = pread(r->from.fd, to, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return err_set(e, ERR_IO, "cannot read %s", r->from.name);
        if (done == 0) return damaged(r, "it is cut short", e);
        to += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return ERR_OK;
}

static enum err_code get_section(const struct load *r, const struct snapshot_section *s, void **ret,
    const char *what, struct err *e)
{
    if (s->bytes > r->from.bytes) return damaged(r, "it is cut short", e);
    AUTO_FREE void *p = mem_alloc((size_t)s->bytes, 1);
    if (!p) return err_set(e, ERR_NOMEM, "out of memory to load an index");
    TRY(get(r, p, s->offset, (size_t)s->bytes, e));
    if (checksum64(p, (size_t)s->bytes) != s->sum) return damaged(r, what, e);
    *ret = steal_ptr(&p);
    return ERR_OK;
}

/* ---- header ---- */
static enum err_code check_header(
    const struct load *r, const struct index_options *o, struct err *e)
{
    const struct snapshot_header *h = &r->head;
    if (memcmp(h->magic, SNAPSHOT_MAGIC, sizeof h->magic) != 0)
        return damaged(r, "it is no snapshot of an index", e);
    if (h->version != SNAPSHOT_VERSION) return damaged(r, "it is of another version", e);
    if (h->header_bytes != SNAPSHOT_HEADER ||
        h->sum != checksum64(h, offsetof(struct snapshot_header, sum)))
        return damaged(r, "the header's checksum is wrong", e);
    if (h->dim != o->dim || h->metric != (uint32_t)o->metric || h->m != o->m ||
        h->bits != (o->bits ? o->bits : 24) || h->seed != o->seed)
        return damaged(r, "it is of an index with other options", e);
    if (h->file_bytes != r->from.bytes) return damaged(r, "it is cut short, or too long", e);
    if (!memchr(h->label, 0, sizeof h->label)) return damaged(r, "its label has no end", e);
    return ERR_OK;
}

/** Every offset and size follows from the options and the number of nodes. */
static enum err_code check_layout(struct load *r, struct err *e)
{
    const struct snapshot_header *h = &r->head;
    const struct index *ix = r->ix;
    r->n_blocks = ((size_t)h->n_nodes + ix->block_mask) >> ix->block_shift;
    uint64_t centre = SNAPSHOT_HEADER, upper, sums, blocks;
    upper = snapshot__align(centre + ix->o.dim * sizeof(float), SNAPSHOT_ALIGN);
    if (h->upper.bytes > r->from.bytes) return damaged(r, "it is cut short", e);
    sums = snapshot__align(upper + h->upper.bytes, SNAPSHOT_ALIGN);
    blocks = snapshot__align(sums + r->n_blocks * sizeof *r->sums, SNAPSHOT_PAGE);
    uint64_t end = blocks;
    if (r->n_blocks > 0) {
        size_t last = snapshot__nodes_of(ix, h->n_nodes, r->n_blocks - 1);
        end += (r->n_blocks - 1) * ix->shape.bytes + snapshot__shape_of(ix, last).bytes;
    }
    if (h->n_nodes == NODE_NONE || h->block_shift != ix->block_shift ||
        h->block_bytes != ix->shape.bytes || h->centre.offset != centre ||
        h->centre.bytes != ix->o.dim * sizeof(float) || h->upper.offset != upper ||
        h->sums.offset != sums || h->sums.bytes != r->n_blocks * sizeof *r->sums ||
        h->blocks_offset != blocks || h->file_bytes != end)
        return damaged(r, "its sections do not fit together", e);
    if (h->live > h->n_nodes) return damaged(r, "it says to have more ids than places", e);
    return ERR_OK;
}

static enum err_code check_curve(const struct load *r, struct err *e)
{
    const struct snapshot_header *h = &r->head;
    if (h->curve_n != 0 && h->curve_n != INDEX_CURVE_POINTS)
        return damaged(r, "its recall curve is not one", e);
    for (size_t i = 0; i < h->curve_n; i++) {
        bool rises = i == 0 ||
            (h->curve_ef[i] > h->curve_ef[i - 1] && h->curve_recall[i] >= h->curve_recall[i - 1]);
        if (!rises || h->curve_ef[i] < 1 || h->curve_ef[i] > INDEX_EF_MAX ||
            !(h->curve_recall[i] >= 0 && h->curve_recall[i] <= 1))
            return damaged(r, "its recall curve is not one", e);
    }
    return ERR_OK;
}

/* ---- sections ---- */
static enum err_code load_centre(struct load *r, struct err *e)
{
    AUTO_FREE void *p = NULL;
    TRY(get_section(r, &r->head.centre, &p, "the centre's checksum is wrong", e));
    memcpy(r->ix->centre.rotated, p, r->ix->o.dim * sizeof(float));
    if (!vec_is_finite(r->ix->centre.rotated, r->ix->o.dim))
        return damaged(r, "the centre is not finite", e);
    atomic_store(&r->ix->centre.n_from, (size_t)r->head.centre_from);
    return ERR_OK;
}

/** The arrays of a block that is not full, each to its place. */
static void take_part(const struct index *ix, char *block, const char *bytes, size_t nodes)
{
    struct block_shape part = index__shape(ix, nodes);
    memcpy(block, bytes, nodes * ix->row_bytes);
    memcpy(block + ix->shape.low, bytes + part.low, nodes * ix->low_bytes);
    memcpy(block + ix->shape.links, bytes + part.links, nodes * ix->m0 * sizeof(uint32_t));
    memcpy(block + ix->shape.meta, bytes + part.meta, nodes * sizeof(struct node_meta));
    memcpy(block + ix->shape.state, bytes + part.state, nodes * sizeof(uint16_t));
}

static enum err_code check_sums(const struct load *r, size_t b, const char *bytes,
    const struct block_shape *shape, bool rows, struct err *e)
{
    if (rows && checksum64(bytes, shape->links) != r->sums[b].rows)
        return damaged(r, "the checksum of rows is wrong", e);
    if (checksum64(bytes + shape->links, shape->bytes - shape->links) != r->sums[b].graph)
        return damaged(r, "the checksum of a part of the graph is wrong", e);
    return ERR_OK;
}

/** The last block, into a whole one. */
static enum err_code load_part(
    struct load *r, size_t b, char *block, uint64_t at, size_t nodes, struct err *e)
{
    struct block_shape part = snapshot__shape_of(r->ix, nodes);
    AUTO_FREE char *bytes = mem_alloc(part.bytes, 1);
    if (!bytes) return err_set(e, ERR_NOMEM, "out of memory to load an index");
    TRY(get(r, bytes, at, part.bytes, e));
    TRY(check_sums(r, b, bytes, &part, true, e));
    take_part(r->ix, block, bytes, nodes);
    return ERR_OK;
}

static enum err_code load_block(struct load *r, size_t b, struct err *e)
{
    struct index *ix = r->ix;
    uint64_t at = r->head.blocks_offset + b * ix->shape.bytes;
    size_t nodes = snapshot__nodes_of(ix, r->head.n_nodes, b);
    bool whole = nodes == (size_t)ix->block_mask + 1, mapped = whole && is_mapped(r);
    char *block = mapped ? mem_map_file(r->from.fd, (size_t)at, ix->shape.bytes)
                         : mem_map(ix->shape.bytes, b > 0 && ix->shape.bytes >= HUGE_PAGE);
    if (!block) return err_set(e, ERR_NOMEM, "out of memory to load an index");
    struct store_dir *d = atomic_load(&ix->dir);
    atomic_store(&d->blocks[b], block);
    ix->vacancy[b] = (struct block_vacancy){ .head = NODE_NONE };
    ix->n_blocks = b + 1; /* freed with the index from here on */
    if (!whole) return load_part(r, b, block, at, nodes, e);
    if (!mapped) TRY(get(r, block, at, ix->shape.bytes, e));
    return check_sums(r, b, block, &ix->shape, !mapped, e);
}

static enum err_code load_blocks(struct load *r, struct err *e)
{
    void *p = NULL;
    TRY(get_section(r, &r->head.sums, &p, "the checksum of the checksums is wrong", e));
    r->sums = p;
    TRY(store__reserve_dir(r->ix, r->n_blocks ? r->n_blocks : 1, e));
    for (size_t b = 0; b < r->n_blocks; b++)
        TRY(load_block(r, b, e));
    atomic_store(&r->ix->n_nodes, r->head.n_nodes);
    return ERR_OK;
}

/** Lists above layer 0: node, level, links. */
static enum err_code load_upper(struct load *r, struct err *e)
{
    struct index *ix = r->ix;
    AUTO_FREE void *p = NULL;
    TRY(get_section(r, &r->head.upper, &p, "the checksum of the upper lists is wrong", e));
    const uint32_t *all = p;
    size_t words = (size_t)r->head.upper.bytes / sizeof *all, at = 0;
    while (at < words) {
        if (words - at < 2) return damaged(r, "an upper list is cut short", e);
        uint32_t node = all[at++], level = all[at++];
        if (node >= r->head.n_nodes || level < 1 || level > LEVEL_MAX ||
            words - at < level * ix->o.m)
            return damaged(r, "an upper list is not one", e);
        struct node_meta *m = index__meta(ix, node);
        if (index__level(ix, node) != level || m->upper != NODE_NONE)
            return damaged(r, "upper lists and levels do not agree", e);
        TRY(upper__take(ix, level, &m->upper, e));
        for (size_t i = 0; i < level * ix->o.m; i++)
            atomic_store_explicit(&upper__list(ix, m->upper)[i], all[at + i], memory_order_relaxed);
        at += level * ix->o.m;
    }
    return ERR_OK;
}

/* ---- what is made ---- */
static enum err_code make_ids(struct load *r, struct err *e)
{
    struct index *ix = r->ix;
    if (u64_map_reserve(&ix->ids, (size_t)r->head.live) != ERR_OK)
        return err_set(e, ERR_NOMEM, "out of memory to load an index");
    for (uint32_t node = 0; node < r->head.n_nodes; node++) {
        const struct node_meta *m = index__meta(ix, node);
        if (!index__is_live(ix, node)) continue;
        if (u64_map_set(&ix->ids, m->id, node) != ERR_OK)
            return err_set(e, ERR_NOMEM, "out of memory to load an index");
    }
    return ERR_OK;
}

static enum err_code make_rest(struct load *r, struct err *e)
{
    struct index *ix = r->ix;
    size_t live = 0, pending = 0, tombstones = 0, in_graph = 0;
    for (uint32_t node = r->head.n_nodes;
         node-- > 0;) { /* so that low places come first in a chain */
        unsigned state = index__state(ix, node);
        if (state == 0)
            store__vacate(ix, node);
        else if (state & NODE_DELETED)
            tombstones++;
        else
            live++;
        in_graph += state__is_graph_node(state);
        pending += state == NODE_USED;
    }
    for (uint32_t node = 0; node < r->head.n_nodes; node++) {
        if (index__state(ix, node) != NODE_USED) continue;
        TRY(tail__reserve(&ix->tail, e));
        tail__append(&ix->tail, node);
    }
    atomic_store(&ix->live, live);
    atomic_store(&ix->pending, pending);
    atomic_store(&ix->tombstones, tombstones);
    atomic_store(&ix->in_graph, in_graph);
    atomic_store(&ix->entry, r->head.entry);
    return ERR_OK;
}

static void take_curve(struct load *r)
{
    const struct snapshot_header *h = &r->head;
    struct index_curve *c = &r->ix->curve;
    c->n = (size_t)h->curve_n;
    c->n_queries = (size_t)h->curve_queries;
    c->at_live = (size_t)h->curve_at_live;
    for (size_t i = 0; i < c->n; i++) {
        c->ef[i] = (size_t)h->curve_ef[i];
        c->recall[i] = h->curve_recall[i];
    }
}

static enum err_code load_all(struct load *r, const struct index_options *o, struct err *e)
{
    if (r->from.bytes < SNAPSHOT_HEADER) return damaged(r, "it is cut short", e);
    TRY(get(r, &r->head, 0, sizeof r->head, e));
    TRY(check_header(r, o, e));
    TRY(index_new(o, &r->ix, e));
    TRY(check_layout(r, e));
    TRY(check_curve(r, e));
    TRY(load_centre(r, e));
    TRY(load_blocks(r, e));
    const char *wrong = NULL;
    TRY(snapshot__check_nodes(r->ix, !is_mapped(r), &wrong, e));
    if (wrong) return damaged(r, wrong, e);
    TRY(load_upper(r, e));
    TRY(snapshot__check_graph(r->ix, r->head.entry, &wrong, e));
    if (wrong) return damaged(r, wrong, e);
    TRY(make_ids(r, e));
    TRY(make_rest(r, e));
    if (r->ix->ids.n != r->head.live || atomic_load(&r->ix->live) != r->head.live)
        return damaged(r, "an id comes twice, or ids are missing", e);
    take_curve(r);
    return ERR_OK;
}

static enum err_code load(struct load *r, const struct index_options *o, struct index **ret_ix,
    struct snapshot_mark *ret_mark, struct err *e)
{
    enum err_code code = load_all(r, o, e);
    mem_free(r->sums);
    if (code != ERR_OK) {
        index_free(r->ix);
        return code;
    }
    ret_mark->seq = r->head.seq;
    memcpy(ret_mark->label, r->head.label, sizeof ret_mark->label);
    *ret_ix = r->ix;
    return ERR_OK;
}

enum err_code index_load(const char *path, const struct index_options *o, bool map,
    struct index **ret_ix, struct snapshot_mark *ret_mark, struct err *e)
{
    struct load r = { .from = { .map = map, .name = path } };
    struct stat st;
    r.from.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (r.from.fd < 0 && errno == ENOENT) return err_set(e, ERR_NOT_FOUND, "there is no %s", path);
    if (r.from.fd < 0) return err_set(e, ERR_IO, "cannot open %s", path);
    enum err_code code;
    if (fstat(r.from.fd, &st) != 0 || !S_ISREG(st.st_mode))
        code = err_set(e, ERR_IO, "%s is not a file", path);
    else {
        r.from.bytes = (uint64_t)st.st_size;
        code = load(&r, o, ret_ix, ret_mark, e);
    }
    (void)close(r.from.fd);
    return code;
}

enum err_code index_load_bytes(const void *p, size_t n, const struct index_options *o,
    struct index **ret_ix, struct snapshot_mark *ret_mark, struct err *e)
{
    struct load r = { .from = { .fd = -1, .p = p, .bytes = n, .name = "in memory" } };
    return load(&r, o, ret_ix, ret_mark, e);
}
