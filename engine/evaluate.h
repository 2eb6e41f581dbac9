/* Layer: engine. May include: core, index, catalog, base.
 *
 * Judge a model on a file, without a server: what `kindred eval` prints.
 *
 * Files are UTF-8, tab-separated, one case a line:
 *   sts        score TAB sentence TAB sentence  -> Spearman of cosine against score
 *   retrieval  query TAB document               -> rank of each query's document among all documents
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "core/eval/rank.h"
#include "engine/config.h"

#include <stddef.h>

enum eval_task { EVAL_STS, EVAL_RETRIEVAL };

struct eval_request {
    const char
        *model_dir; /* a model's folder; NULL: cfg->default_model, found as the server does */
    const struct config *cfg; /* may be NULL if model_dir is given */
    enum eval_task task;
    struct str data; /* the file's content */
    size_t every;    /* take lines 0, every, 2*every, …; 0 means 1 */
};

struct eval_report {
    size_t cases, dimensions;
    double spearman;                 /* sts */
    struct rank_retrieval retrieval; /* retrieval */
    double encode_seconds;
};

/** INVALID names the line that is not of the form. Other errors: as encoder_load. */
MUST_USE enum err_code evaluate(
    const struct eval_request *rq, struct eval_report *ret, struct err *e);
