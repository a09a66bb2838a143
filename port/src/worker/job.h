/* job: one run of an op, from its message to its reply.
 *
 *     queued ──► running ──► done | failed | cancelled | timed_out
 *        └─────► cancelled | queue_timeout | taken back   (never ran)
 *
 * Ownership: the loop creates a job and destroys it. While it is queued or running it is lent to threads.c;
 * the fields below say who may touch what. What an op sees of it is in stevedore.h, implemented in job_api.c.
 */
#ifndef JOB_H
#define JOB_H

#include <stdatomic.h>

#include "arena.h"
#include "frame_buffer.h"
#include "list.h"
#include "message.h"
#include "op_table.h"
#include "reply.h"

#define JOB_MAX_DETAILS 16
#define JOB_ARENA_FIRST 1024

/* An error that an op reports, gathered until its run is over. */
struct failure {
    enum error_kind kind;
    const char *code; /* KIND_FAILED */
    const char *message;
    const char *arg; /* KIND_BAD_ARGS */
    const char *expected;
    uint64_t limit; /* KIND_TOO_LARGE */
    struct {
        const char *key;
        const char *text; /* NULL: number */
        int64_t number;
    } details[JOB_MAX_DETAILS];
    uint32_t detail_count;
};

/* What exists only from its start to its reply's end. */
struct run {
    struct arena arena;
    const struct stv_term *args;
    struct writer reply;
    size_t result_at; /* where in the reply the result begins */
    bool has_maps;    /* the op composed maps itself */
    struct failure failure;
    unsigned char first[JOB_ARENA_FIRST];
};

/* How it ended, for the counters: an error kind, or this. */
#define OUTCOME_OK KIND_COUNT

struct stv_job {
    /* Set by the loop before it is handed over, constant afterwards. */
    struct op *op;
    const struct codec *codec;
    uint32_t id;
    uint32_t slot; /* in the black box */
    uint32_t priority;
    uint32_t timeout_ms;
    uint32_t queue_timeout_ms;
    uint32_t kill_after_ms; /* 0: the worker's own */
    uint32_t progress_ms;
    bool batched; /* its message came in a batch */
    size_t max_reply;
    struct slice encoded_args;  /* checked; in `frame` or behind the struct */
    struct frame_buffer *frame; /* NULL if the arguments were copied */
    uint64_t received_at;       /* uv_hrtime, ns */
    uint64_t start_by;          /* by queue_timeout; 0: any time */

    /* Guarded by the threads' mutex while it is lent. */
    struct list node; /* in the queue, the running or the finished jobs */
    uint64_t started_at;

    /* Loop only. */
    uint64_t wake_at;
    size_t deadline_index; /* SIZE_MAX: not in deadlines */
    uint64_t progress_at;  /* when to report progress again; 0: never */
    uint64_t progress_sent;
    uint64_t stuck_at;     /* not stuck before; 0: never */
    uint64_t cancelled_at; /* while it ran; 0: not */
    bool is_stuck;         /* and that was said */

    /* Between the loop and the thread that runs it. */
    atomic_bool cancelled;
    atomic_bool outlasted; /* cancelled because its worker has to go */
    atomic_uint_least64_t done;
    atomic_uint_least64_t total;

    /* The running thread's; the loop's again when it is finished. */
    uint64_t stop_by; /* by timeout; 0: none */
    struct run *run;
    uint32_t outcome; /* enum error_kind or OUTCOME_OK */
    struct receipt receipt;
};

/* For a call. Copies small arguments, shares `frame` (may be NULL: always copy) for large ones. NULL if there
 * is no memory. */
struct stv_job *job_create(const struct message *call, struct op *op, struct frame_buffer *frame,
                           bool batched, size_t max_reply);

/* Accepts NULL and every state but queued and running. */
void job_destroy(struct stv_job *job);

/* Asks it to stop, and wakes it if it waits. Any thread. */
void job_cancel(struct stv_job *job);

/* The same, because its worker ends and the job has had its time: its reply says so, unless somebody else had
 * asked it before. */
void job_outlast(struct stv_job *job);

/* Runs it to its end on this thread: decodes the arguments, calls the op, composes the reply. Afterwards
 * `run->reply` is a complete message. A job that was cancelled or whose time to start is over does not run.
 * `measure_cpu`: ask for the thread's CPU time, too. */
void job_run(struct stv_job *job, bool measure_cpu);

#endif
