/* Writing a snapshot while the index serves.
 *
 * What kind of node each is, is taken at one moment, under ids_lock, so that ids and nodes agree; that takes some
 * milliseconds a million. Everything else is read after that without a lock, from an index that goes on changing, and
 * brought down to that moment: a link is kept if it leads to what was a graph node then, a twin if it was linked then.
 * Links that a list got since are as good as those it had. The writer is inside (epoch.c), and holds the repair's
 * lock, so no place changes hands meanwhile.
 *
 * What waits to be linked is written without links, and so are twins whose head is waiting.
 */
#include "index/snapshot_internal.h"

#include "base/checksum.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum node_kind {
    KIND_VACANT,
    KIND_WAITING,
    KIND_GRAPH,
    KIND_GRAPH_DEAD,
    KIND_TWIN,
    KIND_TWIN_DEAD
};

struct save {
    struct index *ix;
    const char *path;
    char *tmp;
    int fd;
    uint64_t at; /* bytes written */
    uint32_t n;
    uint8_t *kind;  /* [n] enum node_kind */
    uint8_t *level; /* [n] */
    uint32_t *twin; /* [n] next twin, as it is written */
    char *block;
    struct snapshot_header head;
    struct snapshot_block_sums *sums;
};

/* ---- the moment ---- */
static enum node_kind kind_of(unsigned state)
{
    bool dead = state & NODE_DELETED;
    if (!(state & NODE_USED)) return KIND_VACANT;
    if (!(state & NODE_LINKED)) return dead ? KIND_VACANT : KIND_WAITING;
    if (state & NODE_IS_TWIN) return dead ? KIND_TWIN_DEAD : KIND_TWIN;
    return dead ? KIND_GRAPH_DEAD : KIND_GRAPH;
}

static bool is_graph(const struct save *w, uint32_t node)
{
    return node < w->n && (w->kind[node] == KIND_GRAPH || w->kind[node] == KIND_GRAPH_DEAD);
}

static enum err_code take_kinds(struct save *w, struct err *e)
{
    struct index *ix = w->ix;
    rwlock_rdlock(&ix->ids_lock);
    w->n = atomic_load(&ix->n_nodes);
    w->kind = mem_zalloc(w->n, 1);
    w->level = mem_zalloc(w->n, 1);
    w->head.live = ix->ids.n;
    for (uint32_t node = 0; w->kind && w->level && node < w->n; node++)
        w->kind[node] = (uint8_t)kind_of(index__state(ix, node));
    rwlock_unlock(&ix->ids_lock);
    w->twin = mem_alloc(w->n, sizeof *w->twin);
    if (!w->kind || !w->level || !w->twin)
        return err_set(e, ERR_NOMEM, "out of memory to save the index");
    w->head.entry = ENTRY_NONE;
    for (uint32_t node = 0; node < w->n; node++) {
        w->twin[node] = NODE_NONE;
        if (!is_graph(w, node)) continue;
        w->level[node] = (uint8_t)index__level(ix, node);
        if (w->head.entry == ENTRY_NONE || w->level[node] > w->head.entry >> 32)
            w->head.entry = (uint64_t)w->level[node] << 32 | node;
    }
    return ERR_OK;
}

/** Chains of twins as they are written; twins in no graph node's chain wait, or are gone. */
static enum err_code take_twins(struct save *w, struct err *e)
{
    AUTO_FREE uint8_t *hangs = mem_zalloc(w->n, 1);
    if (!hangs) return err_set(e, ERR_NOMEM, "out of memory to save the index");
    for (uint32_t head = 0; head < w->n; head++) {
        if (!is_graph(w, head)) continue;
        uint32_t last = head;
        uint32_t t = atomic_load_explicit(&index__meta(w->ix, head)->twin, memory_order_acquire);
        for (; t != NODE_NONE;
             t = atomic_load_explicit(&index__meta(w->ix, t)->twin, memory_order_acquire)) {
            if (t >= w->n || (w->kind[t] != KIND_TWIN && w->kind[t] != KIND_TWIN_DEAD)) continue;
            w->twin[last] = t;
            hangs[t] = 1;
            last = t;
        }
    }
    for (uint32_t node = 0; node < w->n; node++) {
        if (hangs[node]) continue;
        if (w->kind[node] == KIND_TWIN) w->kind[node] = KIND_WAITING;
        if (w->kind[node] == KIND_TWIN_DEAD) w->kind[node] = KIND_VACANT;
    }
    return ERR_OK;
}

/* ---- bytes ---- */
static enum err_code io_error(const struct save *w, const char *what, struct err *e)
{
    enum err_code code = errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO;
    char why[96];
    return err_set(e, code, "%s %s: %s", what, w->path, strerror_r(errno, why, sizeof why));
}

