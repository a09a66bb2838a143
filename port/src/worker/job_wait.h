/* job_wait: how a job sleeps so that stopping it wakes it. One mutex and condition for all jobs: stopping is
 * rare. Thread: any. */
#ifndef JOB_WAIT_H
#define JOB_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Blocks until uv_hrtime() reaches `until`, or *stop was set and job_wait_wake_all called. */
void job_wait_until(uint64_t until, atomic_bool *stop);

void job_wait_wake_all(void);

#endif
