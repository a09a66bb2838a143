/* frame_reader: frames from a file descriptor, one after the other, for programs that may block: the
 * commands, not the worker.
 *
 * Thread: whoever owns it. frame_reader_next blocks. */
#ifndef FRAME_READER_H
#define FRAME_READER_H

#include <stdbool.h>

#include "bytes.h"

enum frame_reader_status {
    FRAME_READER_FRAME,  /* *content is the frame's content, valid until the next call */
    FRAME_READER_END,    /* the input ended between two frames */
    FRAME_READER_BROKEN, /* the stream is wrong (PROTOCOL §8): `reason` says why */
    FRAME_READER_FAILED, /* reading failed, or there is no memory: `reason` says why */
    FRAME_READER_LATE,   /* `deadline_ms` has passed */
};

struct frame_reader {
    int fd;
    size_t limit;              /* of a frame's content */
    int64_t deadline_ms;       /* on frame_reader_clock; 0: none */
    void (*before_wait)(void); /* called before every read, which may block; NULL: nothing to do */
    const char *reason;
    uint8_t *bytes;
    size_t capacity;
    size_t start; /* what is read and not yet given out: from start to end */
    size_t end;
};

/* Milliseconds of the monotonic clock. */
int64_t frame_reader_clock(void);

void frame_reader_init(struct frame_reader *reader, int fd, size_t limit);
void frame_reader_finish(struct frame_reader *reader);

/* Blocks until there is a whole frame, or an end of one kind or another. */
enum frame_reader_status frame_reader_next(struct frame_reader *reader, struct slice *content);

#endif
