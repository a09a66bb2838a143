/* Spares are kept up to SPARE_BYTES in all, the most recently used first. A request is served by any spare
 * that is large enough but not wastefully so (at most twice as large): that fits streams of like-sized
 * frames, which is what recycling is for. Thread: loop. */
#include "frame_buffer.h"

#include <stdlib.h>

#define SPARE_BYTES ((size_t)16 << 20)

static struct frame_buffer *spares;
static size_t spare_bytes;

static struct frame_buffer *take_spare(size_t size) {
    for (struct frame_buffer **link = &spares; *link != NULL; link = &(*link)->next) {
        struct frame_buffer *buffer = *link;
        if (buffer->capacity >= size && buffer->capacity / 2 <= size) {
            *link = buffer->next;
            spare_bytes -= buffer->capacity;
            return buffer;
        }
    }
    return NULL;
}

static struct frame_buffer *allocate(size_t size) {
    struct frame_buffer *buffer = malloc(sizeof *buffer + size);
    if (buffer != NULL) {
        buffer->capacity = size;
    }
    return buffer;
}

struct frame_buffer *frame_buffer_take(size_t size) {
    struct frame_buffer *buffer = take_spare(size);
    if (buffer == NULL) {
        buffer = allocate(size);
    }
    if (buffer != NULL) {
        buffer->references = 1;
    }
    return buffer;
}

struct frame_buffer *frame_buffer_retain(struct frame_buffer *buffer) {
    buffer->references++;
    return buffer;
}

void frame_buffer_release(struct frame_buffer *buffer) {
    if (buffer == NULL || --buffer->references > 0) {
        return;
    }
    if (spare_bytes + buffer->capacity > SPARE_BYTES) {
        free(buffer);
        return;
    }
    buffer->next = spares;
    spares = buffer;
    spare_bytes += buffer->capacity;
}
