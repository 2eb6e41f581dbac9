/* Encode what stdin brings, for compare.py.
 *
 *   in    uint32 n, then n bytes of text; again and again (native byte order)
 *   out   uint32 dimensions; then for each text uint32 tokens and, unless that is 0, its vector of floats.
 *         0 tokens: nothing in the text that could be encoded
 *
 * Usage: embed_stdin MODEL_DIR [query] [blas|packed]
 */
#include "base/mem.h"
#include "core/model/encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_TEXTS = 64, BATCH_TOKENS = 2048 };

/* Texts of a batch in their order; those with 0 tokens are not in the encoder's. */
struct batch {
    struct encoder_workspace *w;
    size_t dim, n;
    uint32_t tokens[BATCH_TEXTS];
    float *out; /* [BATCH_TEXTS, dim] */
};

static int fail(const char *what, const struct err *e)
{
    fprintf(stderr, "embed_stdin: %s: %s\n", what, e->msg);
    return 1;
}

static enum err_code flush(struct batch *b, struct err *e)
{
    const float *row = b->out;
    TRY(encoder_batch_forward(b->w, b->out, e));
    for (size_t i = 0; i < b->n; i++) {
        fwrite(&b->tokens[i], sizeof b->tokens[i], 1, stdout);
        if (b->tokens[i] == 0) continue;
        fwrite(row, sizeof *row, b->dim, stdout);
        row += b->dim;
    }
    b->n = 0;
    encoder_batch_begin(b->w);
    return ERR_OK;
}

static enum err_code encode_all(struct batch *b, enum encode_kind kind, struct err *e)
{
    AUTO_FREE char *text = NULL;
    uint32_t n;
    encoder_batch_begin(b->w);
    while (fread(&n, sizeof n, 1, stdin) == 1) {
        char *grown = mem_realloc(text, (size_t)n + 1, 1);
        if (!grown) return err_set(e, ERR_NOMEM, "no memory for a text of %u bytes", n);
        text = grown;
        if (n && fread(text, 1, n, stdin) != n) return err_set(e, ERR_IO, "half a text");
        size_t tokens = 0;
        enum err_code code =
            encoder_batch_add_text(b->w, (struct str){ text, n }, kind, true, &tokens, e);
        if (code == ERR_EMPTY)
            tokens = 0;
        else if (code != ERR_OK)
            return code;
        b->tokens[b->n++] = (uint32_t)tokens;
        if (b->n == BATCH_TEXTS || encoder_batch_tokens(b->w) >= BATCH_TOKENS) TRY(flush(b, e));
    }
    return flush(b, e);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct encoder_options o = { vec_select(VEC_BEST), PRODUCTS_BEST };
    enum encode_kind kind = ENCODE_DOCUMENT;
    struct encoder *enc;
    struct batch b = { .n = 0 };
    if (argc < 2) {
        fprintf(stderr, "usage: embed_stdin MODEL_DIR [query] [blas|packed]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "query")) kind = ENCODE_QUERY;
        if (!strcmp(argv[i], "blas")) o.products = PRODUCTS_BLAS;
        if (!strcmp(argv[i], "packed")) o.products = PRODUCTS_PACKED;
    }
    if (encoder_open(argv[1], &o, &enc, &e) != ERR_OK) return fail(argv[1], &e);
    if (encoder_workspace_new(enc, &b.w, &e) != ERR_OK) return fail(argv[1], &e);
    b.dim = encoder_info(enc)->dimensions;
    b.out = mem_alloc(BATCH_TEXTS * b.dim, sizeof *b.out);
    uint32_t dim = (uint32_t)b.dim;
    fwrite(&dim, sizeof dim, 1, stdout);
    int rc = b.out && encode_all(&b, kind, &e) == ERR_OK ? 0 : fail("encode", &e);
    mem_free(b.out);
    encoder_workspace_free(b.w);
    encoder_free(enc);
    return rc;
}
