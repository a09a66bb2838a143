#include "log_pipe.h"

#include <unistd.h>

#include "fatal.h"

#define SILENCE_MS     100u
#define READS_PER_TURN 8

static void give_line(struct log_pipe *pipe) {
    if (pipe->length > 0) {
        pipe->on_line(pipe->context, pipe->level, (struct slice){pipe->line, pipe->length});
    }
    pipe->length = 0;
}

static void take(struct log_pipe *pipe, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == '\n' || pipe->length == LOG_LINE_MAX) {
            give_line(pipe);
        }
        if (bytes[i] != '\n') {
            pipe->line[pipe->length++] = bytes[i];
        }
    }
}

/* False when the pipe is empty. */
static bool read_once(struct log_pipe *pipe) {
    uint8_t bytes[4096];
    ssize_t count = read(pipe->fd, bytes, sizeof bytes);
    pipe->ended = count == 0;
    if (count > 0) {
        take(pipe, bytes, (size_t)count);
    }
    return count == (ssize_t)sizeof bytes;
}

static void on_silence(uv_timer_t *timer) {
    give_line(timer->data);
}

/* The rest of the line may follow. */
static void await_rest(struct log_pipe *pipe) {
    if (pipe->length > 0) {
        (void)uv_timer_start(&pipe->silence, on_silence, SILENCE_MS, 0);
    }
}

void log_pipe_put(struct log_pipe *pipe, const uint8_t *bytes, size_t count) {
    take(pipe, bytes, count);
    await_rest(pipe);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    struct log_pipe *pipe = poll->data;
    for (int i = 0; i < READS_PER_TURN && read_once(pipe); i++) {
    }
    await_rest(pipe);
    log_pipe_set_reading(pipe, true);
}

/* What has ended is readable for ever. */
void log_pipe_set_reading(struct log_pipe *pipe, bool reading) {
    reading = reading && !pipe->ended;
    if (reading == pipe->reading) {
        return;
    }
    pipe->reading = reading;
    if (!reading) {
        (void)uv_poll_stop(&pipe->poll);
    } else if (uv_poll_start(&pipe->poll, UV_READABLE, on_readable) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot wait for the log pipe");
    }
}

void log_pipe_drain(struct log_pipe *pipe) {
    while (read_once(pipe)) {
    }
    give_line(pipe);
}

void log_pipe_start(struct log_pipe *pipe, uv_loop_t *loop, int fd, const char *level,
                    void (*on_line)(void *context, const char *level, struct slice line), void *context) {
    pipe->fd = fd;
    pipe->level = level;
    pipe->on_line = on_line;
    pipe->context = context;
    pipe->poll.data = pipe->silence.data = pipe;
    (void)uv_timer_init(loop, &pipe->silence); /* cannot fail */
    if (uv_poll_init(loop, &pipe->poll, fd) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot wait for the log pipe");
    }
    log_pipe_set_reading(pipe, true);
}
