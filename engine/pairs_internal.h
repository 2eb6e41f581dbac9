/* Layer: engine. May include: core, index, catalog, base. Internal to engine/pairs*.c.
 *
 * A source hands out pairs and documents, one after the other, in an order that depends on the content
 * alone; pairs_split.c runs it twice: once to see what is held out, once to write. Labels go their own way
 * (pairs_labels.c), because their pairs are made from what all items have.
 */
#pragma once

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "engine/pairs.h"

/* ---- texts: pairs_text.c ---- */

enum { PAIRS_PAGE = 500 }; /* items a transaction */

/** Of one check or write. */
struct pairs_work {
    const struct pairs_request *rq;
    enum pairs_source source;
    struct arena *page; /* cleared for every page of items */
    struct buf folded;  /* of pairs__hash: the salt, then a text */
};
MUST_USE enum err_code pairs__work_init(
    struct pairs_work *w, const struct pairs_request *rq, struct err *e);
void pairs__work_done(struct pairs_work *w);

#define PAIRS_NO_HASH 0 /* of a text without letters and digits */
static inline bool pairs__heldout(uint64_t hash)
{
    return hash < UINT64_MAX / 10;
}
/** Equal for texts that are the same; PAIRS_NO_HASH for one that says nothing. */
MUST_USE enum err_code pairs__hash(
    struct pairs_work *w, struct str text, uint64_t *ret_hash, struct err *e);
/** Of an ordered pair of hashes. */
uint64_t pairs__mix(uint64_t a, uint64_t b, uint64_t seed);
/** At most `max` bytes, whole characters only. */
struct str pairs__cut(struct str text, size_t max);

/* ---- where they come from: pairs_check.c ---- */

/** The path within the metadata, or p == NULL: the text. The form was checked by pairs__choose. */
struct str pairs__path(struct str field);
/** The source that the request names, in w->source; PAIRS_SOURCE_COUNT: it names none. Errors: pairs_check's
 * INVALID. */
MUST_USE enum err_code pairs__choose(struct pairs_work *w, struct err *e);

/* ---- sources: pairs_sources.c, pairs_feedback.c ---- */

struct pair {
    struct str anchor, positive;
    const struct str *negatives;
    const uint64_t *negative_hashes;
    size_t n_negatives;
    uint64_t anchor_hash, positive_hash; /* never PAIRS_NO_HASH, never equal */
    uint64_t key;                        /* of the text that says which side the pair is on */
};
/** Texts are borrowed for the call. */
struct pairs_sink {
    enum err_code (*pair)(void *arg, const struct pair *p, struct err *e);
    enum err_code (*document)(void *arg, struct str text, uint64_t hash, struct err *e);
    void *arg;
    size_t *n_train; /* not NULL: pairs that are not held out may be counted here instead */
};
/** Everything that w->source, which is not PAIRS_LABELS, has to give; stops at an error of the sink. */
MUST_USE enum err_code pairs__each(
    struct pairs_work *w, const struct pairs_sink *sink, struct err *e);
MUST_USE enum err_code pairs__feedback_each(
    struct pairs_work *w, const struct pairs_sink *sink, struct err *e);

/* Page after page of items. */
struct pairs_pages {
    struct catalog_values_query q;
    struct catalog_values *rows;
    size_t n, at;
    bool ended;
};
/** Begin; paths [n] are borrowed until the end. */
void pairs__pages_init(const struct pairs_work *w, const struct str *paths, size_t n_paths,
    bool with_text, struct pairs_pages *ret);
/** The next item, NULL at the end; valid until the next call. */
MUST_USE enum err_code pairs__pages_next(struct pairs_work *w, struct pairs_pages *p,
    const struct catalog_values **ret_row, struct err *e);

/* ---- files: pairs_files.c ---- */

struct pairs_file {
    int fd; /* -1: not open */
    char *path, *tmp;
    struct buf b;
    size_t text_max;
};
struct pairs_files {
    struct pairs_file train, heldout;
};
MUST_USE enum err_code pairs__files_open(
    struct pairs_files *f, const char *dir, size_t text_max, struct err *e);
/** Columns with tabs between them. */
MUST_USE enum err_code pairs__line(
    struct pairs_file *f, const struct str *columns, size_t n, struct err *e);
/** Both under their names, on disk; the hash of both in hex. */
MUST_USE enum err_code pairs__files_publish(
    struct pairs_files *f, const char *dir, char ret_hash[65], struct err *e);
/** Close and, unless they were published, remove them; accepts a zeroed struct. */
void pairs__files_done(struct pairs_files *f);

/* ---- split: pairs_split.c; labels: pairs_labels.c ---- */

struct pairs_split;
/** First round: what is held out, and how much there is. */
MUST_USE enum err_code pairs__split_new(
    struct pairs_work *w, struct pairs_split **ret_s, struct err *e);
void pairs__split_free(struct pairs_split *s);
/** Pairs of both sides, with repetitions. */
size_t pairs__split_pairs(const struct pairs_split *s);
/** Pairs chosen to judge by. */
size_t pairs__split_heldout(const struct pairs_split *s);
/** Second round. */
MUST_USE enum err_code pairs__split_write(
    struct pairs_split *s, struct pairs_files *f, struct pairs_report *ret, struct err *e);

MUST_USE enum err_code pairs__labels_write(
    struct pairs_work *w, struct pairs_files *f, struct pairs_report *ret, struct err *e);
