/* deadlines: which job wants to be looked at next, and when: a binary heap with one timer.
 *
 * A job is in it while it waits under a queue_timeout, has its progress reported, or may turn out to be
 * stuck. How long it may run is not here: the op itself looks at the clock (stv_should_stop), so that works
 * even if the loop is busy. Thread: loop. */
#ifndef DEADLINES_H
#define DEADLINES_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct stv_job;

struct deadlines {
    struct stv_job **heap; /* by wake_at, the earliest first; each job knows its place */
    size_t count;
    size_t capacity;
    uint64_t armed_for; /* when the timer goes off; 0: it does not */
    uv_timer_t timer;
    void (*due)(struct stv_job *job, uint64_t now, void *context);
    void *context;
};

/* `due` is called on the loop for each job whose time has come, after it was taken out; it may set it again.
 */
void deadlines_init(struct deadlines *deadlines, uv_loop_t *loop,
                    void (*due)(struct stv_job *job, uint64_t now, void *context), void *context);

/* Times as uv_hrtime, in nanoseconds. A job that is in already is moved. */
void deadlines_set(struct deadlines *deadlines, struct stv_job *job, uint64_t wake_at);

/* Fine if it is not in. */
void deadlines_remove(struct deadlines *deadlines, struct stv_job *job);

#endif
