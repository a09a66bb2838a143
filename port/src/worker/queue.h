/* queue: the jobs that wait, by priority, first come first served within one; bounded in jobs and in bytes.
 *
 * libuv's own queue is one FIFO without cancel, priorities or deadlines, so the real queue is ours and those
 * are list operations. Thread: none of its own; threads.c guards it with its mutex. */
#ifndef QUEUE_H
#define QUEUE_H

#include "list.h"
#include "message.h"

struct stv_job;

struct queue {
    struct list waiting[MESSAGE_PRIORITIES];
    size_t jobs;
    size_t bytes; /* of their arguments */
    size_t max_jobs;
    size_t max_bytes;
};

void queue_init(struct queue *queue, size_t max_jobs, size_t max_bytes);

/* Why a job with so many bytes of arguments does not fit: "jobs", "bytes", or NULL if it does. */
const char *queue_refuses(const struct queue *queue, size_t bytes);

void queue_push(struct queue *queue, struct stv_job *job);
void queue_remove(struct queue *queue, struct stv_job *job);

/* The job whose turn it is, taken off the queue; NULL if none waits. */
struct stv_job *queue_take(struct queue *queue);

#endif
