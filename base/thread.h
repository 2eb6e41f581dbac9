/* Layer: base. May include: libc, pthread.
 *
 * Threads, locks, deadlines. The only place that includes <pthread.h>.
 *
 * Locks carry a rank. A thread may take a lock only if its rank is higher than
 * that of every lock it holds; debug and test builds (KINDRED_CHECKED) assert
 * this, so a lock-order mistake fails at the first run, not on the unlucky one.
 * Lock operations cannot fail in correct programs: a failure is ASSERT_BUG.
 */
#pragma once

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Lowest first. Gaps are for later. */
enum lock_rank {
    RANK_SERVER = 10,       /* server: table of open exchanges */
    RANK_ENGINE = 20,       /* engine: life cycle, collection registry */
    RANK_COLLECTION = 30,   /* engine: generation pointer, settings */
    RANK_FIELDS = 40,       /* engine: filter columns */
    RANK_INDEX_REPAIR = 46, /* index: upkeep and snapshots */
    RANK_INDEX_GATE = 48,   /* index: nobody may enter */
    RANK_INDEX = 50,        /* index: growth, id map */
    RANK_INDEX_ENTRY = 55,  /* index: entry point */
    RANK_INDEX_NODE = 60,   /* index: a node's links */
    RANK_INDEX_TAIL = 62,   /* index: order of puts; upper lists; curve */
    RANK_CATALOG = 70,      /* catalog: connection pool */
    RANK_QUEUE = 80,        /* any queue */
    RANK_LOG = 95,
};

struct mutex {
    pthread_mutex_t m;
    int rank;
};
struct rwlock {
    pthread_rwlock_t l; /* writers preferred */
    int rank;
};
struct cond {
    pthread_cond_t c; /* on CLOCK_MONOTONIC */
};

/** A mutex; not recursive. mutex_done needs it unlocked. */
void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_done(struct mutex *m);
void mutex_lock(struct mutex *m);
/** false: another thread has it. */
MUST_USE bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);

/** Many readers or one writer; a waiting writer holds up new readers, so a reader must not lock it twice. */
void rwlock_init(struct rwlock *l, enum lock_rank rank);
void rwlock_done(struct rwlock *l);
void rwlock_rdlock(struct rwlock *l);
void rwlock_wrlock(struct rwlock *l);
void rwlock_unlock(struct rwlock *l);

/** A condition; signal wakes one waiter, broadcast all. */
void cond_init(struct cond *c);
void cond_done(struct cond *c);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);
/** Spurious wake-ups happen; loop on the condition. */
void cond_wait(struct cond *c, struct mutex *m);
/** false when the deadline (time_mono_ns) passed. */
bool cond_wait_until(struct cond *c, struct mutex *m, int64_t deadline_ns);

static inline void mutex__auto_unlock(struct mutex **m)
{
    if (*m) mutex_unlock(*m);
}
/** Lock for the rest of the scope: AUTO_LOCK(&x->lock); */
#define AUTO_LOCK(m) AUTO_LOCK_(m, __LINE__)
#define AUTO_LOCK_(m, line) AUTO_LOCK__(m, line)
#define AUTO_LOCK__(m, line)                                                                       \
    __attribute__((cleanup(mutex__auto_unlock))) struct mutex *auto_lock_##line = (m);             \
    mutex_lock(auto_lock_##line)

/* ---- threads ---- */
struct thread {
    pthread_t t;
    bool started;
};
/** name: at most 15 bytes, shown by top and gdb. All signals but those of faults are blocked in the new
 * thread. ERR_NOMEM or ERR_IO when none can be had. */
MUST_USE enum err_code thread_start(
    struct thread *t, const char *name, void (*run)(void *arg), void *arg, struct err *e);
/** Waits; does nothing for a thread that was never started. */
void thread_join(struct thread *t);
/** Cores that this process may use (affinity and cgroup quota counted), at least 1. */
unsigned thread_cores(void);
/** Raise the calling thread's nice value by `by` (0..19): for bulk work. */
void thread_nice(int by);

/* ---- time ---- */
/** CLOCK_MONOTONIC in nanoseconds: for durations and deadlines. */
int64_t time_mono_ns(void);
/** Unix time in milliseconds: for what is stored. */
int64_t time_unix_ms(void);
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
/** RFC 3339 in UTC with milliseconds, e.g. "2026-01-31T12:00:00.000Z"; 25 bytes with the NUL. */
void time_rfc3339(int64_t unix_ms, char ret[25]);
