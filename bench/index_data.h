/* Layer: bench. May include: base.
 *
 * Vectors of bench-index: matrices in files, and the set that is made here. Also for C++.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum matrix_metric { MATRIX_COSINE, MATRIX_DOT, MATRIX_L2 };

/** [n, dim] f32 in C order; v is a mapped file, whose pages cost no memory of the process's own, or a copy. */
struct matrix {
    const float *v;
    size_t n, dim;
    const void *map; /* NULL: v was allocated */
    size_t map_bytes;
};

/** "cosine", "dot", "l2"; -1: none of them. */
int matrix_metric_parse(const char *name);
/** A .npy file ('<f4', two dimensions, C order), mapped and read through once, or an .fvecs file, copied. NULL, or
 * what is wrong with it. */
const char *matrix_open(const char *path, struct matrix *ret);
/** Accepts a zeroed struct. */
void matrix_close(struct matrix *m);
/** Write rows as .npy, under another name first, so that a file that is there is whole. Ends the program on failure. */
void matrix_write(const char *path, const float *v, size_t n, size_t dim);

/**
 * Clusters of very different size, each with a few directions of its own that carry most of its spread, around
 * centres that are themselves in groups. The first n_base rows are one draw, the n_query after them another of the
 * same clusters; equal arguments give equal values.
 */
void matrix_make_clusters(const char *base_path, const char *query_path, size_t n_base,
    size_t n_query, size_t dim, uint64_t seed);

#ifdef __cplusplus
}
#endif
