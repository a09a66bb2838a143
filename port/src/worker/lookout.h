/* lookout: what the time limits of jobs do on the loop: a queue_timeout ends a job that waits, progress is
 * due again, a job that does not stop is stuck (PROTOCOL §4.1, §5.3, §5.6). Thread: loop. */
#ifndef LOOKOUT_H
#define LOOKOUT_H

#include <stdint.h>

struct stv_job;
struct worker;

/* Looks after a job that is about to be handed to the threads. */
void lookout_watch(struct worker *worker, struct stv_job *job);

/* Asks a job that has started to stop, and looks whether it does. */
void lookout_cancel(struct worker *worker, struct stv_job *job);

/* For deadlines_init, with the worker as its context. */
void lookout_on_due(struct stv_job *job, uint64_t now, void *worker);

#endif
