/* say: what the worker itself has to say to the host, beside the replies that jobs compose: refusals,
 * progress, log lines (PROTOCOL §5). All of it is small, and copied into the output at once. Thread: loop. */
#ifndef SAY_H
#define SAY_H

#include "error_kind.h"
#include "reply.h"

struct native_frame;
struct stv_job;
struct worker;

/* Why a call did not become a job, or did not run. */
struct refusal {
    const struct codec *codec;
    int64_t id;   /* MESSAGE_NO_ID if none could be read */
    bool batched; /* may go in a batch */
    enum error_kind kind;
    const char *message;
    /* What the kind adds to the details. NULL key: nothing. NULL text: the number. */
    struct {
        const char *key;
        const char *text;
        uint64_t number;
    } extra[2];
    struct receipt receipt;
};

/* Sends the error reply, and counts it. */
void say_refusal(struct worker *worker, const struct refusal *refusal);

/* How far a job is, unless that was said already. */
void say_progress(struct worker *worker, struct stv_job *job);

/* That a job did not stop when asked to, and where it is. */
void say_stuck(struct worker *worker, const struct stv_job *job, uint64_t ran_us,
               const struct native_frame *stack, size_t depth);

/* Why the worker cannot start, written at once: there is no output yet, and will be none. */
void say_failed_start(int fd, const char *line);

/* A line that belongs to no job. */
void say_log(struct worker *worker, const char *level, struct slice text);

/* The same with a text made by printf. */
void say_warning(struct worker *worker, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What ops have logged since the last time. */
void say_what_ops_logged(struct worker *worker);

#endif
