/* Layer: tests. May include: libcheck, base, index.
 *
 * Lives of an index: sequences of operations, made from a seed, run against the oracle, and, when one fails, cut down to
 * the few operations that it takes.
 *
 * An operation is a kind and three small numbers, which mean something whatever they are; so any part of a
 * life is a life, and so is one with other numbers. A life is run in a child process: a failed assertion, a
 * crash, a sanitizer's report and one that never ends all count as failures.
 *
 *   INDEX_SEED=7                            make and run the life of seed 7
 *   INDEX_SEED=7 INDEX_OPS='put 1 2; link'  run these operations with the options of seed 7
 *   INDEX_SEEDS=100                         so many lives in each of the loops of test_random.c
 */
#pragma once

#include "index/index.h"

enum op_kind {
    OP_PUT,      /* slot, vector number (0: zeros, where they are allowed) */
    OP_SAME,     /* slot, slot whose vector it gets */
    OP_NEAR,     /* slot, slot from whose vector its own differs by 10^-c */
    OP_DELETE,   /* slot */
    OP_LINK,     /* how many */
    OP_MAINTAIN, /* how many nodes, odd: forced */
    OP_SEARCH,   /* k, vector number, way */
    OP_RANGE,    /* k, vector number, slot whose score is the bound */
    OP_FILTER,   /* k, vector number, share and way */
    OP_BATCH,    /* k, vector number, how many queries */
    OP_GET,      /* slot */
    OP_STATS,
    OP_ENTER,  /* a reader comes that stays inside */
    OP_LEAVE,  /* and goes */
    OP_FAIL,   /* the a-th allocation of the next operation fails; it is then done again */
    OP_RELOAD, /* saved and loaded; odd: mapped */
    OP_VERIFY,
    OP_KINDS
};
struct op {
    enum op_kind kind;
    unsigned a, b, c;
};

struct life {
    uint64_t seed;    /* of the options, too */
    const char *path; /* of a file that OP_RELOAD may write; NULL: it does nothing */
    struct op *ops;
    size_t n;
    bool
        forgets; /* the oracle is wrong on purpose: it does not see that a slot divisible by 7 is deleted */
};

/** Life of a seed. */
void life_init(struct life *l, uint64_t seed, size_t n);
/** From a text as life_print writes it; fails the test if it is none. */
void life_parse(struct life *l, uint64_t seed, const char *text);
void life_done(struct life *l);
/** "put 1 2; link 8; stats"; zeros at the end are left out. Freed by the caller. */
char *life_print(const struct life *l);

/** Run it: asserts what must hold. */
void life_run(const struct life *l);
/** Does run(l) fail in a process of its own? quiet: what it says is thrown away. */
bool life_fails(void (*run)(const struct life *l), const struct life *l, bool quiet);
/** Cut down a life that fails for as long as what is left still fails. Returns how many times it was run. */
size_t life_shrink(struct life *l, void (*run)(const struct life *l));
