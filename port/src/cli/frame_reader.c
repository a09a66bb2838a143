/* One buffer, which grows to the largest frame seen: at most doubling with each read, so that a header that
 * announces much and sends little does not get the memory. Thread: whoever owns the reader. */
#include "frame_reader.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "frame.h"

#define FIRST_CAPACITY 65536u

int64_t frame_reader_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void frame_reader_init(struct frame_reader *reader, int fd, size_t limit) {
    *reader = (struct frame_reader){.fd = fd, .limit = limit};
}

void frame_reader_finish(struct frame_reader *reader) {
    free(reader->bytes);
    reader->bytes = NULL;
}

static enum frame_reader_status stop(struct frame_reader *reader, enum frame_reader_status status,
                                     const char *reason) {
    reader->reason = reason;
    return status;
}

/* Room for at least one more byte behind what is there. */
static bool make_room(struct frame_reader *reader) {
    if (reader->start > 0) {
        memmove(reader->bytes, reader->bytes + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    if (reader->end < reader->capacity) {
        return true;
    }
    size_t capacity = reader->capacity == 0 ? FIRST_CAPACITY : reader->capacity * 2;
    uint8_t *bytes = realloc(reader->bytes, capacity);
    if (bytes == NULL) {
        return false;
    }
    reader->bytes = bytes;
    reader->capacity = capacity;
    return true;
}

/* Waits until there is something to read or the deadline has passed; false for the latter. */
static bool wait_readable(const struct frame_reader *reader) {
    if (reader->deadline_ms == 0) {
        return true;
    }
    struct pollfd input = {.fd = reader->fd, .events = POLLIN};
    int64_t left;
    while ((left = reader->deadline_ms - frame_reader_clock()) > 0) {
        if (poll(&input, 1, left > INT32_MAX ? INT32_MAX : (int)left) > 0) {
            return true;
        }
    }
    return false;
}

static ssize_t read_some(struct frame_reader *reader) {
    ssize_t count;
    do {
        count = read(reader->fd, reader->bytes + reader->end, reader->capacity - reader->end);
    } while (count < 0 && errno == EINTR);
    return count;
}

/* FRAME_READER_FRAME: more was read; else why not. */
static enum frame_reader_status read_more(struct frame_reader *reader) {
    if (reader->before_wait != NULL) {
        reader->before_wait();
    }
    if (!wait_readable(reader)) {
        return stop(reader, FRAME_READER_LATE, "time is up");
    }
    if (!make_room(reader)) {
        return stop(reader, FRAME_READER_FAILED, "out of memory");
    }
    ssize_t count = read_some(reader);
    if (count < 0) {
        return stop(reader, FRAME_READER_FAILED, strerror(errno));
    }
    if (count == 0 && reader->start < reader->end) {
        return stop(reader, FRAME_READER_BROKEN, "the input ended inside a frame");
    }
    reader->end += (size_t)count;
    return count == 0 ? FRAME_READER_END : FRAME_READER_FRAME;
}

static struct slice unread(const struct frame_reader *reader) {
    const uint8_t *first = reader->bytes == NULL ? NULL : reader->bytes + reader->start;
    return (struct slice){first, reader->end - reader->start};
}

enum frame_reader_status frame_reader_next(struct frame_reader *reader, struct slice *content) {
    for (;;) {
        size_t needed;
        switch (frame_next(unread(reader), reader->limit, content, &needed)) {
        case FRAME_READY:
            reader->start += FRAME_HEADER + content->length;
            return FRAME_READER_FRAME;
        case FRAME_EMPTY:
            return stop(reader, FRAME_READER_BROKEN, "an empty frame");
        case FRAME_TOO_LARGE:
            return stop(reader, FRAME_READER_BROKEN, "a frame longer than --max-frame");
        case FRAME_INCOMPLETE:
            break;
        }
        enum frame_reader_status status = read_more(reader);
        if (status != FRAME_READER_FRAME) {
            return status;
        }
    }
}
