/* Layer: engine. May include: core, index, catalog, base.
 *
 * Many texts to unit vectors, in packed batches on several threads, without a server's queue and limits: for judging.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "core/model/encoder.h"

#include <signal.h>
#include <stddef.h>

struct bulk_encode {
    const struct encoder *encoder;
    unsigned threads; /* each with a workspace; 0: 1 */
    const volatile sig_atomic_t
        *stop; /* looked at between batches, a fraction of a second; may be NULL */
};

/**
 * out [n, dimensions]: unit vectors; 0 for a text without a token that the model knows, or whose vector has no
 * direction (its tokens cancel each other out), which adds to *unknown. The same to the bit whatever the number of
 * threads (but see encoder_batch_forward on PRODUCTS_BLAS). Long texts are cut.
 *
 * Errors name the text by kind and number, from 1: INVALID (not UTF-8), NOMEM. CANCELLED: *stop.
 */
MUST_USE enum err_code bulk_encode_texts(const struct bulk_encode *b, const struct str *texts,
    size_t n, enum encode_kind kind, float *out, size_t *unknown, struct err *e);
