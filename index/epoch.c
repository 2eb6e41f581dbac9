/* Who is inside: what a search may still see is not freed.
 *
 * Everybody who reads nodes without a lock enters first and leaves afterwards. Time is counted in epochs, and those inside
 * by the parity of the epoch in which they entered, in striped counters, so that threads do not share a cache line.
 * The epoch e may become e+1 when nobody of e-1 is left; so the counters of two parities are enough. What was
 * unlinked in epoch e is known at most to those who entered in e or before, and they have left when it is e+2.
 *
 * Why none is missed: one who enters counts itself, then looks at the epoch again and starts over if it has changed.
 * If it has not, then its count came before the change to e+1, and whoever wants to make that e+2 looks at the
 * counters after that change. All these operations are sequentially consistent.
 *
 * epoch__close keeps everybody out for a moment: used when all codes are written anew (codes__recentre), a few
 * times while an index is small. There, and only there, a thread waits by looking again.
 *
 * Source: epoch-based reclamation, Fraser 2004, "Practical lock-freedom", section 5.2.3; the recheck in place
 * of his per-thread flags.
 */
#include "index/index_internal.h"

#include <time.h>

static size_t stripe_of(const void *who)
{
    return (size_t)((uintptr_t)who >> 7 ^ (uintptr_t)who >> 13) % EPOCH_STRIPES;
}

unsigned epoch__enter(const struct index *ix, const void *who)
{
    struct epoch *e = (struct epoch *)&ix->epoch; /* counters are not part of the value */
    size_t stripe = stripe_of(who);
    for (;;) {
        uint64_t now = atomic_load(&e->now);
        unsigned token = (unsigned)(now & 1);
        atomic_fetch_add(&e->stripes[stripe].in[token], 1);
        if (atomic_load(&e->now) == now && !atomic_load(&e->closed)) return token;
        atomic_fetch_sub(&e->stripes[stripe].in[token], 1);
        if (!atomic_load(&e->closed)) continue;
        mutex_lock(&e->gate);
        mutex_unlock(&e->gate);
    }
}

void epoch__leave(const struct index *ix, const void *who, unsigned token)
{
    struct epoch *e = (struct epoch *)&ix->epoch;
    atomic_fetch_sub(&e->stripes[stripe_of(who)].in[token], 1);
}

uint64_t epoch__now(const struct index *ix)
{
    return atomic_load(&ix->epoch.now);
}

static bool is_empty(const struct epoch *e, size_t parity)
{
    for (size_t i = 0; i < EPOCH_STRIPES; i++)
        if (atomic_load(&e->stripes[i].in[parity]) != 0) return false;
    return true;
}

bool epoch__passed(struct index *ix, uint64_t since)
{
    struct epoch *e = &ix->epoch;
    for (uint64_t now = atomic_load(&e->now); now < since + 2;) {
        if (!is_empty(e, (now + 1) & 1)) return false;
        if (atomic_compare_exchange_strong(&e->now, &now, now + 1)) now++;
    }
    return true;
}

void epoch__close(struct index *ix)
{
    const struct timespec moment = { .tv_nsec = 20000 };
    struct epoch *e = &ix->epoch;
    mutex_lock(&e->gate);
    atomic_store(&e->closed, true);
    while (!is_empty(e, 0) || !is_empty(e, 1))
        (void)nanosleep(&moment, NULL);
}

void epoch__open(struct index *ix)
{
    atomic_store(&ix->epoch.closed, false);
    mutex_unlock(&ix->epoch.gate);
}
