/* Layer: core. May include: base. Internal to core/text.
 *
 * WordPiece: a word becomes the longest piece that begins it, then the longest
 * continuing piece that begins the rest, and so on; a word with a rest that no
 * piece begins becomes the unknown piece.
 *
 * Source: Schuster & Nakajima 2012; Devlin et al. 2018 (greedy longest match first).
 * Threads: immutable once built.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    WORDPIECE_SHORT_BYTES = 12,       /* pieces up to this length are compared as two integers */
    WORDPIECE_PAD_BYTES = 16,         /* readable bytes that must follow a word */
    WORDPIECE_ID_MAX = (1 << 24) - 1, /* what a slot has room for */
};

/* A slot of 16 bytes: four to a cache line, and no second access to compare the piece. */
struct wordpiece_slot {
    uint64_t low;    /* bytes 0…7, zero padded */
    uint32_t high;   /* bytes 8…11 */
    uint32_t id_len; /* id << 8 | length; 0: empty */
};
struct wordpiece_long_slot {
    uint64_t hash;
    uint32_t id;
    uint32_t len; /* 0: empty */
};

/* Pieces by their bytes: two tables with open addressing and linear probing, load at most 0.5. */
struct wordpiece_table {
    struct wordpiece_slot *short_slots;
    struct wordpiece_long_slot *long_slots;
    uint64_t short_mask, long_mask;
    size_t longest; /* bytes */
};

struct wordpiece {
    struct wordpiece_table head; /* pieces that begin a word */
    struct wordpiece_table tail; /* pieces that continue one, without their prefix */
    const char *bytes;           /* of all pieces; borrowed */
    const uint32_t *offsets;     /* [n_pieces + 1] into bytes; borrowed */
    size_t prefix_len;
    uint32_t unk_id;
    size_t max_chars; /* longer words are unknown */
};

struct wordpiece_config {
    const char *bytes;       /* all pieces, one after the other; outlives the wordpiece */
    const uint32_t *offsets; /* [n_pieces + 1], likewise */
    size_t n_pieces;         /* at most WORDPIECE_ID_MAX */
    const bool *skip;        /* [n_pieces] pieces that no word may become */
    struct str prefix;       /* of continuing pieces, "##" */
    uint32_t unk_id;
    size_t max_chars;
};

/** wp is zeroed storage; wordpiece_done() also after a failure. */
MUST_USE enum err_code wordpiece_init(
    struct wordpiece *wp, const struct wordpiece_config *c, struct err *e);
void wordpiece_done(struct wordpiece *wp);

/** Pieces of one word of n ≥ 1 bytes and n_chars characters, WORDPIECE_PAD_BYTES readable after
 * it. ids, ends: room for n; ends[i] is the offset in the word where piece i ends. Returns their
 * number, ≥ 1. */
size_t wordpiece_split(const struct wordpiece *wp, const char *word, size_t n, size_t n_chars,
    uint32_t *ids, uint32_t *ends);

/** A piece by its bytes, prefix included. */
bool wordpiece_find(const struct wordpiece *wp, struct str piece, uint32_t *ret_id);

/* Eight bytes as a little-endian word. */
static inline uint64_t wordpiece_load(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}
/* The first `len` (0…8) bytes of one. */
static inline uint64_t wordpiece_keep(uint64_t bytes, size_t len)
{
    return len >= 8 ? bytes : bytes & ((UINT64_C(1) << (8 * len)) - 1);
}

/** Find a piece of len ≤ WORDPIECE_SHORT_BYTES bytes, given as integers, zero padded. */
static inline bool wordpiece_find_short(
    const struct wordpiece_table *t, uint64_t low, uint32_t high, size_t len, uint32_t *ret_id)
{
    uint64_t h = (low ^ high * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xD6E8FEB86659FD93);
    for (uint64_t i = h ^ h >> 32;; i++) {
        const struct wordpiece_slot *s = &t->short_slots[i & t->short_mask];
        if (s->id_len == 0) return false;
        if (s->low == low && s->high == high && (s->id_len & 0xFF) == len) {
            *ret_id = s->id_len >> 8;
            return true;
        }
    }
}
