/* frame_buffer: memory that frames are read into, shared by the jobs whose arguments lie in it.
 *
 * Counted references, because a job keeps its large arguments where they were read. Recycled, because glibc
 * gives large blocks back to the kernel each time and the page faults cost a third of the throughput at 1
 * MiB. Thread: loop. */
#ifndef FRAME_BUFFER_H
#define FRAME_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct frame_buffer {
    struct frame_buffer *next; /* while spare */
    size_t capacity;
    size_t references;
    uint8_t bytes[];
};

/* At least `size` bytes, with one reference; NULL if there is no memory. */
struct frame_buffer *frame_buffer_take(size_t size);

struct frame_buffer *frame_buffer_retain(struct frame_buffer *buffer);

/* Drops a reference; the last one makes it spare or frees it. Accepts NULL. */
void frame_buffer_release(struct frame_buffer *buffer);

#endif
