#include "bench/workload.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 1 << 30, CONFIG_MAX = 1 << 20 };

static void die(const char *what, const struct err *e)
{
    (void)fprintf(stderr, "%s: %s\n", what, e ? e->msg : "no memory");
    exit(1);
}

static void *need(void *p)
{
    if (!p) die("workload", NULL);
    return p;
}

static void write_ids(struct workload *w)
{
    uint32_t n = (uint32_t)w->n;
    (void)snprintf(w->path, sizeof w->path, "/tmp/kindred-bench-XXXXXX");
    int fd = mkstemp(w->path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) die(w->path, &(struct err){ .msg = "cannot be written" });
    (void)fwrite(&n, sizeof n, 1, f);
    for (size_t i = 0; i <= w->n; i++) {
        uint32_t start = (uint32_t)w->starts[i];
        (void)fwrite(&start, sizeof start, 1, f);
    }
    (void)fwrite(w->ids, sizeof *w->ids, w->starts[w->n], f);
    if (fclose(f) != 0) die(w->path, &(struct err){ .msg = "cannot be written" });
}

static void tokenise(struct workload *w, const struct tokenizer *t, size_t max_tokens)
{
    struct err e = ERR_INIT;
    struct tokenizer_scratch *s = need(tokenizer_scratch_new());
    struct token_ids ids = { .n = 0 };
    size_t cap = 0;
    w->starts = need(mem_alloc(w->n + 1, sizeof *w->starts));
    w->starts[0] = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (tokenizer_encode(t, w->texts[i], max_tokens, s, &ids, &e) != ERR_OK) die("tokens", &e);
        size_t at = w->starts[i], n = at + ids.n;
        if (n > cap) {
            cap = 2 * n;
            w->ids = need(mem_realloc(w->ids, cap, sizeof *w->ids));
        }
        for (size_t k = 0; k < ids.n; k++)
            w->ids[at + k] = ids.ids[k];
        w->starts[i + 1] = n;
    }
    token_ids_done(&ids);
    tokenizer_scratch_free(s);
    write_ids(w);
}

static bool is_plain_word(struct str piece)
{
    for (size_t i = 0; i < piece.n; i++)
        if (!islower((unsigned char)piece.p[i])) return false;
    return piece.n > 1;
}

void workload_make(
    struct workload *w, const struct tokenizer *t, size_t n, size_t tokens, uint64_t seed)
{
    size_t n_pieces = tokenizer_vocab_size(t), n_words = 0, each = tokens - 2, length = 0;
    struct str *words = need(mem_alloc(n_pieces, sizeof *words));
    struct buf b = BUF_INIT(0);
    struct rng rng;

    for (size_t id = 0; id < n_pieces; id++)
        if (is_plain_word(tokenizer_piece(t, (uint32_t)id)))
            words[n_words++] = tokenizer_piece(t, (uint32_t)id);
    if (n_words == 0) die("vocabulary", &(struct err){ .msg = "no plain words" });
    *w = (struct workload){ .n = n, .texts = need(mem_alloc(n, sizeof *w->texts)) };
    (void)snprintf(w->name, sizeof w->name, "%zux%zu", n, tokens);
    rng_init(&rng, seed);
    for (size_t i = 0; i < n * each; i++) {
        struct str word = words[(size_t)(rng_unit(&rng) * (double)n_words) % n_words];
        buf_append(&b, word.p, word.n);
        buf_putc(&b, (i + 1) % each ? ' ' : '\n');
    }
    if (buf_check(&b, NULL) != ERR_OK) die("workload", NULL);
    w->bytes = need(buf_take(&b, &length));
    for (size_t i = 0, at = 0; i < n; i++) {
        size_t end = at;
        while (w->bytes[end] != '\n')
            end++;
        w->texts[i] = (struct str){ w->bytes + at, end - at };
        at = end + 1;
    }
    mem_free(words);
    tokenise(w, t, 0);
    if (w->starts[n] != n * tokens)
        die(w->name, &(struct err){ .msg = "the tokenizer cuts a word of its vocabulary" });
}

void workload_read(
    struct workload *w, const struct tokenizer *t, const char *path, size_t n, size_t max_tokens)
{
    struct err e = ERR_INIT;
    size_t bytes, lines = 0, kept = 0;

    *w = (struct workload){ .n = 0 };
    if (file_read(path, FILE_BYTES_MAX, &w->bytes, &bytes, &e) != ERR_OK) die(path, &e);
    struct str *all = need(mem_alloc(bytes / 2 + 1, sizeof *all));
    for (size_t at = 0, end; at < bytes; at = end + 1) {
        for (end = at; end < bytes && w->bytes[end] != '\n';)
            end++;
        if (end > at) all[lines++] = (struct str){ w->bytes + at, end - at };
    }
    if (n > lines) n = lines;
    if (n == 0) die(path, &(struct err){ .msg = "no sentences" });
    for (; kept < n; kept++)
        all[kept] = all[kept * lines / n];
    w->texts = all;
    w->n = n;
    (void)snprintf(w->name, sizeof w->name, "%zu sentences", n);
    tokenise(w, t, max_tokens);
}

void workload_done(struct workload *w)
{
    if (*w->path) (void)unlink(w->path);
    mem_free(w->bytes);
    mem_free(w->texts);
    mem_free(w->ids);
    mem_free(w->starts);
    *w = (struct workload){ .n = 0 };
}

static size_t config_number(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? strtoul(at + strlen(key) + strspn(at + strlen(key), "\": "), NULL, 10) : 0;
}

void bench_shape_read(struct bench_shape *ret, const char *model_dir)
{
    struct err e = ERR_INIT;
    char *path = need(path_join(model_dir, "config.json")), *text;
    size_t n;
    if (file_read(path, CONFIG_MAX, &text, &n, &e) != ERR_OK) die("config.json", &e);
    ret->layers = config_number(text, "\"num_hidden_layers");
    ret->hidden = config_number(text, "\"hidden_size");
    ret->intermediate = config_number(text, "\"intermediate_size");
    if (!ret->layers || !ret->hidden || !ret->intermediate)
        die(path, &(struct err){ .msg = "it does not say how large the layers are" });
    mem_free(path);
    mem_free(text);
}

size_t workload_tokens(const struct workload *w)
{
    return w->starts[w->n];
}

double workload_flops(const struct workload *w, size_t layers, size_t hidden, size_t intermediate)
{
    double c = (double)hidden, f = (double)intermediate, sum = 0;
    for (size_t i = 0; i < w->n; i++) {
        double n = (double)(w->starts[i + 1] - w->starts[i]);
        sum += n * (4 * c * c + 2 * c * f) + 2 * n * n * c;
    }
    return 2 * (double)layers * sum;
}
