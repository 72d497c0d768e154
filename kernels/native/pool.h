/* The workers: threads that sleep until an epoch is to be run, and then share its operations.
 *
 * A job is a function that every thread calls with its own part number. Between jobs a worker
 * spins for a moment, because the next chunk of an epoch mostly comes soon, and then sleeps. If
 * the pool is at work for somebody else, the caller does the job alone: results do not depend on
 * the number of threads. After a fork the child starts without workers and makes its own.
 */
#ifndef MLCORE_POOL_H
#define MLCORE_POOL_H

#include <stdatomic.h>
#include <stddef.h>

typedef void (*Job)(void *context, ptrdiff_t part, ptrdiff_t parts);

#if defined(__SSE2__)
#include <xmmintrin.h>
#define RELAX() _mm_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX() ((void)0)
#endif

/* The floating-point mode in which denormal numbers count as zero; the old one is returned. */
static inline unsigned long long flush_denormals(void)
{
#if defined(__SSE2__)
    const unsigned int before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#elif defined(__aarch64__)
    unsigned long long before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1ull << 24)));
    return before;
#else
    return 0;
#endif
}

static inline void restore_denormals(unsigned long long before)
{
#if defined(__SSE2__)
    _mm_setcsr((unsigned int)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

#ifdef _WIN32

typedef struct { int parts; } Barrier;
static void barrier_wait(Barrier *barrier) { (void)barrier; }
static ptrdiff_t pool_threads(ptrdiff_t wanted) { (void)wanted; return 1; }
static void pool_release(void) {}
static void pool_run(Job job, void *context, ptrdiff_t parts) { (void)parts; job(context, 0, 1); }

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>

enum {
    MOST_WORKERS = 255,
    MOST_THREADS_FIELD = 1024,
    SPINS_BEFORE_YIELD = 2000, /* some tens of microseconds: then another program wants the core */
    SPINS_BEFORE_SLEEP = 4000
};

/* A place where `parts` threads wait for each other. */
typedef struct {
    ptrdiff_t parts;
    _Alignas(64) atomic_ptrdiff_t arrived;
    _Alignas(64) atomic_uint phase;
} Barrier;

static void barrier_wait(Barrier *barrier)
{
    if (barrier->parts == 1)
        return;
    const unsigned int phase = atomic_load_explicit(&barrier->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) ==
        barrier->parts - 1) {
        atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&barrier->phase, phase + 1, memory_order_release);
        return;
    }
    for (int spins = 0;
         atomic_load_explicit(&barrier->phase, memory_order_acquire) == phase; spins++) {
        if (spins < SPINS_BEFORE_YIELD)
            RELAX();
        else
            sched_yield();
    }
}

static struct {
    pthread_mutex_t in_use; /* held by the caller whose job is running */
    pthread_mutex_t mutex;  /* guards sleeping and waking */
    pthread_cond_t wake;
    ptrdiff_t workers, sleeping;
    Job job;
    void *context;
    /* Counts the jobs, and says in its lower bits how many threads share the one that began
     * last: a worker that has no part in it must not look at anything else. */
    _Alignas(64) atomic_ullong announced;
    _Alignas(64) atomic_ptrdiff_t unfinished;
} pool = {.in_use = PTHREAD_MUTEX_INITIALIZER,
          .mutex = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};

static void *pool_worker(void *argument)
{
    const ptrdiff_t part = (ptrdiff_t)argument;
    unsigned long long seen = atomic_load_explicit(&pool.announced, memory_order_acquire);
    /* The caller waits for this before it announces a job. */
    atomic_fetch_sub_explicit(&pool.unfinished, 1, memory_order_release);
    for (;;) {
        for (int spins = 0; atomic_load_explicit(&pool.announced, memory_order_acquire) == seen;
             spins++) {
            if (spins < SPINS_BEFORE_SLEEP) {
                RELAX();
                if (spins > SPINS_BEFORE_YIELD)
                    sched_yield();
                continue;
            }
            pthread_mutex_lock(&pool.mutex);
            pool.sleeping++;
            while (atomic_load_explicit(&pool.announced, memory_order_acquire) == seen)
                pthread_cond_wait(&pool.wake, &pool.mutex);
            pool.sleeping--;
            pthread_mutex_unlock(&pool.mutex);
        }
        seen = atomic_load_explicit(&pool.announced, memory_order_acquire);
        const ptrdiff_t parts = (ptrdiff_t)(seen % MOST_THREADS_FIELD);
        if (part < parts) {
            pool.job(pool.context, part, parts);
            atomic_fetch_sub_explicit(&pool.unfinished, 1, memory_order_release);
        }
    }
    return NULL;
}

static void pool_wait_for_workers(void)
{
    for (int spins = 0; atomic_load_explicit(&pool.unfinished, memory_order_acquire); spins++) {
        if (spins < SPINS_BEFORE_YIELD)
            RELAX();
        else
            sched_yield();
    }
}

static void pool_forget(void)
{
    pthread_mutex_init(&pool.in_use, NULL);
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.workers = pool.sleeping = 0;
    atomic_store(&pool.unfinished, 0);
}

static void pool_start(ptrdiff_t workers)
{
    static int registered;
    if (!registered)
        registered = !pthread_atfork(NULL, NULL, pool_forget);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.workers < workers && pool.workers < MOST_WORKERS) {
        pthread_t thread;
        atomic_fetch_add(&pool.unfinished, 1);
        if (pthread_create(&thread, NULL, pool_worker, (void *)(pool.workers + 1))) {
            atomic_fetch_sub(&pool.unfinished, 1);
            break;
        }
        pthread_detach(thread);
        pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pool_wait_for_workers();
}

/* Take the pool for a job of at most `wanted` threads; gives how many there will be. Where that
 * is more than one, pool_run and pool_release must follow. */
static ptrdiff_t pool_threads(ptrdiff_t wanted)
{
    if (wanted <= 1 || pthread_mutex_trylock(&pool.in_use))
        return 1;
    pool_start(wanted - 1);
    if (pool.workers == 0) {
        pthread_mutex_unlock(&pool.in_use);
        return 1;
    }
    return pool.workers + 1 < wanted ? pool.workers + 1 : wanted;
}

static void pool_release(void)
{
    pthread_mutex_unlock(&pool.in_use);
}

static void pool_run(Job job, void *context, ptrdiff_t parts)
{
    if (parts > 1) {
        pool.job = job;
        pool.context = context;
        atomic_store_explicit(&pool.unfinished, parts - 1, memory_order_relaxed);
        pthread_mutex_lock(&pool.mutex);
        const unsigned long long jobs = atomic_load(&pool.announced) / MOST_THREADS_FIELD + 1;
        atomic_store_explicit(
            &pool.announced, jobs * MOST_THREADS_FIELD + (unsigned long long)parts,
            memory_order_release);
        if (pool.sleeping)
            pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.mutex);
    }
    job(context, 0, parts);
    if (parts > 1)
        pool_wait_for_workers();
}

#endif
#endif
