/* Two tables, so that neither the prefix of continuing pieces has to be put
 * before the rest of a word to look it up, nor a hash be taken of it.
 *
 * Nearly all pieces have at most 12 bytes. They are stored in the slot itself
 * and compared as integers: one cache line answers a look-up. The hash is made
 * for words of natural language; it is not keyed, as what is stored comes with
 * the model and load is at most 0.5.
 *
 * A hit must be exact in its length too: where control characters are not
 * removed a word may hold NUL bytes, which look like padding.
 *
 * Rejected: a trie with failure links (Song et al. 2020) needs no repeated look-up
 * for words in pieces, but whole words, nine of ten, cost it a step for each byte.
 */
#include "core/text/wordpiece.h"

#include "base/map.h"
#include "base/mem.h"

#include <string.h>

static void split_key(const char *p, size_t len, uint64_t *ret_low, uint32_t *ret_high)
{
    *ret_low = wordpiece_keep(wordpiece_load(p), len);
    *ret_high = len > 8 ? (uint32_t)wordpiece_keep(wordpiece_load(p + 8), len - 8) : 0;
}

/* p: WORDPIECE_PAD_BYTES readable after the piece. */
static bool table_find(const struct wordpiece *wp, const struct wordpiece_table *t,
    size_t prefix_len, const char *p, size_t len, uint32_t *ret_id)
{
    if (len <= WORDPIECE_SHORT_BYTES) {
        uint64_t low;
        uint32_t high;
        split_key(p, len, &low, &high);
        return wordpiece_find_short(t, low, high, len, ret_id);
    }
    if (len > t->longest) return false;
    uint64_t hash = hash_bytes(p, len, 0);
    for (uint64_t i = hash;; i++) {
        const struct wordpiece_long_slot *s = &t->long_slots[i & t->long_mask];
        if (s->len == 0) return false;
        if (s->hash == hash && s->len == len &&
            memcmp(wp->bytes + wp->offsets[s->id] + prefix_len, p, len) == 0) {
            *ret_id = s->id;
            return true;
        }
    }
}

static void table_put(struct wordpiece_table *t, const char *p, size_t len, uint32_t id)
{
    if (len > t->longest) t->longest = len;
    if (len > WORDPIECE_SHORT_BYTES) {
        uint64_t hash = hash_bytes(p, len, 0), i = hash;
        while (t->long_slots[i & t->long_mask].len != 0)
            i++;
        t->long_slots[i & t->long_mask] = (struct wordpiece_long_slot){ hash, id, (uint32_t)len };
        return;
    }
    char padded[WORDPIECE_PAD_BYTES] = { 0 };
    memcpy(padded, p, len);
    uint64_t low;
    uint32_t high;
    split_key(padded, len, &low, &high);
    uint64_t h = (low ^ high * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xD6E8FEB86659FD93);
    uint64_t i = h ^ h >> 32;
    while (t->short_slots[i & t->short_mask].id_len != 0)
        i++;
    t->short_slots[i & t->short_mask] =
        (struct wordpiece_slot){ low, high, id << 8 | (uint32_t)len };
}

struct table_counts {
    size_t n_short, n_long;
};

static void count(struct table_counts *c, size_t len)
{
    if (len > WORDPIECE_SHORT_BYTES)
        c->n_long++;
    else
        c->n_short++;
}

