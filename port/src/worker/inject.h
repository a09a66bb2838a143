/* inject: named points in the way of a job at which a worker can be made to die or to stop, compiled in for
 * tests only (cmake -DINJECT=ON); otherwise nothing at all.
 *
 * Armed by environment: STEVEDORE_INJECT="POINT:ACTION:NTH", where POINT is one of those below, ACTION is
 * kill, abort, exit or stop, and NTH is 1 for the first time it is passed, 2 for the second. If
 * STEVEDORE_INJECT_ONCE names a file, only the worker that succeeds in removing it is armed: so one life of
 * one worker is.
 *
 *     before_read, after_read            input.c: around one read
 *     before_enqueue, after_enqueue      threads.c: around a job's way into the queue
 *     before_decode, after_decode        job.c: around the reading of its arguments
 *     before_run, after_run              job.c: around the op
 *     before_encode, after_encode        job.c: around the completion of its reply
 *     half_write                         output.c: half of a write is done
 *
 * Thread: any. */
#ifndef INJECT_H
#define INJECT_H

#ifdef STEVEDORE_INJECT
#include <sys/uio.h>

void inject(const char *point);

/* As writev, but writes only half of the first piece before it acts. */
ssize_t inject_writev(int fd, const struct iovec *pieces, int count);

#define INJECT(point) inject(point)
#else
#define INJECT(point)                    ((void)0)
#define inject_writev(fd, pieces, count) writev(fd, pieces, count)
#endif

#endif
