/* input: stdin, from bytes to frames. A pipe, a socket, a file and /dev/null all do. It never stops reading:
 * cancel, stop and the end of stdin must always be seen. Thread: loop. */
#ifndef INPUT_H
#define INPUT_H

#include <stdbool.h>
#include <uv.h>

#include "bytes.h"
#include "frame_buffer.h"

struct input {
    int fd;
    size_t max_frame;
    struct frame_buffer *buffer; /* what was read: */
    size_t start;                /* not yet taken from here … */
    size_t end;                  /* … to here */
    bool ended;
    uint64_t frames;
    uint64_t bytes;
    uv_poll_t poll; /* a pipe or socket */
    uv_idle_t idle; /* a file: always ready */
    /* A frame's content, in a buffer that may be retained. */
    void (*on_frame)(void *context, struct slice content, struct frame_buffer *buffer);
    /* All frames of a burst were given. */
    void (*on_burst)(void *context);
    /* Orderly end, after the last frame. An end inside a frame is fatal (PROTOCOL §8). */
    void (*on_end)(void *context);
    void *context;
};

/* The caller sets the callbacks and `context` first. */
void input_start(struct input *input, uv_loop_t *loop, int fd, size_t max_frame);

/* Whether stdin has ended, or does so while this waits; even if the loop has not come to read that yet.
 * Blocks for so long. */
bool input_ends_within(const struct input *input, int milliseconds);

#endif
