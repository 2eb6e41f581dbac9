/* Layer: core. May include: base.
 *
 * An encoder turns inputs into vectors of one space. Architectures stand
 * behind `struct encoder_ops`; the constructor picks one by the model folder's
 * `config.json`. A loaded encoder is immutable and shared by all threads; what
 * a thread writes lives in its own workspace.
 *
 * Work goes in two steps, so that a batch can be packed by token count and a
 * bad input fails alone: prepare (tokenise) each text, then forward over a
 * packed batch without padding.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "base/vecmath.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct encoder;
struct encoder_workspace; /* one thread's: tokenizer scratch, packed ids, activations */

/** What an input is for; some models prefix queries and documents differently. */
enum encode_kind { ENCODE_DOCUMENT, ENCODE_QUERY };

enum { ENCODER_PROMPT_MAX = 512 };

struct encoder_info {
    char name[65];         /* config's "name", else the folder's name */
    char architecture[32]; /* "static", "bert" */
    size_t dimensions;
    size_t max_tokens; /* longer texts are truncated; 0: no limit */
    size_t vocab_size;
    size_t size_bytes; /* resident weights */
    size_t
        flops_per_token; /* multiplications and additions of one token, attention left out: what budgets go by */
    /* Put before a text of each kind (sentence-transformers' "prompts"); "": nothing. By enum encode_kind. */
    char prompts[2][ENCODER_PROMPT_MAX];
};

/* Who does the matrix products of inference. Static encoders have none. */
enum encoder_products {
    PRODUCTS_BEST, /* own kernels on weights packed at load, where the CPU has vectors they are written for */
    PRODUCTS_PACKED, /* those in any case */
    PRODUCTS_BLAS,   /* OpenBLAS on weights as they are stored */
};
struct encoder_options {
    const struct vec_kernels *kernels;
    enum encoder_products products;
};

/**
 * Load a model folder in Hugging Face layout (config.json, model.safetensors, tokenizer.json or
 * vocab.txt, sentence-transformers' modules.json where there is one).
 *
 * Errors name file, tensor, expected and found: NOT_FOUND (no such folder or file), UNPROCESSABLE
 * (unknown architecture, wrong shape or dtype), CORRUPT, IO, NOMEM.
 */
MUST_USE enum err_code encoder_load(
    const char *model_dir, const struct vec_kernels *k, struct encoder **ret_enc, struct err *e);
/** The same with options; encoder_load takes PRODUCTS_BEST. */
MUST_USE enum err_code encoder_open(const char *model_dir, const struct encoder_options *o,
    struct encoder **ret_enc, struct err *e);
void encoder_free(struct encoder *enc);
const struct encoder_info *encoder_info(const struct encoder *enc);

MUST_USE enum err_code encoder_workspace_new(
    const struct encoder *enc, struct encoder_workspace **ret_w, struct err *e);
void encoder_workspace_free(struct encoder_workspace *w);

/** Start an empty batch. */
void encoder_batch_begin(struct encoder_workspace *w);
/**
 * Tokenise one text, with the prompt of its kind before it, and append it to the batch.
 * Errors: INVALID (not UTF-8), EMPTY (no token of the text's own left, as in "  ", or none with a vector),
 * LIMIT (longer than max_tokens and !truncate), NOMEM. On error the batch is as before.
 */
MUST_USE enum err_code encoder_batch_add_text(struct encoder_workspace *w, struct str text,
    enum encode_kind kind, bool truncate, size_t *ret_tokens, struct err *e);
size_t encoder_batch_count(const struct encoder_workspace *w);
size_t encoder_batch_tokens(const struct encoder_workspace *w);
/**
 * Run the batch: out [count, dimensions] f32, each row L2-normalised if the model says so
 * (text-small does). A row does not depend, bit for bit, on what else is in the batch; between
 * instruction sets it differs by rounding, and with PRODUCTS_BLAS (also what PRODUCTS_BEST is where the CPU has no
 * vectors for the other) rows may differ by 1e-5 with the batch.
 */
MUST_USE enum err_code encoder_batch_forward(
    struct encoder_workspace *w, float *out, struct err *e);

/** Convenience for tests and tools: one text, one vector. */
MUST_USE enum err_code encoder_encode_text(
    struct encoder_workspace *w, struct str text, enum encode_kind kind, float *out, struct err *e);
