/* Speed of the text encoder on one thread, tokenising included.
 *
 *   bench_encode [FILE|-] [MODEL_DIR] [SECONDS]
 *
 * FILE holds a sentence a line; "-" or none: 20,000 sentences of 20 words drawn from the vocabulary,
 * the piece of rank r with a weight of 1/r. Batches of 64 sentences. Each part runs for SECONDS (2)
 * of the thread's CPU time and is measured in slices of a tenth; the median slice counts.
 *
 * Prints CSV: part,simd,sentences,words,tokens,sentences_per_s,words_per_s,tokens_per_s
 * Parts: tokenise, encode (tokenise, sum and normalise), and encode again for each instruction set.
 */
#include "bench/head.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/model/encoder.h"
#include "core/text/tokenizer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH = 64, MADE_SENTENCES = 20000, WORDS_EACH = 20, FILE_BYTES_MAX = 1 << 30, SLICES = 10 };

static const char *model_dir = "models/text-small";
static struct str *sentences;
static size_t n_sentences, n_words;
static double seconds = 2;

static void die(const char *what, const struct err *e)
{
    (void)fprintf(stderr, "bench_encode: %s: %s\n", what, e ? e->msg : "no memory");
    exit(1);
}

static void must(enum err_code code, const char *what, const struct err *e)
{
    if (code != ERR_OK) die(what, e);
}

static void split_lines(char *text, size_t n)
{
    sentences = mem_alloc(n / 2 + 1, sizeof *sentences);
    if (!sentences) die("sentences", NULL);
    for (size_t at = 0, end; at < n; at = end + 1) {
        for (end = at; end < n && text[end] != '\n';)
            end++;
        bool in_word = false;
        for (size_t i = at; i < end; i++) {
            bool space = isspace((unsigned char)text[i]) != 0;
            n_words += !space && !in_word;
            in_word = !space;
        }
        if (end > at) sentences[n_sentences++] = (struct str){ text + at, end - at };
    }
}

static bool is_plain_word(struct str piece)
{
    for (size_t i = 0; i < piece.n; i++)
        if (!isalnum((unsigned char)piece.p[i])) return false;
    return piece.n > 1;
}

/* Words of the vocabulary; low ids are frequent pieces. */
static char *make_sentences(const struct tokenizer *t, size_t *ret_n)
{
    size_t n_pieces = tokenizer_vocab_size(t), n = 0;
    struct str *words = mem_alloc(n_pieces, sizeof *words);
    double *upto = mem_alloc(n_pieces, sizeof *upto), sum = 0;
    if (!words || !upto) die("sentences", NULL);
    for (size_t id = 0; id < n_pieces; id++) {
        struct str piece = tokenizer_piece(t, (uint32_t)id);
        if (!is_plain_word(piece)) continue;
        sum += 1 / (double)(n + 1);
        words[n] = piece;
        upto[n++] = sum;
    }
    if (n == 0) die("the vocabulary has no plain words", NULL);
    struct buf b = BUF_INIT(0);
    struct rng rng;
    rng_init(&rng, 1);
    for (size_t i = 0; i < MADE_SENTENCES * (size_t)WORDS_EACH; i++) {
        double x = rng_unit(&rng) * sum;
        size_t low = 0, high = n - 1;
        while (low < high) {
            size_t mid = (low + high) / 2;
            if (upto[mid] < x)
                low = mid + 1;
            else
                high = mid;
        }
        buf_append(&b, words[low].p, words[low].n);
        buf_putc(&b, (i + 1) % WORDS_EACH ? ' ' : '\n');
    }
    must(buf_check(&b, NULL), "sentences", NULL);
    mem_free(words);
    mem_free(upto);
    return buf_take(&b, ret_n);
}

/* Of this thread, so that what else the machine does counts less. */
static double cpu_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int by_double(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;
    return (a > b) - (a < b);
}

/* What one part measures: handles sentences [at, at + n), returns their tokens. */
typedef size_t part_fn(void *arg, size_t at, size_t n);

