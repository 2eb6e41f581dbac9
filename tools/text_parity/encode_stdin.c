/* Tokenise what stdin brings, for compare.py.
 *
 *   in    uint32 n, then n bytes of text; again and again (native byte order)
 *   out   uint32 count, then count times uint32 id, begin, end (byte offsets)
 *
 * Usage: encode_stdin MODEL_DIR MAX_TOKENS
 */
#include "base/mem.h"
#include "core/text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, const struct err *e)
{
    fprintf(stderr, "encode_stdin: %s: %s\n", what, e->msg);
    return 1;
}

static int encode_all(const struct tokenizer *t, size_t max_tokens, struct tokenizer_scratch *s)
{
    struct err e = ERR_INIT;
    struct token_ids ids = { .want_spans = true };
    char *text = NULL;
    uint32_t n;
    int rc = 0;
    while (rc == 0 && fread(&n, sizeof n, 1, stdin) == 1) {
        char *grown = mem_realloc(text, (size_t)n + 1, 1);
        if (!grown) break;
        text = grown;
        if (n && fread(text, 1, n, stdin) != n) break;
        if (tokenizer_encode(t, (struct str){ text, n }, max_tokens, s, &ids, &e) != ERR_OK) {
            rc = fail("encode", &e);
            break;
        }
        uint32_t count = (uint32_t)ids.n;
        fwrite(&count, sizeof count, 1, stdout);
        for (size_t i = 0; i < ids.n; i++) {
            uint32_t row[3] = { ids.ids[i], ids.spans[i].begin, ids.spans[i].end };
            fwrite(row, sizeof row, 1, stdout);
        }
    }
    mem_free(text);
    token_ids_done(&ids);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct tokenizer *t;
    if (argc != 3) {
        fprintf(stderr, "usage: encode_stdin MODEL_DIR MAX_TOKENS\n");
        return 2;
    }
    if (tokenizer_load(argv[1], &t, &e) != ERR_OK) return fail(argv[1], &e);
    struct tokenizer_scratch *s = tokenizer_scratch_new();
    int rc = s ? encode_all(t, strtoul(argv[2], NULL, 10), s) : 1;
    tokenizer_scratch_free(s);
    tokenizer_free(t);
    return rc;
}
