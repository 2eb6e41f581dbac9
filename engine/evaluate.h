/* Layer: engine. May include: core, index, catalog, base.
 *
 * Judge a model on a file, without a server: what `kindred eval` prints, and what
 * a training run is judged by.
 *
 * Files are UTF-8, tab-separated, one case a line:
 *   sts        score TAB sentence TAB sentence  -> Spearman of cosine against score
 *   retrieval  query TAB document               -> rank of each query's document among all documents
 *              TAB document                     -> a document that answers no query
 *              equal documents are one
 *   general    no file: the anchor set (core/eval/general.h), judged as sts
 * Vectors are compared by cosine. A text without a token that the model knows has the vector 0, and so
 * never finds anything.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "core/eval/gate.h"
#include "core/eval/rank.h"
#include "engine/config.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

enum eval_task { EVAL_STS, EVAL_RETRIEVAL, EVAL_GENERAL };

struct eval_request {
    const char *
        model_dir; /* a model's folder, or its name, found as the server does; NULL: the default model */
    const struct config *cfg; /* may be NULL if model_dir is a folder */
    enum eval_task task;
    struct str data;                   /* the file's content; not looked at by EVAL_GENERAL */
    size_t every;                      /* take lines 0, every, 2*every, …; 0 means 1 */
    unsigned threads;                  /* 0 means 1; no figure depends on it */
    const volatile sig_atomic_t *stop; /* may be NULL */
};

struct eval_report {
    size_t cases, documents, dimensions;
    size_t unknown;                  /* texts without a token that the model knows */
    double spearman;                 /* sts, general */
    struct rank_retrieval retrieval; /* retrieval */
    double encode_seconds;
};

/** INVALID names the line that is not of the form. CANCELLED: *stop. Other errors: as encoder_load. */
MUST_USE enum err_code evaluate(
    const struct eval_request *rq, struct eval_report *ret, struct err *e);

/* A model's figure on the anchor set, where the caller has it from evaluate already. */
struct eval_general {
    bool known;
    double spearman;
};

struct eval_gate_request {
    const char *before, *after; /* models: folders or names */
    const char *base;           /* the model that learning began from; NULL: `before` */
    const struct config *cfg;   /* may be NULL if both are folders */
    struct str data;            /* a retrieval file's content */
    size_t every;               /* this and the next two as above */
    unsigned threads;
    const volatile sig_atomic_t *stop;
    struct eval_general general_before, general_after, general_base;
    struct gate_options gate;
};
struct eval_gate_report {
    struct gate_report gate;
    size_t documents, dimensions; /* dimensions: of `after` */
    double encode_seconds;        /* of both models */
};
/** Both models on the file and on the anchor set, and the gate's word (core/eval/gate.h). What is known of the anchor
 * set is not asked again. Errors: as evaluate, and gate_judge's. */
MUST_USE enum err_code evaluate_gate(
    const struct eval_gate_request *rq, struct eval_gate_report *ret, struct err *e);
