/* cli_worker: one call to a worker of our own, from start to end.
 *
 * The commands do not run ops themselves: they start this same executable as a worker and speak the protocol
 * to it, so that an op that crashes is reported instead of taking the command with it, and everything used is
 * the real thing. Thread: main, the only one. cli_worker_call blocks until the worker has ended. */
#ifndef CLI_WORKER_H
#define CLI_WORKER_H

#include "serve_options.h"
#include "term.h"

struct cli_worker_call {
    struct serve_options worker; /* how to start it */
    const char *op;
    const struct stv_term *args;
    uint32_t timeout_ms; /* 0: none */
    bool shows_progress;
    /* What to do with the result, which is valid only during this. Returns the exit code. */
    int (*take_result)(void *context, const struct stv_term *result);
    void *context;
};

/* Makes the call and returns the exit code: that of take_result; or EXIT_ANSWER_IS_ERROR, and the error is on
 * stderr as JSON; or that with which the worker ended before it could answer. What the worker logs is printed
 * on stderr. */
int cli_worker_call(const struct cli_worker_call *call);

#endif
