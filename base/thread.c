/* Threads, locks, clocks.
 *
 * Rank checking (KINDRED_CHECKED): each thread keeps the ranks of the locks it holds, in the order in which
 * it took them. Taking a lock whose rank is not above all of them aborts at once, whether or not another
 * thread is in the way. Locks may be released in any order. While cond_wait sleeps the lock stays in the
 * list: the thread takes nothing else meanwhile, and the order was checked when it took it first.
 */
#include "base/thread.h"

#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- ranks ---- */

#ifdef KINDRED_CHECKED
enum { HELD_MAX = 32 };
static _Thread_local int held[HELD_MAX];
static _Thread_local int held_n;

static void rank_take(int rank)
{
    ASSERT_BUG(held_n < HELD_MAX);
    for (int i = 0; i < held_n; i++)
        ASSERT_BUG(held[i] < rank); /* lock order */
    held[held_n++] = rank;
}

static void rank_release(int rank)
{
    int i = held_n;
    while (i > 0 && held[i - 1] != rank)
        i--;
    ASSERT_BUG(i > 0); /* unlocked by a thread that does not hold it */
    memmove(&held[i - 1], &held[i], (size_t)(held_n - i) * sizeof held[0]);
    held_n--;
}
#else
static void rank_take(int rank)
{
    (void)rank;
}

static void rank_release(int rank)
{
    (void)rank;
}
#endif

/* ---- locks ---- */

void mutex_init(struct mutex *m, enum lock_rank rank)
{
    ASSERT_BUG(pthread_mutex_init(&m->m, NULL) == 0);
    m->rank = (int)rank;
}

void mutex_done(struct mutex *m)
{
    ASSERT_BUG(pthread_mutex_destroy(&m->m) == 0);
}

void mutex_lock(struct mutex *m)
{
    rank_take(m->rank);
    ASSERT_BUG(pthread_mutex_lock(&m->m) == 0);
}

bool mutex_trylock(struct mutex *m)
{
    rank_take(m->rank);
    int rc = pthread_mutex_trylock(&m->m);
    ASSERT_BUG(rc == 0 || rc == EBUSY);
    if (rc != 0) rank_release(m->rank);
    return rc == 0;
}

void mutex_unlock(struct mutex *m)
{
    rank_release(m->rank);
    ASSERT_BUG(pthread_mutex_unlock(&m->m) == 0);
}

