/* Layer: engine. May include: core, index, catalog, base.
 *
 * What a training process says on its standard output, one line each, to the
 * server that started it:
 *
 *   phase running|evaluating
 *   progress STEP STEPS LOSS        of the training steps
 *   data HASH                       of the pairs, hex
 *   metric NAME VALUE               "before.recall_at_10 0.512"
 *   weights HASH                    of the candidate's weights, hex; the folder is complete
 *   decision promote|reject TEXT    the gate's word, and why
 *   error CODE TEXT                 why it failed; CODE as err_name
 *   end                             all was said; without it the process died
 *
 * Its standard error is the run's log.txt. SIGTERM, or a server that is gone (a broken pipe), makes it
 * write a checkpoint and exit with status 75 (EX_TEMPFAIL): starting it again goes on.
 *
 * Numbers are finite, STEP and STEPS not negative; HASH is up to RUN_HASH_MAX hex digits in lower case; NAME is
 * up to RUN_NAME_MAX of a-z, 0-9, '_' and '.'; TEXT is UTF-8 without control characters, and may be empty.
 * Threads: pure functions.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "catalog/learning.h"

enum run_line_kind {
    LINE_PHASE,
    LINE_PROGRESS,
    LINE_DATA,
    LINE_METRIC,
    LINE_WEIGHTS,
    LINE_DECISION,
    LINE_ERROR,
    LINE_END,
};
enum {
    RUN_EXIT_RESUMABLE = 75,
    RUN_LINE_MAX = 1024, /* bytes of a line with its newline */
    RUN_HASH_MAX = 128,
    RUN_NAME_MAX = 64,
};

struct run_line {
    enum run_line_kind kind;
    enum run_status phase;
    int64_t step, steps;
    double value;    /* loss, metric */
    struct str name; /* metric; hash */
    bool promote;
    enum err_code code;
    struct str text; /* decision, error; borrowed from the line */
};
/** One line, with or without its newline. CORRUPT: not such a line; the message does not quote it. */
MUST_USE enum err_code run_line_parse(struct str line, struct run_line *ret, struct err *e);
/** With the newline. In texts control characters become spaces, bytes that are not UTF-8 question marks, and
 * what would make the line too long is cut. INVALID: a number that is not finite, or a name or hash that
 * could not be read back; nothing was appended then. LIMIT, NOMEM: of the buffer. */
MUST_USE enum err_code run_line_write(struct buf *b, const struct run_line *line, struct err *e);
