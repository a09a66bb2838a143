/* DESIGN. Bytes are read into a buffer of READ_SIZE and frames are taken out of it. A frame that does not fit
 * gets a buffer of exactly its size, into which the rest is read directly; so a large frame is copied at most
 * by what came with its beginning, and lies alone in its buffer, which its job can keep. A buffer that
 * somebody has kept is not written to again.
 *
 * libuv's pipe handles abort on regular files and /dev/null, so files are read plainly, a piece for each turn
 * of the loop.
 *
 * Thread: loop. */
#include "input.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "fatal.h"
#include "frame.h"
#include "inject.h"

#define READ_SIZE      65536u
#define READS_PER_TURN 4

static struct frame_buffer *take_buffer(size_t size) {
    struct frame_buffer *buffer = frame_buffer_take(size);
    if (buffer == NULL) {
        fatal(EXIT_NO_MEMORY, "no memory for a frame of %zu bytes: lower --max-frame", size);
    }
    return buffer;
}

/* Moves what is not yet taken to the front of a buffer with room for `needed` bytes. Nothing to do if it is
 * there already. */
static void make_room(struct input *input, size_t needed) {
    if (input->start == 0 && input->buffer->references == 1 && input->buffer->capacity >= needed &&
        input->end < input->buffer->capacity) {
        return;
    }
    size_t size = needed > READ_SIZE ? needed : READ_SIZE;
    size_t left = input->end - input->start;
    struct frame_buffer *old = input->buffer;
    bool reuse = old->references == 1 && old->capacity >= size && old->capacity <= 2 * size;
    struct frame_buffer *buffer = reuse ? old : take_buffer(size);
    memmove(buffer->bytes, old->bytes + input->start, left);
    if (!reuse) {
        frame_buffer_release(old);
    }
    input->buffer = buffer;
    input->start = 0;
    input->end = left;
}

static void take_frames(struct input *input) {
    for (;;) {
        struct slice content;
        size_t needed = 0;
        struct slice read = {input->buffer->bytes + input->start, input->end - input->start};
        switch (frame_next(read, input->max_frame, &content, &needed)) {
        case FRAME_READY:
            input->frames++;
            input->start += FRAME_HEADER + content.length;
            input->on_frame(input->context, content, input->buffer);
            continue;
        case FRAME_INCOMPLETE:
            make_room(input, needed);
            return;
        case FRAME_EMPTY:
            fatal(EXIT_BROKEN_STREAM, "an empty frame (PROTOCOL §1)");
        case FRAME_TOO_LARGE:
            fatal(EXIT_BROKEN_STREAM, "a frame announces %u bytes, more than --max-frame %zu (PROTOCOL §1)",
                  read_be32(read.bytes), input->max_frame);
        }
    }
}

static void end(struct input *input) {
    if (input->end > input->start) {
        fatal(EXIT_BROKEN_STREAM, "stdin ended inside a frame (PROTOCOL §8)");
    }
    input->ended = true;
    input->on_end(input->context);
}

/* Reads once. True if there may be more right now. */
static bool read_once(struct input *input) {
    size_t room = input->buffer->capacity - input->end;
    INJECT("before_read");
    ssize_t count = read(input->fd, input->buffer->bytes + input->end, room);
    if (count < 0) {
        if (errno == EAGAIN || errno == EINTR) {
            return false;
        }
        fatal(EXIT_IO, "cannot read stdin: %s", strerror(errno));
    }
    if (count == 0) {
        end(input);
        return false;
    }
    input->end += (size_t)count;
    input->bytes += (uint64_t)count;
    INJECT("after_read");
    take_frames(input);
    return (size_t)count == room;
}

static void read_burst(struct input *input) {
    for (int i = 0; i < READS_PER_TURN && read_once(input); i++) {
    }
    input->on_burst(input->context);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)events;
    struct input *input = poll->data;
    if (status < 0 && status != UV_EBADF) { /* EBADF is how libuv says POLLERR: read tells more */
        fatal(EXIT_IO, "cannot wait for stdin: %s", uv_strerror(status));
    }
    read_burst(input);
    if (input->ended) {
        (void)uv_poll_stop(poll);
    }
}

static void on_idle(uv_idle_t *idle) {
    struct input *input = idle->data;
    read_burst(input);
    if (input->ended) {
        (void)uv_idle_stop(idle);
    }
}

void input_start(struct input *input, uv_loop_t *loop, int fd, size_t max_frame) {
    input->fd = fd;
    input->max_frame = max_frame;
    input->buffer = take_buffer(READ_SIZE);
    input->poll.data = input->idle.data = input;
    if (uv_poll_init(loop, &input->poll, fd) == 0) {
        if (uv_poll_start(&input->poll, UV_READABLE, on_readable) != 0) {
            fatal(EXIT_NO_RESOURCES, "cannot wait for stdin");
        }
    } else {
        (void)uv_idle_init(loop, &input->idle); /* cannot fail */
        (void)uv_idle_start(&input->idle, on_idle);
    }
}

bool input_ends_within(const struct input *input, int milliseconds) {
    struct pollfd fd = {.fd = input->fd,
                        .events = 0}; /* a hang-up is told unasked, and before what is still to be read */
    return input->ended || (poll(&fd, 1, milliseconds) == 1 && (fd.revents & POLLHUP) != 0);
}
