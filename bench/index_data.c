#include "bench/index_data.h"

#include "base/mem.h"
#include "base/rng.h"

#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NPY_HEADER_BYTES = 128, DIM_MAX = 65536, PAGE = 4096 };

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *must(void *p)
{
    if (!p) die("vectors");
    return p;
}

int matrix_metric_parse(const char *name)
{
    static const char *const names[] = { "cosine", "dot", "l2" };
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) return i;
    return -1;
}

/* ---- files ---- */
static const char *open_npy(const unsigned char *p, size_t size, struct matrix *ret)
{
    size_t header = 10 + p[8] + 256u * p[9];
    char text[1024] = "";
    if (header > size || header - 10 >= sizeof text) return "its header is cut off";
    memcpy(text, p + 10, header - 10);
    const char *shape = strstr(text, "'shape': (");
    char *end;
    if (!shape || !strstr(text, "'<f4'") || !strstr(text, "'fortran_order': False"))
        return "not float32 in C order";
    ret->n = strtoull(shape + 10, &end, 10);
    ret->dim = *end == ',' ? strtoull(end + 1, &end, 10) : 0;
    if (*end != ')' || ret->dim < 1 || ret->dim > DIM_MAX) return "not two-dimensional";
    if ((size - header) / ret->dim / sizeof(float) != ret->n || header % sizeof(float) != 0)
        return "its size is not what its header says";
    ret->v = (const float *)(const void *)(p + header);
    return NULL;
}

static const char *open_fvecs(const unsigned char *p, size_t size, struct matrix *ret)
{
    int32_t dim;
    memcpy(&dim, p, sizeof dim);
    if (dim < 1 || dim > DIM_MAX) return "neither .npy nor .fvecs";
    size_t row = sizeof dim + (size_t)dim * sizeof(float);
    if (size % row != 0) return "neither .npy nor .fvecs";
    float *v = must(mem_alloc(size, 1));
    ret->n = size / row;
    ret->dim = (size_t)dim;
    for (size_t i = 0; i < ret->n; i++)
        memcpy(v + i * ret->dim, p + i * row + sizeof dim, row - sizeof dim);
    ret->v = v;
    return NULL;
}

const char *matrix_open(const char *path, struct matrix *ret)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < 64) {
        if (fd >= 0) (void)close(fd);
        return "it cannot be opened";
    }
    size_t size = (size_t)st.st_size;
    unsigned char *p = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    (void)close(fd);
    if (p == MAP_FAILED) return "it cannot be mapped";
    struct matrix m = { 0 };
    bool is_npy = memcmp(p, "\x93NUMPY\x01", 7) == 0;
    const char *why = is_npy ? open_npy(p, size, &m) : open_fvecs(p, size, &m);
    if (why || !is_npy) {
        (void)munmap(p, size);
    } else {
        m.map = p;
        m.map_bytes = size;
        /* A page that is not in the page cache costs its first reader, not the build. */
        unsigned sum = 0;
        for (size_t i = 0; i < size; i += PAGE)
            sum += *(volatile unsigned char *)(p + i);
        (void)sum;
    }
    if (!why) *ret = m;
    return why;
}

void matrix_close(struct matrix *m)
{
    if (m->map)
        (void)munmap((void *)(uintptr_t)m->map, m->map_bytes);
    else
        mem_free((void *)(uintptr_t)m->v);
    *m = (struct matrix){ 0 };
}

