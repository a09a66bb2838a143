/* threads: the one door between the loop and libuv's thread pool.
 *
 * The loop submits jobs and gets them back finished; in between they belong to here. All functions: loop. */
#ifndef THREADS_H
#define THREADS_H

#include <uv.h>

#include "job.h"
#include "queue.h"

struct threads {
    uv_loop_t *loop;
    uv_mutex_t mutex; /* guards all below */
    struct queue queue;
    struct list running;
    struct list finished;
    unsigned running_count;
    unsigned runners; /* work items of ours in libuv's hands that will still look at the queue */
    unsigned count;   /* threads */
    bool paused;
    uv_async_t wake; /* jobs are finished, or log lines wait */
};

/* Starts `count` threads, all of them, so that failing to is a failed start (fatal). `on_wake` is called on
 * the loop when jobs are finished or ops have logged. Must come before anything else uses libuv's pool. */
void threads_start(struct threads *threads, uv_loop_t *loop, unsigned count, size_t max_jobs,
                   size_t max_bytes, uv_async_cb on_wake, void *data);

/* Hands a job over. False, and it stays the caller's: the queue is full, *what is "jobs" or "bytes". */
bool threads_submit(struct threads *threads, struct stv_job *job, const char **what);

/* Takes a job back if it has not started. False: it runs, or is finished. */
bool threads_take_back(struct threads *threads, struct stv_job *job);

/* Takes back the job whose turn is next; NULL if none is left that has not started. */
struct stv_job *threads_take_back_any(struct threads *threads);

/* Moves the finished jobs to the caller's (initialised) list. */
void threads_take_finished(struct threads *threads, struct list *finished);

/* While paused no further job starts. */
void threads_pause(struct threads *threads, bool paused);

/* Calls `visit` for every job that runs, under the mutex: it must be brief. */
void threads_each_running(struct threads *threads, void (*visit)(struct stv_job *job, void *context),
                          void *context);

/* When a job started that runs now; 0: it waits, or is finished. */
uint64_t threads_running_since(struct threads *threads, const struct stv_job *job);

struct threads_load {
    unsigned running;
    size_t queued;
    size_t queued_bytes;
};
struct threads_load threads_load(struct threads *threads);

#endif
