/* Layer: bench. May include: bench.
 *
 * A library with settings of its own on one set, as bench-index measures it: a process (bench/index_worker.h) and
 * what it was asked and has answered.
 */
#pragma once

#include "bench/index_sets.h"
#include "bench/index_truth.h"
#include "bench/peer.h"

enum { ENTRY_EF_MAX = 32, ENTRY_THREADS_MAX = 8, ENTRY_ROUNDS_MAX = 15 };

/* What --libs does not say. */
struct entry_defaults {
    const char *self;   /* the driver's own file; those of the other workers lie beside it */
    const char *python; /* runs bench/peers/index_python.py */
    size_t m, ef_construction;
};

struct entry {
    char spec[200]; /* as --libs says: NAME:KEY=VALUE+KEY=VALUE */
    char options[160];
    size_t m, ef_construction;
    struct peer peer;
    bool alive;
    size_t built_efc; /* of the index that the process holds */
    double build_s;
    size_t kib, huge_kib;
    size_t n_ef; /* how many of the ef were worth asking for */
    double recall[ENTRY_EF_MAX];
    double seconds[ENTRY_THREADS_MAX][ENTRY_EF_MAX][ENTRY_ROUNDS_MAX]; /* by threads and ef */
};

/** Read "SPEC,SPEC,...": m and efc are the entry's, the rest is the library's own. How many; ends the program if there
 * are more than max. */
size_t entries_read(
    struct entry *entries, size_t max, const struct entry_defaults *d, const char *list);
/** Start the process and load a set; false, with a word on standard error: it cannot be had. */
bool entry_start(struct entry *l, const struct entry_defaults *d, const struct index_set *set);
/** An index of the set, in place of the one before; false as above. */
bool entry_build(struct entry *l, size_t threads, size_t ef_construction);
/** Seconds for all queries. */
double entry_search(struct entry *l, size_t ef, size_t threads);
/** recall@10 of the last search. */
double entry_recall(struct entry *l, const struct truth *t);
void entry_stop(struct entry *l);
