/* Layer: index. May include: base.
 *
 * The snapshot file, byte by byte. All numbers are little-endian; the structs below are its image on the machines that
 * Kindred runs on.
 *
 *   offset         size                 content
 *   0              4096                 struct snapshot_header
 *   centre.offset  4 dim                the centre, rotated, float
 *   upper.offset   sum of 8 + 4 m level for each node with a level, ascending: u32 node, u32 level, then the lists of
 *                                       layers 1…level, m u32 each, 0xffffffff behind the last link
 *   sums.offset    16 n_blocks          for each block: XXH3 of its rows (up to shape.links), XXH3 of the rest
 *   blocks_offset  block_bytes each     blocks as in memory (index_internal.h), a multiple of 4096: rows, lower
 *                                       bits, lists of layer 0, struct node_meta with `upper` 0xffffffff, states.
 *                                       The last one, unless it is full, has the shape of a block of just the nodes
 *                                       that there are (index__shape)
 *
 * Sections stand in this order, each at the next multiple of 64 (the blocks: of 4096), with zeros between. A node is
 * one of: vacant (state 0); waiting (USED); linked (USED|CLAIMED|LINKED), and then DELETED or not, and either a graph
 * node, with HAS_TWINS or not and its level, or IS_TWIN. Links lead to graph nodes of at least that level. Lists of layer 0 of other nodes are empty. Each twin is in
 * the chain of just one graph node. The entry point is a graph node of the highest level.
 */
#pragma once

#include "index/index_internal.h"
#include "index/snapshot.h"

#include <stddef.h>

enum { SNAPSHOT_HEADER = 4096, SNAPSHOT_ALIGN = 64, SNAPSHOT_PAGE = 4096 };
#define SNAPSHOT_MAGIC "KNDINDEX"

struct snapshot_section {
    uint64_t offset, bytes, sum; /* XXH3 */
};

struct snapshot_header {
    char magic[8];                  /* 0: SNAPSHOT_MAGIC */
    uint32_t version;               /* 8 */
    uint32_t header_bytes;          /* 12: SNAPSHOT_HEADER */
    uint64_t file_bytes;            /* 16 */
    uint32_t dim, metric;           /* 24: enum metric_kind */
    uint32_t m, bits;               /* 32 */
    uint64_t seed;                  /* 40 */
    uint32_t block_shift;           /* 48 */
    uint32_t n_nodes;               /* 52 */
    uint64_t block_bytes;           /* 56 */
    uint64_t entry;                 /* 64: level << 32 | node; all ones: the graph is empty */
    uint64_t live;                  /* 72 */
    int64_t seq;                    /* 80: the owner's mark */
    char label[SNAPSHOT_LABEL_MAX]; /* 88 */
    uint64_t centre_from;           /* 152: vectors that the centre was taken from */
    uint64_t curve_n;               /* 160: 0 or INDEX_CURVE_POINTS */
    uint64_t curve_queries, curve_at_live;
    uint64_t curve_ef[INDEX_CURVE_POINTS]; /* 184 */
    float curve_recall[INDEX_CURVE_POINTS];
    struct snapshot_section centre, upper, sums; /* 280 */
    uint64_t blocks_offset;                      /* 352 */
    uint8_t zeros[SNAPSHOT_HEADER - 368];
    uint64_t sum; /* 4088: XXH3 of all before it */
};
_Static_assert(sizeof(struct snapshot_header) == SNAPSHOT_HEADER, "the header fills its page");
_Static_assert(
    offsetof(struct snapshot_header, centre) == 280, "sections stand where they are said to");
_Static_assert(sizeof(struct node_meta) == 16, "metas are stored as they are");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is an image of memory");

struct snapshot_block_sums {
    uint64_t rows, graph;
};

/** Of n_nodes nodes those that block b has in the file. */
static inline size_t snapshot__nodes_of(const struct index *ix, size_t n_nodes, size_t b)
{
    size_t all = (size_t)ix->block_mask + 1, left = n_nodes - b * all;
    return left < all ? left : all;
}
static inline struct block_shape snapshot__shape_of(const struct index *ix, size_t nodes)
{
    return nodes == (size_t)ix->block_mask + 1 ? ix->shape : index__shape(ix, nodes);
}

static inline uint64_t snapshot__align(uint64_t at, uint64_t to)
{
    return (at + to - 1) / to * to;
}

/* ---- snapshot_check.c: *ret_wrong stays NULL if nothing is wrong, else it is a static string ---- */
/** Each node by itself; `rows`: and the head of its row. */
MUST_USE enum err_code snapshot__check_nodes(
    const struct index *ix, bool rows, const char **ret_wrong, struct err *e);
/** Lists, twins, entry point; the upper lists are loaded. NOMEM. */
MUST_USE enum err_code snapshot__check_graph(
    const struct index *ix, uint64_t entry, const char **ret_wrong, struct err *e);