void rwlock_init(struct rwlock *l, enum lock_rank rank)
{
    pthread_rwlockattr_t attr;
    ASSERT_BUG(pthread_rwlockattr_init(&attr) == 0);
    ASSERT_BUG(
        pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
    ASSERT_BUG(pthread_rwlock_init(&l->l, &attr) == 0);
    pthread_rwlockattr_destroy(&attr);
    l->rank = (int)rank;
}

void rwlock_done(struct rwlock *l)
{
    ASSERT_BUG(pthread_rwlock_destroy(&l->l) == 0);
}

void rwlock_rdlock(struct rwlock *l)
{
    rank_take(l->rank);
    ASSERT_BUG(pthread_rwlock_rdlock(&l->l) == 0);
}

void rwlock_wrlock(struct rwlock *l)
{
    rank_take(l->rank);
    ASSERT_BUG(pthread_rwlock_wrlock(&l->l) == 0);
}

void rwlock_unlock(struct rwlock *l)
{
    rank_release(l->rank);
    ASSERT_BUG(pthread_rwlock_unlock(&l->l) == 0);
}

void cond_init(struct cond *c)
{
    pthread_condattr_t attr;
    ASSERT_BUG(pthread_condattr_init(&attr) == 0);
    ASSERT_BUG(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ASSERT_BUG(pthread_cond_init(&c->c, &attr) == 0);
    pthread_condattr_destroy(&attr);
}

void cond_done(struct cond *c)
{
    ASSERT_BUG(pthread_cond_destroy(&c->c) == 0);
}

void cond_signal(struct cond *c)
{
    ASSERT_BUG(pthread_cond_signal(&c->c) == 0);
}

void cond_broadcast(struct cond *c)
{
    ASSERT_BUG(pthread_cond_broadcast(&c->c) == 0);
}

void cond_wait(struct cond *c, struct mutex *m)
{
    ASSERT_BUG(pthread_cond_wait(&c->c, &m->m) == 0);
}

bool cond_wait_until(struct cond *c, struct mutex *m, int64_t deadline_ns)
{
    if (deadline_ns < 0) deadline_ns = 0;
    struct timespec ts = { .tv_sec = (time_t)(deadline_ns / NS_PER_S),
        .tv_nsec = (long)(deadline_ns % NS_PER_S) };
    int rc = pthread_cond_timedwait(&c->c, &m->m, &ts);
    ASSERT_BUG(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

/* ---- threads ---- */

struct start {
    void (*run)(void *arg);
    void *arg;
    char name[16];
};

static void *trampoline(void *p)
{
    struct start s = *(struct start *)p;
    mem_free(p);
    pthread_setname_np(pthread_self(), s.name);
    s.run(s.arg);
    return NULL;
}

enum err_code thread_start(
    struct thread *t, const char *name, void (*run)(void *arg), void *arg, struct err *e)
{
    struct start *s = mem_zalloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "out of memory starting thread %s", name);
    s->run = run;
    s->arg = arg;
    memcpy(s->name, name, strnlen(name, sizeof s->name - 1));

    /* The new thread inherits the mask. Faults stay open: blocked, they would end the process without the
     * report of a sanitizer or a core handler. */
    sigset_t all, old;
    sigfillset(&all);
    static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&all, faults[i]);
    ASSERT_BUG(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
    int rc = pthread_create(&t->t, NULL, trampoline, s);
    ASSERT_BUG(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    if (rc != 0) {
        mem_free(s);
        return err_errno(e, ERR_IO, rc, "cannot start thread %s", name);
    }
    t->started = true;
    return ERR_OK;
}

void thread_join(struct thread *t)
{
    if (!t->started) return;
    ASSERT_BUG(pthread_join(t->t, NULL) == 0);
    t->started = false;
}

void thread_nice(int by)
{
    /* On Linux the nice value belongs to the thread. A refusal costs politeness, nothing else. */
    id_t tid = (id_t)syscall(SYS_gettid);
    errno = 0;
    int now = getpriority(PRIO_PROCESS, tid);
    if (now == -1 && errno != 0) return;
    int to = now + by > 19 ? 19 : now + by;
    if (setpriority(PRIO_PROCESS, tid, to) != 0) return;
}

/* ---- time ---- */

int64_t time_mono_ns(void)
{
    struct timespec ts;
    ASSERT_BUG(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t time_unix_ms(void)
{
    struct timespec ts;
    ASSERT_BUG(clock_gettime(CLOCK_REALTIME, &ts) == 0);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / NS_PER_MS;
}

static char *put_digits(char *at, int v, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + v % 10);
        v /= 10;
    }
    return at + width;
}

void time_rfc3339(int64_t unix_ms, char ret[25])
{
    /* Years 0000 to 9999 are what the format can say. */
    static const int64_t first = INT64_C(-62167219200000), last = INT64_C(253402300799999);
    if (unix_ms < first) unix_ms = first;
    if (unix_ms > last) unix_ms = last;
    int64_t ms = unix_ms % 1000;
    if (ms < 0) ms += 1000;
    time_t seconds = (time_t)((unix_ms - ms) / 1000);
    struct tm tm;
    ASSERT_BUG(gmtime_r(&seconds, &tm) != NULL);
    char *at = put_digits(ret, tm.tm_year + 1900, 4);
    *at++ = '-';
    at = put_digits(at, tm.tm_mon + 1, 2);
    *at++ = '-';
    at = put_digits(at, tm.tm_mday, 2);
    *at++ = 'T';
    at = put_digits(at, tm.tm_hour, 2);
    *at++ = ':';
    at = put_digits(at, tm.tm_min, 2);
    *at++ = ':';
    at = put_digits(at, tm.tm_sec, 2);
    *at++ = '.';
    at = put_digits(at, (int)ms, 3);
    *at++ = 'Z';
    *at = '\0';
}
