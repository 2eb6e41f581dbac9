/* Layer: engine. May include: core, index, catalog, base.
 *
 * From what a collection holds to files to learn from and to judge by.
 *
 * Where pairs come from, in this order of preference unless the request names one:
 *   fields    anchor and positive are fields of one item (pairs_anchor, pairs_positive)
 *   labels    two items with the same value in a metadata field
 *   feedback  a query and the item that was clicked or called relevant; "irrelevant" gives hard negatives
 *   views     two views of one text (core/learn/views.h): a sentence and the rest, two halves, deletions
 *
 * Held out: a pair whose positive's hash, of its normalised text (lower case, letters and digits only, single
 * spaces) with a salt of the collection, falls into the first tenth. The same text is always on the same side, in
 * this run and in every later one. A pair for training that shares a text with any held-out pair is left
 * out. Files (run_folder.h):
 *   train.tsv    anchor TAB positive [TAB negative…]
 *   heldout.tsv  query TAB document, at most heldout_max lines, those of the lowest hashes; every document and
 *                every query once. Then lines that begin with a TAB: documents that answer no query,
 *                at most distractors_max, from the rest of the collection
 * Tabs, line ends and control characters in texts become spaces; texts are cut at text_max bytes at a
 * character's end.
 */
#pragma once

#include "base/err.h"
#include "catalog/learning.h"

enum pairs_source { PAIRS_FIELDS, PAIRS_LABELS, PAIRS_FEEDBACK, PAIRS_VIEWS, PAIRS_SOURCE_COUNT };
/** "fields", "labels", "feedback", "views" */
const char *pairs_source_name(enum pairs_source s);

struct pairs_request {
    struct catalog *catalog;
    const struct catalog_collection *col;
    struct str anchor, positive, labels; /* "" where not named */
    uint64_t seed;                       /* of views, partners and their order; never of the split */
    size_t pairs_max;                    /* most lines of train.tsv; beyond, an even sample by hash */
    size_t heldout_max, distractors_max, text_max;
};
#define PAIRS_REQUEST_DEFAULTS                                                                     \
    {                                                                                              \
        .seed = 1, .pairs_max = 400000, .heldout_max = 2000, .distractors_max = 8000,              \
        .text_max = 4000                                                                           \
    }
enum { PAIRS_MIN = 200, PAIRS_HELDOUT_MIN = 50, PAIRS_FEEDBACK_MIN = 500 };

struct pairs_report {
    enum pairs_source source;
    size_t train, heldout, distractors;
    size_t shared; /* left out of training: shares a text with the held-out part */
    char data_hash[65]; /* BLAKE2b-256 of both files, hex */
};

/** Could there be pairs? Looks at the catalog until it has seen a few; blocking. UNPROCESSABLE says what is
 * missing (field "/pairs/anchor", "/pairs/positive", "/labels", or none), INVALID a malformed path. */
MUST_USE enum err_code pairs_check(const struct pairs_request *rq, int64_t deadline_ns, struct err *e);
/** Write both files into `dir`, atomically. UNPROCESSABLE: fewer than PAIRS_MIN pairs to learn from or
 * PAIRS_HELDOUT_MIN to judge by: says how many. FULL, IO, NOMEM. */
MUST_USE enum err_code pairs_write(
    const struct pairs_request *rq, const char *dir, struct pairs_report *ret, struct err *e);
