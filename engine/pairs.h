/* Layer: engine. May include: core, index, catalog, base.
 *
 * From what a collection holds to files to learn from and to judge by.
 *
 * Where pairs come from:
 *   fields    anchor and positive are fields of one item (pairs_anchor, pairs_positive), each "text" or
 *             "metadata.a.b"; every element of a list counts, at most PAIRS_ITEM_MAX pairs an item
 *   labels    two items with the same value in a metadata field ("metadata.a.b", also lists)
 *   feedback  a query and the item that was clicked or called relevant; "irrelevant" gives hard negatives
 *   views     two views of one text (core/learn/views.h): a sentence and the rest, two halves, deletions
 * The first that the request names, in this order; if it names none, feedback where it gives at least
 * PAIRS_FEEDBACK_MIN pairs and enough to judge by, else views.
 *
 * Two texts are the same if their letters and digits are (core/text/fold.h); texts without any are passed over.
 *
 * Held out: a pair whose positive's hash, keyed by the collection's id, falls into the first tenth. For views
 * it is the hash of the whole text, and held-out views are the same in every run. So the same text is always on
 * the same side, in this run and in every later one that draws its pairs in the same way, of the same fields. A
 * pair for training that shares a text with any held-out pair, chosen for the file or not, is left out, and hard
 * negatives likewise.
 *
 * With labels a text is held out by its own hash, whatever it is paired with. Documents are the held-out items,
 * in their order, none of whose labels has a document yet. Their queries are the other held-out items of their
 * labels and, of the first label, its first item, which is then left out of training. A query is used only if
 * exactly one document has a label of it. So with few labels there are few documents with many queries each.
 * Items of equal texts count once, with the labels of the first.
 *
 * Files:
 *   train.tsv    anchor TAB positive [TAB negative…]; in the order of the items; no pair twice
 *   heldout.tsv  query TAB document, at most heldout_max lines, those of the lowest hashes; every query once,
 *                and every document once, but with labels a document stands on every line that it is the
 *                answer of: readers take equal documents as one. Then lines that begin with a TAB: documents
 *                that answer none of the queries, at most distractors_max, those of the lowest hashes in the
 *                collection: first those that are held out, too
 * No query is the same as a document, and no document answers another query than that of its line.
 * Tabs, line ends and control characters in texts become spaces; texts are cut at text_max bytes at a
 * character's end. Equal content gives equal bytes.
 *
 * The collection may change meanwhile: it is read in short transactions, twice. What is new in the second
 * round is not held out, and what is gone is missing; what is said above still holds for the files.
 *
 * Threads: any.
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
    uint64_t seed;                       /* of views, partners and samples; never of the split */
    size_t pairs_max; /* most lines of train.tsv; beyond, an even sample by hash */
    size_t heldout_max, distractors_max, text_max;
};
#define PAIRS_REQUEST_DEFAULTS                                                                     \
    {                                                                                              \
        .seed = 1, .pairs_max = 400000, .heldout_max = 2000, .distractors_max = 8000,              \
        .text_max = 4000                                                                           \
    }
enum {
    PAIRS_MIN = 200,
    PAIRS_HELDOUT_MIN = 50,
    PAIRS_FEEDBACK_MIN = 500,
    PAIRS_ITEM_MAX = 8,      /* fields: pairs of one item */
    PAIRS_PARTNERS_MAX = 4,  /* labels: pairs of one item as anchor, and as many as positive */
    PAIRS_VIEWS_MAX = 4,     /* views of one text, fewer in large collections */
    PAIRS_NEGATIVES_MAX = 4, /* feedback: of one query */
};

struct pairs_report {
    enum pairs_source source;
    size_t train, heldout, distractors;
    size_t
        shared; /* left out of training: pairs that share a text with the held-out part (labels: items) */
    char data_hash
        [65]; /* of both files, in hex: BLAKE2b-256 of their two BLAKE2b-256, train.tsv first */
};

/**
 * Could there be pairs? Looks at the catalog until it has seen a few; blocking. When the deadline
 * (time_mono_ns; 0: none) passes before that is known, the answer is yes.
 * Errors: INVALID (a malformed path; one of anchor and positive without the other), UNPROCESSABLE (what is
 * missing). e->field is "/pairs/anchor", "/pairs/positive", "/labels", or empty.
 */
MUST_USE enum err_code pairs_check(
    const struct pairs_request *rq, int64_t deadline_ns, struct err *e);
/** Write both files into the folder `dir`, heldout.tsv first, each whole or not at all. Errors: as pairs_check;
 * UNPROCESSABLE: fewer than PAIRS_MIN pairs to learn from or PAIRS_HELDOUT_MIN to judge by: says how many. FULL,
 * IO, NOMEM, CORRUPT. Needs hash_start() before. */
MUST_USE enum err_code pairs_write(
    const struct pairs_request *rq, const char *dir, struct pairs_report *ret, struct err *e);
