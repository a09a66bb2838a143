/* log_pipe: what ops and libraries print to stdout or stderr, as lines. Startup put a pipe in place of each
 * descriptor; here its other end is read, so that a stray printf becomes a log message and never a broken
 * frame. Thread: loop. */
#ifndef LOG_PIPE_H
#define LOG_PIPE_H

#include <stdbool.h>
#include <uv.h>

#include "bytes.h"

#define LOG_LINE_MAX 8192u

struct log_pipe {
    int fd;
    const char *level;
    size_t length; /* of the line so far */
    bool reading;
    bool ended; /* all that could print there have closed it: an op, or a library in it */
    uv_poll_t poll;
    uv_timer_t silence; /* gives an unfinished line after a while */
    void (*on_line)(void *context, const char *level, struct slice line);
    void *context;
    uint8_t line[LOG_LINE_MAX];
};

void log_pipe_start(struct log_pipe *pipe, uv_loop_t *loop, int fd, const char *level,
                    void (*on_line)(void *context, const char *level, struct slice line), void *context);

/* Takes bytes as if they had been read from it now. */
void log_pipe_put(struct log_pipe *pipe, const uint8_t *bytes, size_t count);

/* While it is not read, whoever prints waits as soon as the pipe is full. */
void log_pipe_set_reading(struct log_pipe *pipe, bool reading);

/* Gives all that is in the pipe, the unfinished line too. */
void log_pipe_drain(struct log_pipe *pipe);

#endif