void matrix_write(const char *path, const float *v, size_t n, size_t dim)
{
    char header[NPY_HEADER_BYTES + 1], part[4096];
    int at = snprintf(header, sizeof header,
        "\x93NUMPY\x01%c%c%c{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", 1,
        NPY_HEADER_BYTES - 10, 1, n, dim);
    header[7] =
        0; /* version 1.0 and the length's high byte: a %c of 0 would end nothing, but reads badly */
    header[9] = 0;
    memset(header + at, ' ', (size_t)(NPY_HEADER_BYTES - at));
    header[NPY_HEADER_BYTES - 1] = '\n';
    snprintf(part, sizeof part, "%s.part", path);
    FILE *f = fopen(part, "wbe");
    if (!f || fwrite(header, NPY_HEADER_BYTES, 1, f) != 1 ||
        fwrite(v, sizeof *v * dim, n, f) != n || fclose(f) != 0 || rename(part, path) != 0)
        die(path);
}

/* ---- made clusters ---- */
enum { GROUPS = 60, CLUSTERS = 1500, RANK_MIN = 8, RANK_MAX = 24 };

struct clusters {
    size_t dim;
    float *centres;           /* [CLUSTERS, dim] */
    float *axes;              /* [CLUSTERS, RANK_MAX, dim], the first `rank` of each used */
    double weights[CLUSTERS]; /* running sum */
    unsigned rank[CLUSTERS];
    double spread[CLUSTERS];
};

static void make_clusters(struct clusters *c, size_t dim, struct rng *r)
{
    c->dim = dim;
    c->centres = must(mem_alloc(CLUSTERS * dim, sizeof *c->centres));
    c->axes = must(mem_alloc(CLUSTERS * RANK_MAX * dim, sizeof *c->axes));
    float *groups = must(mem_alloc(GROUPS * dim, sizeof *groups));
    for (size_t i = 0; i < GROUPS * dim; i++)
        groups[i] = (float)rng_normal(r);
    double sum = 0;
    for (size_t i = 0; i < CLUSTERS; i++) {
        const float *g = groups + rng_below(r, GROUPS) * dim;
        for (size_t d = 0; d < dim; d++)
            c->centres[i * dim + d] = g[d] + (float)(0.7 * rng_normal(r));
        for (size_t d = 0; d < RANK_MAX * dim; d++)
            c->axes[i * RANK_MAX * dim + d] = (float)rng_normal(r);
        c->weights[i] = sum += exp(1.2 * rng_normal(r)); /* some fifty times as large as others */
        c->rank[i] = RANK_MIN + (unsigned)rng_below(r, RANK_MAX - RANK_MIN + 1);
        c->spread[i] = exp(0.35 * rng_normal(r));
    }
    mem_free(groups);
}

static size_t draw_cluster(const struct clusters *c, struct rng *r)
{
    double at = rng_unit(r) * c->weights[CLUSTERS - 1];
    size_t low = 0, high = CLUSTERS - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->weights[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void draw(const struct clusters *c, struct rng *r, size_t n, const char *path)
{
    float *v = must(mem_alloc(n * c->dim, sizeof *v));
    for (size_t i = 0; i < n; i++) {
        size_t k = draw_cluster(c, r);
        float *row = v + i * c->dim;
        for (size_t d = 0; d < c->dim; d++)
            row[d] = c->centres[k * c->dim + d] + (float)(0.08 * rng_normal(r));
        for (unsigned a = 0; a < c->rank[k]; a++) {
            const float *axis = c->axes + (k * RANK_MAX + a) * c->dim;
            float z = (float)(c->spread[k] * 0.4 / sqrt(1.0 + a) * rng_normal(r));
            for (size_t d = 0; d < c->dim; d++)
                row[d] += z * axis[d];
        }
    }
    matrix_write(path, v, n, c->dim);
    mem_free(v);
}

void matrix_make_clusters(const char *base_path, const char *query_path, size_t n_base,
    size_t n_query, size_t dim, uint64_t seed)
{
    struct clusters *c = must(mem_alloc(1, sizeof *c));
    struct rng r;
    rng_init(&r, seed);
    make_clusters(c, dim, &r);
    draw(c, &r, n_base, base_path);
    draw(c, &r, n_query, query_path);
    mem_free(c->centres);
    mem_free(c->axes);
    mem_free(c);
}