static enum err_code put(struct save *w, const void *p, size_t n, struct err *e)
{
    const char *from = p;
    while (n > 0) {
        ssize_t done = pwrite(w->fd, from, n, (off_t)w->at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return io_error(w, "cannot write", e);
        from += done;
        n -= (size_t)done;
        w->at += (uint64_t)done;
    }
    return ERR_OK;
}

static enum err_code put_section(
    struct save *w, struct snapshot_section *s, const void *p, size_t n, struct err *e)
{
    w->at = snapshot__align(w->at, SNAPSHOT_ALIGN);
    *s = (struct snapshot_section){ .offset = w->at, .bytes = n, .sum = checksum64(p, n) };
    return put(w, p, n, e);
}

/** The links of a list that lead to graph nodes of the moment, into ret [max], NODE_NONE behind. */
static void take_list(const struct save *w, uint32_t node, unsigned layer, uint32_t *ret)
{
    const _Atomic uint32_t *links = index__links(w->ix, node, layer);
    size_t max = index__max_links(w->ix, layer), n = 0;
    for (size_t i = 0; i < max; i++) {
        uint32_t to = atomic_load_explicit(&links[i], memory_order_acquire);
        if (to == NODE_NONE) break;
        if (!is_graph(w, to) || w->level[to] < layer) continue;
        bool known = false; /* a list that is rewritten while it is read may show one twice */
        for (size_t j = 0; j < n; j++)
            known |= ret[j] == to;
        if (!known) ret[n++] = to;
    }
    while (n < max)
        ret[n++] = NODE_NONE;
}

static enum err_code put_upper(struct save *w, struct err *e)
{
    size_t m = w->ix->o.m, words = 0, at = 0;
    for (uint32_t node = 0; node < w->n; node++)
        if (w->level[node]) words += 2 + m * w->level[node];
    AUTO_FREE uint32_t *all = mem_alloc(words, sizeof *all);
    if (!all) return err_set(e, ERR_NOMEM, "out of memory to save the index");
    for (uint32_t node = 0; node < w->n; node++) {
        if (!w->level[node]) continue;
        all[at++] = node;
        all[at++] = w->level[node];
        for (unsigned l = 1; l <= w->level[node]; l++, at += m)
            take_list(w, node, l, all + at);
    }
    return put_section(w, &w->head.upper, all, words * sizeof *all, e);
}

static uint16_t state_of(enum node_kind kind)
{
    static const uint16_t states[] = { [KIND_VACANT] = 0,
        [KIND_WAITING] = NODE_USED,
        [KIND_GRAPH] = NODE_USED | NODE_CLAIMED | NODE_LINKED,
        [KIND_GRAPH_DEAD] = NODE_USED | NODE_CLAIMED | NODE_LINKED | NODE_DELETED,
        [KIND_TWIN] = NODE_USED | NODE_CLAIMED | NODE_LINKED | NODE_IS_TWIN,
        [KIND_TWIN_DEAD] = NODE_USED | NODE_CLAIMED | NODE_LINKED | NODE_IS_TWIN | NODE_DELETED };
    return states[kind];
}

/** One node into w->block, which is all zeros there and has the shape b. */
static void take_node(struct save *w, uint32_t node, const struct block_shape *b)
{
    const struct index *ix = w->ix;
    size_t i = node & ix->block_mask;
    enum node_kind kind = (enum node_kind)w->kind[node];
    uint32_t *links = (uint32_t *)(void *)(w->block + b->links) + i * ix->m0;
    struct node_meta *m = (struct node_meta *)(void *)(w->block + b->meta) + i;
    m->upper = NODE_NONE;
    atomic_store_explicit(&m->twin, w->twin[node], memory_order_relaxed);
    uint16_t *state = (uint16_t *)(void *)(w->block + b->state) + i;
    *state = (uint16_t)(state_of(kind) | w->level[node] << STATE_LEVEL_SHIFT);
    if (is_graph(w, node) && w->twin[node] != NODE_NONE) *state |= NODE_HAS_TWINS;
    if (is_graph(w, node))
        take_list(w, node, 0, links);
    else
        memset(links, 0xff, ix->m0 * sizeof *links);
    if (kind == KIND_VACANT) return;
    m->id = index__meta(ix, node)->id;
    memcpy(w->block + i * ix->row_bytes, index__row(ix, node), ix->row_bytes);
    memcpy(w->block + b->low + i * ix->low_bytes, index__low(ix, node), ix->low_bytes);
}

static enum err_code put_blocks(struct save *w, size_t n_blocks, struct err *e)
{
    const struct index *ix = w->ix;
    for (size_t b = 0; b < n_blocks; b++) {
        size_t first = b << ix->block_shift, nodes = snapshot__nodes_of(ix, w->n, b);
        struct block_shape shape = snapshot__shape_of(ix, nodes);
        memset(w->block, 0, shape.bytes);
        for (size_t i = 0; i < nodes; i++)
            take_node(w, (uint32_t)(first + i), &shape);
        w->sums[b].rows = checksum64(w->block, shape.links);
        w->sums[b].graph = checksum64(w->block + shape.links, shape.bytes - shape.links);
        TRY(put(w, w->block, shape.bytes, e));
    }
    return ERR_OK;
}

static void fill_head(struct save *w, const struct snapshot_mark *mark)
{
    const struct index *ix = w->ix;
    struct snapshot_header *h = &w->head;
    struct index_curve c;
    index_curve(ix, &c);
    memcpy(h->magic, SNAPSHOT_MAGIC, sizeof h->magic);
    h->version = SNAPSHOT_VERSION;
    h->header_bytes = SNAPSHOT_HEADER;
    h->file_bytes = w->at;
    h->dim = (uint32_t)ix->o.dim;
    h->metric = (uint32_t)ix->o.metric;
    h->m = (uint32_t)ix->o.m;
    h->bits = ix->o.bits;
    h->seed = ix->o.seed;
    h->block_shift = ix->block_shift;
    h->n_nodes = w->n;
    h->block_bytes = ix->shape.bytes;
    h->seq = mark->seq;
    memcpy(h->label, mark->label, sizeof h->label);
    h->centre_from = atomic_load(&ix->centre.n_from);
    h->curve_n = c.n;
    h->curve_queries = c.n_queries;
    h->curve_at_live = c.at_live;
    for (size_t i = 0; i < c.n; i++) {
        h->curve_ef[i] = c.ef[i];
        h->curve_recall[i] = c.recall[i];
    }
    h->sum = checksum64(h, offsetof(struct snapshot_header, sum));
}

/** All bytes; the header, which says how long they are, last. */
static enum err_code put_all(struct save *w, const struct snapshot_mark *mark, struct err *e)
{
    const struct index *ix = w->ix;
    TRY(take_kinds(w, e));
    TRY(take_twins(w, e));
    size_t n_blocks = ((size_t)w->n + ix->block_mask) >> ix->block_shift;
    w->sums = mem_zalloc(n_blocks, sizeof *w->sums);
    w->block = mem_alloc_aligned(64, 1, ix->shape.bytes);
    if (!w->sums || !w->block) return err_set(e, ERR_NOMEM, "out of memory to save the index");
    w->at = SNAPSHOT_HEADER;
    TRY(put_section(w, &w->head.centre, ix->centre.rotated, ix->o.dim * sizeof(float), e));
    TRY(put_upper(w, e));
    w->head.sums.offset = w->at = snapshot__align(w->at, SNAPSHOT_ALIGN);
    w->head.sums.bytes = n_blocks * sizeof *w->sums;
    w->head.blocks_offset = w->at = snapshot__align(w->at + w->head.sums.bytes, SNAPSHOT_PAGE);
    TRY(put_blocks(w, n_blocks, e));
    uint64_t end = w->at;
    if (ftruncate(w->fd, (off_t)end) != 0) return io_error(w, "cannot write", e);
    w->head.sums.sum = checksum64(w->sums, w->head.sums.bytes);
    w->at = w->head.sums.offset;
    TRY(put(w, w->sums, w->head.sums.bytes, e));
    w->at = end;
    fill_head(w, mark);
    w->at = 0;
    TRY(put(w, &w->head, sizeof w->head, e));
    w->at = end;
    return ERR_OK;
}

/** The folder's entry is on disk, too. */
static enum err_code sync_folder(const struct save *w, struct err *e)
{
    AUTO_FREE char *folder = mem_strdup(w->path);
    if (!folder) return err_set(e, ERR_NOMEM, "out of memory to save the index");
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return io_error(w, "cannot open the folder of", e);
    int failed = fsync(fd);
    (void)close(fd);
    return failed ? io_error(w, "cannot sync the folder of", e) : ERR_OK;
}

static enum err_code put_file(struct save *w, const struct snapshot_mark *mark, struct err *e)
{
    w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (w->fd < 0) return io_error(w, "cannot create", e);
    unsigned token = epoch__enter(w->ix, w);
    enum err_code code = put_all(w, mark, e);
    epoch__leave(w->ix, w, token);
    if (code == ERR_OK && fsync(w->fd) != 0) code = io_error(w, "cannot sync", e);
    if (close(w->fd) != 0 && code == ERR_OK) code = io_error(w, "cannot close", e);
    if (code == ERR_OK && rename(w->tmp, w->path) != 0) code = io_error(w, "cannot rename", e);
    if (code != ERR_OK) {
        (void)unlink(w->tmp);
        return code;
    }
    return sync_folder(w, e);
}

enum err_code index_save(struct index *ix, const char *path, const struct snapshot_mark *mark,
    size_t *ret_bytes, struct err *e)
{
    struct save w = { .ix = ix, .path = path, .fd = -1 };
    size_t n = strlen(path);
    w.tmp = mem_alloc(n + sizeof ".tmp", 1);
    if (!w.tmp) return err_set(e, ERR_NOMEM, "out of memory to save the index");
    memcpy(w.tmp, path, n);
    memcpy(w.tmp + n, ".tmp", sizeof ".tmp");
    mutex_lock(&ix->repair.lock);
    enum err_code code = put_file(&w, mark, e);
    mutex_unlock(&ix->repair.lock);
    mem_free(w.tmp);
    mem_free(w.kind);
    mem_free(w.level);
    mem_free(w.twin);
    mem_free(w.block);
    mem_free(w.sums);
    if (code == ERR_OK) *ret_bytes = (size_t)w.at;
    return code;
}
