/* A few steps of training on the lines of stdin, for compare.py: line 2i and line 2i + 1 are a pair, all are one batch;
 * what was learnt is written as a model folder.
 *
 * Usage: train_export MODEL_DIR OUT_DIR full|last_layers|lora|adapter STEPS RATE
 */
#include "base/fileio.h"
#include "base/mem.h"
#include "core/learn/loss.h"
#include "core/learn/trainable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES_MAX = 1 << 24, TEXTS_MAX = 1024 };

struct texts {
    uint32_t *ids;
    size_t starts[TEXTS_MAX + 1];
    size_t n;
};

static void die(const char *what, const struct err *e)
{
    fprintf(stderr, "train_export: %s: %s\n", what, e ? e->msg : "no memory");
    exit(1);
}

/* Lines `side`, side + 2, side + 4, … */
static void add_side(struct texts *t, const struct trainable *m, struct str all, size_t side)
{
    struct err e = ERR_INIT;
    struct tokenizer_scratch *s = tokenizer_scratch_new();
    struct token_ids got = { .no_specials = !trainable_special_tokens(m) };
    size_t line = 0;
    if (!s) die("scratch", NULL);
    for (size_t at = 0, end; at < all.n; at = end + 1, line++) {
        for (end = at; end < all.n && all.p[end] != '\n';)
            end++;
        if (line % 2 != side || t->n == TEXTS_MAX) continue;
        if (tokenizer_encode(trainable_tokenizer(m), (struct str){ all.p + at, end - at },
                trainable_max_tokens(m), s, &got, &e) != ERR_OK)
            die("text", &e);
        size_t n = t->starts[t->n];
        uint32_t *grown = mem_realloc(t->ids, n + got.n, sizeof *grown);
        if (!grown) die("text", NULL);
        t->ids = grown;
        memcpy(t->ids + n, got.ids, got.n * sizeof *got.ids);
        t->starts[++t->n] = n + got.n;
    }
    token_ids_done(&got);
    tokenizer_scratch_free(s);
}

static void learn(struct trainable *m, const struct packed_batch *b, size_t steps, double rate)
{
    const struct adam_options adam = ADAM_OPTIONS_DEFAULTS;
    struct err e = ERR_INIT;
    struct activations *act;
    size_t half = b->count / 2, dim = trainable_dimensions(m), n = half * dim;
    struct infonce_shape shape = { half, half, dim, 0.05F, true };
    float *out = mem_alloc(2 * n, sizeof *out), *dout = mem_alloc(2 * n, sizeof *dout);
    float *saved = mem_alloc(infonce_saved(&shape), sizeof *saved);
    if (!out || !dout || !saved) die("batch", NULL);
    if (activations_new(m, &act, &e) != ERR_OK) die("activations", &e);
    for (size_t i = 0; i < steps; i++) {
        if (trainable_forward(m, act, b, 0, out, &e) != ERR_OK) die("forward", &e);
        double loss = (double)infonce_forward(saved, out, out + n, NULL, &shape);
        printf("%s%.5f", i ? " " : "", loss);
        memset(dout, 0, 2 * n * sizeof *dout);
        infonce_backward(dout, dout + n, saved, out, out + n, 1, &shape);
        if (trainable_backward(m, act, dout, &e) != ERR_OK) die("backward", &e);
        trainable_step(m, (int64_t)i + 1, rate, &adam);
    }
    printf("\n");
    activations_free(act);
    mem_free(out);
    mem_free(dout);
    mem_free(saved);
}

int main(int argc, char **argv)
{
    static struct texts t;
    struct err e = ERR_INIT;
    struct trainable_options o = TRAINABLE_OPTIONS_DEFAULTS;
    struct trainable *m;
    char *all;
    size_t n;
    if (argc != 6) {
        fprintf(stderr,
            "usage: train_export MODEL_DIR OUT_DIR full|last_layers|lora|adapter STEPS RATE\n");
        return 2;
    }
    for (enum train_method k = TRAIN_FULL; k <= TRAIN_ADAPTER; k++)
        if (!strcmp(train_method_name(k), argv[3])) o.method = k;
    if (trainable_open(argv[1], &o, &m, &e) != ERR_OK) die(argv[1], &e);
    if (stream_read(STDIN_FILENO, "standard input", BYTES_MAX, &all, &n, &e) != ERR_OK)
        die("stdin", &e);
    add_side(&t, m, (struct str){ all, n }, 0);
    add_side(&t, m, (struct str){ all, n }, 1);
    learn(m, &(struct packed_batch){ t.ids, t.starts, t.n }, strtoul(argv[4], NULL, 10),
        strtod(argv[5], NULL));
    if (trainable_export(m, argv[2], &e) != ERR_OK) die(argv[2], &e);
    trainable_free(m);
    mem_free(t.ids);
    mem_free(all);
    return 0;
}
