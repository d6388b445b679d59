/* Threads that share the work of a call, and end before it does. */

#ifndef TEXTGEN_THREADS_H
#define TEXTGEN_THREADS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __wasm__ /* a page has one thread */

typedef int Thread;

static inline int start(Thread *thread, void *(*work)(void *), void *part) {
    (void)thread, (void)work, (void)part;
    return 0;
}
static inline void join(Thread thread) { (void)thread; }
static inline void yield(void) {}

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>

typedef pthread_t Thread;

/* Call `work` in a new thread; return 0 if there can be none. */
static int start(Thread *thread, void *(*work)(void *), void *part) {
    sigset_t all, own;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &own); /* signals are for the threads of the program */
    int error = pthread_create(thread, NULL, work, part);
    pthread_sigmask(SIG_SETMASK, &own, NULL);
    return !error;
}
static inline void join(Thread thread) { pthread_join(thread, NULL); }
static inline void yield(void) { sched_yield(); }

#endif

/* Call `work` with each of some parts of so many bytes, which do not wait for each other. Each has
 * a thread; the caller's computes the first, and those for which none could be started.
 */
static void work_on_parts(void *(*work)(void *), void *parts, size_t size, int count) {
    char *part = parts;
    Thread threads[count];
    int own = count;
    while (own > 1 && start(&threads[own - 1], work, part + (own - 1) * size)) own--;
    for (int i = 0; i < own; i++) work(part + i * size);
    for (int i = own; i < count; i++) join(threads[i]);
}

/* Threads that work in step. `arrived` and `turn` are zero at first. */
typedef struct {
    int32_t members;
    _Atomic int32_t arrived, turn;
} Team;

#define PATIENCE 4000 /* looks at the turn before a thread gives its core to another */

/* Wait until all members of a team have come here. */
static void meet(Team *team) {
    if (!team) return;
    int32_t turn = team->turn;
    if (++team->arrived == team->members) {
        team->arrived = 0;
        team->turn = turn + 1;
        return;
    }
    for (int look = 0; team->turn == turn; look++)
        if (look > PATIENCE) yield();
}

#endif