static void measure(const char *name, const char *simd, part_fn *part, void *arg)
{
    double rates[SLICES], tokens_each = 0;
    size_t at = 0;
    for (size_t s = 0; s < SLICES; s++) {
        double begin = cpu_seconds(), now = begin;
        size_t done = 0, tokens = 0;
        while (now - begin < seconds / SLICES) {
            size_t n = n_sentences - at < BATCH ? n_sentences - at : BATCH;
            tokens += part(arg, at, n);
            done += n;
            at = at + n < n_sentences ? at + n : 0;
            now = cpu_seconds();
        }
        rates[s] = (double)done / (now - begin);
        tokens_each = (double)tokens / (double)done;
    }
    qsort(rates, SLICES, sizeof *rates, by_double);
    double rate = rates[SLICES / 2], words_each = (double)n_words / (double)n_sentences;
    (void)printf("%s,%s,%zu,%.1f,%.1f,%.0f,%.0f,%.0f\n", name, simd, n_sentences, words_each,
        tokens_each, rate, rate * words_each, rate * tokens_each);
}

struct tokenise_arg {
    const struct tokenizer *t;
    struct tokenizer_scratch *s;
    struct token_ids ids;
};

static size_t tokenise_part(void *arg, size_t at, size_t n)
{
    struct tokenise_arg *a = arg;
    struct err e = ERR_INIT;
    size_t tokens = 0;
    for (size_t i = at; i < at + n; i++) {
        must(tokenizer_encode(a->t, sentences[i], 512, a->s, &a->ids, &e), "tokenise", &e);
        tokens += a->ids.n;
    }
    return tokens;
}

struct encode_arg {
    struct encoder_workspace *w;
    float *out; /* [BATCH, dimensions] */
};

static size_t encode_part(void *arg, size_t at, size_t n)
{
    struct encode_arg *a = arg;
    struct err e = ERR_INIT;
    encoder_batch_begin(a->w);
    for (size_t i = at; i < at + n; i++) {
        enum err_code code =
            encoder_batch_add_text(a->w, sentences[i], ENCODE_DOCUMENT, true, NULL, &e);
        if (code != ERR_EMPTY) must(code, "encode", &e);
    }
    must(encoder_batch_forward(a->w, a->out, &e), "encode", &e);
    return encoder_batch_tokens(a->w);
}

static void bench_level(const struct vec_kernels *k)
{
    struct err e = ERR_INIT;
    struct encoder *enc;
    struct encode_arg a;
    must(encoder_load(model_dir, k, &enc, &e), "model", &e);
    must(encoder_workspace_new(enc, &a.w, &e), "model", &e);
    a.out = mem_alloc(BATCH * encoder_info(enc)->dimensions, sizeof *a.out);
    if (!a.out) die("output", NULL);
    measure("encode", k->name, encode_part, &a);
    mem_free(a.out);
    encoder_workspace_free(a.w);
    encoder_free(enc);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct tokenizer *t;
    char *text = NULL;
    size_t n_text = 0;
    if (argc > 2) model_dir = argv[2];
    if (argc > 3) seconds = strtod(argv[3], NULL);
    if (!dir_exists(model_dir)) {
        (void)fprintf(stderr, "bench_encode: skipped, there is no %s\n", model_dir);
        return 0;
    }
    must(tokenizer_load(model_dir, &t, &e), "tokenizer", &e);
    if (argc > 1 && argv[1][0] != '-')
        must(file_read(argv[1], FILE_BYTES_MAX, &text, &n_text, &e), "sentences", &e);
    else
        text = make_sentences(t, &n_text);
    split_lines(text, n_text);
    if (n_sentences == 0) die("there are no sentences", NULL);

    bench_head();
    (void)printf("part,simd,sentences,words,tokens,sentences_per_s,words_per_s,tokens_per_s\n");
    struct tokenise_arg a = { .t = t, .s = tokenizer_scratch_new() };
    if (!a.s) die("scratch", NULL);
    measure("tokenise", "none", tokenise_part, &a);
    for (const struct vec_kernels *const *k = vec_all(); *k; k++)
        bench_level(*k);
    token_ids_done(&a.ids);
    tokenizer_scratch_free(a.s);
    tokenizer_free(t);
    mem_free(sentences);
    mem_free(text);
    return 0;
}
