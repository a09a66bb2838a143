/* output: messages to the host, on their way to stdout. Never blocks on a pipe or socket; keeps what the host
 * does not read yet.
 *
 * Small messages are copied together and written with few system calls; a large one stays where it is until
 * it is written. Replies that may go in a batch do, within one burst (PROTOCOL §3). Thread: loop. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <uv.h>

#include "writer.h"

struct chunk;

struct output {
    int fd;
    bool can_poll; /* a pipe or socket; otherwise a file, written plainly */
    bool waiting;  /* for the host to read */
    bool discards; /* nobody reads any more */
    bool ended;    /* the last message was sent */
    uv_poll_t poll;
    struct chunk *first;
    struct chunk *last;
    struct chunk *batch; /* the open batch, not yet in the list */
    size_t unsent;       /* bytes */
    uint64_t frames;
    uint64_t bytes;
    /* Called when nobody reads stdout any more (once), and at the end of each burst, in which `unsent` has
     * changed: by writing, or, while the host does not read, by what was sent. */
    void (*on_gone)(void *context);
    void (*on_progress)(void *context);
    void *context;
};

void output_init(struct output *output, uv_loop_t *loop, int fd, void (*on_gone)(void *context),
                 void (*on_progress)(void *context), void *context);

/* Sends a complete message. A small one is copied and `release` called at once, a large one is kept until it
 * is written and `release` called then (`release` may be NULL for one that is small for sure). `batched`: may
 * go in a batch. */
void output_send(struct output *output, const struct writer *message, bool batched,
                 void (*release)(void *owner), void *owner);

/* Once the message sent last is completely written, this slot of the black box is flushed. */
void output_mark(struct output *output, uint32_t slot);

/* Ends the burst: closes the batch and writes what can be written. */
void output_flush(struct output *output);

/* Everything was written, or nobody reads. */
bool output_is_done(const struct output *output);

/* The last message was sent: drops all that would come after it. */
void output_end(struct output *output);

/* From now on drops everything. */
void output_discard(struct output *output);

#endif