/* Power of two, at least twice n. */
static size_t slots_for(size_t n)
{
    size_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

static enum err_code table_init(
    struct wordpiece_table *t, const struct table_counts *c, struct err *e)
{
    size_t n_short = slots_for(c->n_short), n_long = slots_for(c->n_long);
    t->short_slots = mem_zalloc(n_short, sizeof *t->short_slots);
    t->long_slots = mem_zalloc(n_long, sizeof *t->long_slots);
    if (!t->short_slots || !t->long_slots)
        return err_set(e, ERR_NOMEM, "no memory for the vocabulary");
    t->short_mask = n_short - 1;
    t->long_mask = n_long - 1;
    return ERR_OK;
}

static bool continues(const struct wordpiece_config *c, struct str piece)
{
    return piece.n > c->prefix.n && memcmp(piece.p, c->prefix.p, c->prefix.n) == 0;
}

enum err_code wordpiece_init(struct wordpiece *wp, const struct wordpiece_config *c, struct err *e)
{
    wp->bytes = c->bytes;
    wp->offsets = c->offsets;
    wp->prefix_len = c->prefix.n;
    wp->unk_id = c->unk_id;
    wp->max_chars = c->max_chars;

    struct table_counts head = { 0 }, tail = { 0 };
    for (size_t id = 0; id < c->n_pieces; id++) {
        struct str piece = { c->bytes + c->offsets[id], c->offsets[id + 1] - c->offsets[id] };
        if (c->skip[id] || piece.n == 0) continue;
        count(&head, piece.n);
        if (continues(c, piece)) count(&tail, piece.n - c->prefix.n);
    }
    TRY(table_init(&wp->head, &head, e));
    TRY(table_init(&wp->tail, &tail, e));
    for (size_t id = 0; id < c->n_pieces; id++) {
        struct str piece = { c->bytes + c->offsets[id], c->offsets[id + 1] - c->offsets[id] };
        if (c->skip[id] || piece.n == 0) continue;
        /* A piece with the prefix can also begin a word that begins with those characters. */
        table_put(&wp->head, piece.p, piece.n, (uint32_t)id);
        if (continues(c, piece))
            table_put(&wp->tail, piece.p + c->prefix.n, piece.n - c->prefix.n, (uint32_t)id);
    }
    return ERR_OK;
}

void wordpiece_done(struct wordpiece *wp)
{
    mem_free(wp->head.short_slots);
    mem_free(wp->head.long_slots);
    mem_free(wp->tail.short_slots);
    mem_free(wp->tail.long_slots);
    *wp = (struct wordpiece){ 0 };
}

bool wordpiece_find(const struct wordpiece *wp, struct str piece, uint32_t *ret_id)
{
    if (piece.n == 0) return false;
    if (piece.n > WORDPIECE_SHORT_BYTES)
        return table_find(wp, &wp->head, 0, piece.p, piece.n, ret_id);
    char padded[WORDPIECE_PAD_BYTES] = { 0 };
    memcpy(padded, piece.p, piece.n);
    return table_find(wp, &wp->head, 0, padded, piece.n, ret_id);
}

/* The longest piece that begins p[0, n); its length, or 0. */
static size_t longest_match(
    const struct wordpiece *wp, bool first, const char *p, size_t n, uint32_t *ret_id)
{
    const struct wordpiece_table *t = first ? &wp->head : &wp->tail;
    size_t prefix_len = first ? 0 : wp->prefix_len;
    size_t len = n < t->longest ? n : t->longest;
    for (; len > 0; len--) {
        /* Only whole characters: not before a byte that continues one. */
        if (len < n && ((unsigned char)p[len] & 0xC0) == 0x80) continue;
        if (table_find(wp, t, prefix_len, p, len, ret_id)) return len;
    }
    return 0;
}

size_t wordpiece_split(const struct wordpiece *wp, const char *word, size_t n, size_t n_chars,
    uint32_t *ids, uint32_t *ends)
{
    size_t n_ids = 0;
    if (n_chars <= wp->max_chars) {
        size_t at = 0;
        while (at < n) {
            size_t len = longest_match(wp, at == 0, word + at, n - at, &ids[n_ids]);
            if (len == 0) break;
            at += len;
            ends[n_ids++] = (uint32_t)at;
        }
        if (at == n) return n_ids;
    }
    ids[0] = wp->unk_id;
    ends[0] = (uint32_t)n;
    return 1;
}
