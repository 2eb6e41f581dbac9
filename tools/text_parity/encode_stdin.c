/* Tokenise what stdin brings, for compare.py.
 *
 *   in    uint32 n, then n bytes of text; again and again (native byte order)
 *   out   uint32 count, then count times uint32 id, begin, end (byte offsets); count 2^32 - 1 alone: no UTF-8
 *   err   at the end: tokens, and seconds spent on them
 *
 * Usage: encode_stdin MODEL_DIR MAX_TOKENS [bare]      bare: without special tokens
 */
#include "base/mem.h"
#include "core/text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int fail(const char *what, const struct err *e)
{
    fprintf(stderr, "encode_stdin: %s: %s\n", what, e->msg);
    return 1;
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static int encode_all(
    const struct tokenizer *t, size_t max_tokens, bool bare, struct tokenizer_scratch *s)
{
    struct err e = ERR_INIT;
    struct token_ids ids = { .want_spans = true, .no_specials = bare };
    char *text = NULL;
    uint32_t n;
    size_t tokens = 0;
    double seconds = 0;
    int rc = 0;
    while (rc == 0 && fread(&n, sizeof n, 1, stdin) == 1) {
        char *grown = mem_realloc(text, (size_t)n + 1, 1);
        if (!grown) break;
        text = grown;
        if (n && fread(text, 1, n, stdin) != n) break;
        double start = now();
        enum err_code code = tokenizer_encode(t, (struct str){ text, n }, max_tokens, s, &ids, &e);
        seconds += now() - start;
        if (code != ERR_OK && code != ERR_INVALID) {
            rc = fail("encode", &e);
            break;
        }
        uint32_t count = code == ERR_OK ? (uint32_t)ids.n : UINT32_MAX;
        fwrite(&count, sizeof count, 1, stdout);
        tokens += code == ERR_OK ? ids.n : 0;
        for (size_t i = 0; code == ERR_OK && i < ids.n; i++) {
            uint32_t row[3] = { ids.ids[i], ids.spans[i].begin, ids.spans[i].end };
            fwrite(row, sizeof row, 1, stdout);
        }
    }
    fprintf(stderr, "%zu %.6f\n", tokens, seconds);
    mem_free(text);
    token_ids_done(&ids);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct tokenizer *t;
    bool bare = argc == 4 && strcmp(argv[3], "bare") == 0;
    if (argc != 3 && !bare) {
        fprintf(stderr, "usage: encode_stdin MODEL_DIR MAX_TOKENS [bare]\n");
        return 2;
    }
    if (tokenizer_load(argv[1], &t, &e) != ERR_OK) return fail(argv[1], &e);
    struct tokenizer_scratch *s = tokenizer_scratch_new();
    int rc = s ? encode_all(t, strtoul(argv[2], NULL, 10), bare, s) : 1;
    tokenizer_scratch_free(s);
    tokenizer_free(t);
    return rc;
}
