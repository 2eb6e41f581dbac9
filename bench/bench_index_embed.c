/* Vectors of a file's lines, for the data sets of bench-index (bench/index_data/README.md).
 *
 *   bench_index_embed TEXTS MODEL_DIR OUT.npy [THREADS]
 *
 * OUT.npy: float32 [lines, dimensions] in C order, a row for each line of TEXTS; a line without a single token
 * is refused. Lines of about the same length go through the encoder together.
 */
#include "base/fileio.h"
#include "base/mem.h"
#include "base/thread.h"
#include "core/model/encoder.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, FILE_BYTES_MAX = 1 << 30, THREADS_MAX = 64, NPY_HEADER_BYTES = 128 };

struct line {
    struct str text;
    size_t row;
};

struct job {
    const struct encoder *enc;
    const struct line *lines; /* by length */
    size_t n, dim;
    float *out; /* [n, dim], in the order of the file */
    atomic_size_t next;
};

static _Noreturn void die(const char *what, const struct err *e)
{
    fprintf(stderr, "bench_index_embed: %s: %s\n", what, e ? e->msg : "no memory");
    exit(1);
}

static void *must(void *p)
{
    if (!p) die("texts", NULL);
    return p;
}

static size_t split_lines(char *bytes, size_t n, struct line *ret)
{
    size_t count = 0;
    for (size_t at = 0; at < n; count++) {
        char *end = memchr(bytes + at, '\n', n - at);
        size_t length = end ? (size_t)(end - bytes) - at : n - at;
        ret[count] = (struct line){ { bytes + at, length }, count };
        at += length + 1;
    }
    return count;
}

static int by_length(const void *pa, const void *pb)
{
    const struct line *a = pa, *b = pb;
    if (a->text.n != b->text.n) return a->text.n < b->text.n ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

static void encode(void *arg)
{
    struct job *j = arg;
    struct err e = ERR_INIT;
    struct encoder_workspace *w;
    float *out = must(mem_alloc_aligned(64, BATCH * j->dim, sizeof *out));
    if (encoder_workspace_new(j->enc, &w, &e) != ERR_OK) die("workspace", &e);
    for (size_t at; (at = atomic_fetch_add(&j->next, BATCH)) < j->n;) {
        size_t n = j->n - at < BATCH ? j->n - at : BATCH;
        encoder_batch_begin(w);
        for (size_t i = 0; i < n; i++)
            if (encoder_batch_add_text(w, j->lines[at + i].text, ENCODE_DOCUMENT, true, NULL, &e) !=
                ERR_OK)
                die("text", &e);
        if (encoder_batch_forward(w, out, &e) != ERR_OK) die("forward", &e);
        for (size_t i = 0; i < n; i++)
            memcpy(j->out + j->lines[at + i].row * j->dim, out + i * j->dim, j->dim * sizeof *out);
    }
    mem_free(out);
    encoder_workspace_free(w);
}

static void write_npy(const char *path, const float *v, size_t rows, size_t columns)
{
    char header[NPY_HEADER_BYTES + 1], shape[NPY_HEADER_BYTES];
    snprintf(shape, sizeof shape, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }",
        rows, columns);
    snprintf(header, sizeof header, "%-*s\n", NPY_HEADER_BYTES - 1, "");
    memcpy(header, "\x93NUMPY\x01", 7);
    header[7] = 0;
    header[8] = NPY_HEADER_BYTES - 10;
    header[9] = 0;
    memcpy(header + 10, shape, strlen(shape));
    FILE *f = fopen(path, "wbe");
    if (!f || fwrite(header, NPY_HEADER_BYTES, 1, f) != 1 ||
        fwrite(v, sizeof *v * columns, rows, f) != rows || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct encoder *enc;
    char *bytes;
    size_t n_bytes;
    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: bench_index_embed TEXTS MODEL_DIR OUT.npy [THREADS]\n");
        return 2;
    }
    unsigned threads = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : thread_cores();
    if (threads < 1 || threads > THREADS_MAX) threads = 1;
    if (file_read(argv[1], FILE_BYTES_MAX, &bytes, &n_bytes, &e) != ERR_OK) die("texts", &e);
    if (encoder_load(argv[2], vec_select(VEC_BEST), &enc, &e) != ERR_OK) die("model", &e);
    struct line *lines = must(mem_alloc(n_bytes + 1, sizeof *lines));
    struct job j = { .enc = enc, .lines = lines, .dim = encoder_info(enc)->dimensions };
    j.n = split_lines(bytes, n_bytes, lines);
    qsort(lines, j.n, sizeof *lines, by_length);
    j.out = must(mem_alloc(j.n * j.dim, sizeof *j.out));

    struct thread t[THREADS_MAX] = { 0 };
    int64_t start = time_mono_ns();
    for (unsigned i = 1; i < threads; i++)
        if (thread_start(&t[i], "embed", encode, &j, &e) != ERR_OK) die("thread", &e);
    encode(&j);
    for (unsigned i = 1; i < threads; i++)
        thread_join(&t[i]);
    fprintf(stderr, "%zu vectors in %.1f s\n", j.n, (double)(time_mono_ns() - start) / 1e9);
    write_npy(argv[3], j.out, j.n, j.dim);
    mem_free(j.out);
    mem_free(lines);
    mem_free(bytes);
    encoder_free(enc);
    return 0;
}
