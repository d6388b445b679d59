/* A page has no other threads to yield to. */

static inline int sched_yield(void) { return 0; }
