/* worker: this process, as a whole: what the host says is acted on here, and what becomes of jobs is said
 * from here.
 *
 * One struct owns every part; worker.c holds what happens to calls, lookout.c what their time limits do,
 * ending.c how it all ends. Thread: loop. */
#ifndef WORKER_H
#define WORKER_H

#include <uv.h>

#include "confine.h"
#include "deadlines.h"
#include "input.h"
#include "job_table.h"
#include "log_pipe.h"
#include "output.h"
#include "plugin.h"
#include "serve_options.h"
#include "startup.h"
#include "threads.h"

enum ending {
    ENDING_NOT,
    ENDING_EOF,  /* stdin ended: what was received is finished */
    ENDING_STOP, /* {stop}: what runs is finished, within its grace */
    ENDING_GONE, /* nobody reads: nothing is worth finishing */
};

struct worker {
    uv_loop_t *loop;
    size_t max_frame;
    struct confinement confinement;
    struct op_table ops;
    struct plugins plugins;
    struct input input;
    struct output output;
    struct log_pipe printed;
    struct log_pipe errors;
    struct threads threads;
    struct deadlines deadlines; /* lookout.c */
    struct job_table jobs;      /* queued and running */
    const struct codec *codec;  /* of the last frame read */
    uint32_t kill_after_ms;     /* of calls that say none; 0: never */
    uint64_t started_at;        /* uv_hrtime */
    uint64_t calls;
    uint64_t taken_back;
    uint64_t outcomes[KIND_COUNT + 1]; /* by error kind, and OUTCOME_OK */
    bool paused;                       /* the host does not read fast enough: no job starts */
    bool logs_paused;                  /* and what is logged waits */
    /* ending.c */
    enum ending ending;
    bool said_bye;
    bool has_grace;          /* the host has said how long it waits */
    uint64_t read_when_told; /* output.bytes as the reader was last given time */
    bool abandoned;          /* a job would not stop */
    uv_async_t reader_gone;
    uv_timer_t grace;
};

/* Wires everything, confines the process and initialises the loop, which may run then. */
void worker_start(struct worker *worker, uv_loop_t *loop, const struct serve_options *options,
                  struct stdio stdio);

/* Says how a job that was never handed over, or was taken back, ended. Takes the job. */
void worker_end_unstarted(struct worker *worker, struct stv_job *job, enum error_kind kind,
                          const char *message);

/* Removes every trace of a job that never ran. Takes the job. */
void worker_forget(struct worker *worker, struct stv_job *job);

/* Takes the finished jobs from the threads and sends their replies. */
void worker_collect(struct worker *worker);

/* --- ending.c: */

void ending_init(struct worker *worker, int output);

/* What may start the end. */
void ending_at_eof(struct worker *worker);
void ending_stop(struct worker *worker, int64_t grace_ms); /* -1: no bound */
void ending_reader_gone(struct worker *worker);

/* Ends the process if it is ending and nothing is left to do. To be called whenever a job has ended or output
 * was written. */
void ending_check(struct worker *worker);

#endif
