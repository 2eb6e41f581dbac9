/* Hashes of texts. 64 bits of BLAKE2b: half a million texts share one with a chance of one in 10^8, and then
 * only a pair too many is left out. */
#include "core/text/fold.h"
#include "engine/hash.h"
#include "engine/pairs_internal.h"

/* Changing it would put other texts on the held-out side. */
#define SALT "kindred pairs 1\n"

enum { SALT_BYTES = sizeof SALT - 1 + sizeof(uint64_t), PAGE_BYTES = 1 << 20 };

enum err_code pairs__work_init(struct pairs_work *w, const struct pairs_request *rq, struct err *e)
{
    unsigned char id[sizeof(uint64_t)];
    *w = (struct pairs_work){ .rq = rq, .source = PAIRS_SOURCE_COUNT };
    if (rq->col->modality == MODALITY_VECTOR)
        return err_set(e, ERR_UNPROCESSABLE, "a collection of vectors has no texts to learn from");
    for (size_t i = 0; i < sizeof id; i++)
        id[i] = (unsigned char)((uint64_t)rq->col->id >> (8 * i));
    buf_puts(&w->folded, SALT);
    buf_append(&w->folded, id, sizeof id);
    TRY(buf_check(&w->folded, e));
    w->page = arena_new(PAGE_BYTES, 0);
    return w->page ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for a page of items");
}

void pairs__work_done(struct pairs_work *w)
{
    arena_free(w->page);
    buf_done(&w->folded);
}

enum err_code pairs__hash(struct pairs_work *w, struct str text, uint64_t *ret_hash, struct err *e)
{
    unsigned char bytes[CATALOG_HASH_BYTES];
    uint64_t hash = 0;
    w->folded.n = SALT_BYTES;
    TRY(text_fold(pairs__cut(text, w->rq->text_max), &w->folded, e));
    if (w->folded.n == SALT_BYTES) {
        *ret_hash = PAIRS_NO_HASH;
        return ERR_OK;
    }
    hash_content(w->folded.p, w->folded.n, bytes);
    for (size_t i = 0; i < sizeof hash; i++)
        hash |= (uint64_t)bytes[i] << (8 * i);
    *ret_hash = hash == PAIRS_NO_HASH ? 1 : hash;
    return ERR_OK;
}

uint64_t pairs__mix(uint64_t a, uint64_t b, uint64_t seed)
{
    const uint64_t both[2] = { a, b };
    return hash_bytes(both, sizeof both, seed);
}

struct str pairs__cut(struct str text, size_t max)
{
    if (text.n <= max) return text;
    while (max > 0 && ((unsigned char)text.p[max] & 0xC0) == 0x80)
        max--;
    return (struct str){ text.p, max };
}
