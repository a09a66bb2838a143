/* DESIGN. What is to be written is a list of chunks. A chunk is either a buffer that small frames are
 * appended to, or one large frame: a header and a writer with its splices, which stays with its owner (a job)
 * until it is written. One writev covers many chunks.
 *
 * An open batch is a buffer chunk of its own that begins with room for the headers; when it is closed they
 * are filled in. With one message in it, it becomes an ordinary frame.
 *
 * Thread: loop. */
#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "black_box.h"
#include "fatal.h"
#include "frame.h"
#include "inject.h"

#define COPY_MAX     16384u /* larger messages are not copied */
#define BUFFER_SIZE  65536u /* of a chunk of small frames: what the BEAM reads at once */
#define BATCH_HEADER 16u    /* codec->put_batch_header */
#define BATCH_ITEM   8u     /* codec->put_batch_item */
#define BATCH_END    1u     /* codec->put_batch_end */
#define FIRST_ITEM                                                                                           \
    (FRAME_HEADER + BATCH_HEADER) /* the headers go in front of it, when their size is known                 \
                                   */
#define MAX_PIECES 64

struct chunk {
    struct chunk *next;
    size_t start;  /* where the chunk's bytes begin in the buffer */
    size_t length; /* bytes in all, large message included */
    size_t sent;
    uint32_t slots; /* of the black box: a chain of those whose replies are in it */
    /* A large frame: */
    const struct writer *message;
    void (*release)(void *owner);
    void *owner;
    /* A batch that is still open: */
    const struct codec *codec;
    uint32_t messages;
    size_t first_message; /* where the first one begins, behind its item header */
    size_t capacity;
    uint8_t buffer[];
};

static struct chunk *chunk_create(size_t capacity) {
    struct chunk *chunk = must(malloc(sizeof *chunk + capacity));
    *chunk = (struct chunk){.capacity = capacity, .slots = BLACK_BOX_NONE};
    return chunk;
}

static void chunk_destroy(struct chunk *chunk) {
    if (chunk->release != NULL) {
        chunk->release(chunk->owner);
    }
    free(chunk);
}

static void append_chunk(struct output *output, struct chunk *chunk) {
    if (output->last == NULL) {
        output->first = chunk;
    } else {
        output->last->next = chunk;
    }
    output->last = chunk;
    output->unsent += chunk->length;
}

/* --- Batches -----------------------------------------------------------------------------------------------
 */

static void close_batch(struct output *output) {
    struct chunk *batch = output->batch;
    if (batch == NULL) {
        return;
    }
    output->batch = NULL;
    uint8_t headers[FRAME_HEADER + BATCH_HEADER + BATCH_ITEM];
    size_t size = FRAME_HEADER;
    size_t from = batch->first_message;
    if (batch->messages > 1) {
        size += batch->codec->put_batch_header(headers + FRAME_HEADER, batch->messages);
        batch->length += batch->codec->put_batch_end(batch->buffer + batch->length);
        from = FIRST_ITEM;
    }
    batch->start = from - size;
    write_be32(headers, (uint32_t)(batch->length - batch->start - FRAME_HEADER));
    memcpy(batch->buffer + batch->start, headers, size);
    batch->length -= batch->start;
    output->frames++;
    append_chunk(output, batch);
}

static struct chunk *open_batch(struct output *output, const struct codec *codec, size_t size) {
    size_t needed = BATCH_ITEM + size + BATCH_END;
    if (output->batch != NULL &&
        (output->batch->codec != codec || output->batch->capacity - output->batch->length < needed)) {
        close_batch(output);
    }
    if (output->batch == NULL) {
        output->batch = chunk_create(BUFFER_SIZE);
        output->batch->codec = codec;
        output->batch->length = FIRST_ITEM;
    }
    return output->batch;
}

static void add_to_batch(struct output *output, const struct writer *message) {
    size_t size = writer_size(message);
    struct chunk *batch = open_batch(output, message->codec, size);
    batch->length += message->codec->put_batch_item(batch->buffer + batch->length, (uint32_t)size);
    if (batch->messages++ == 0) {
        batch->first_message = batch->length;
    }
    writer_copy(message, batch->buffer + batch->length);
    batch->length += size;
}

/* --- Single frames -----------------------------------------------------------------------------------------
 */

static void add_small(struct output *output, const struct writer *message) {
    size_t size = FRAME_HEADER + writer_size(message);
    struct chunk *chunk = output->last;
    if (chunk == NULL || chunk->message != NULL || chunk->capacity - chunk->start - chunk->length < size) {
        chunk = chunk_create(BUFFER_SIZE);
        append_chunk(output, chunk);
    }
    uint8_t *to = chunk->buffer + chunk->start + chunk->length;
    write_be32(to, (uint32_t)writer_size(message));
    writer_copy(message, to + FRAME_HEADER);
    chunk->length += size;
    output->unsent += size;
    output->frames++;
}

static void add_large(struct output *output, const struct writer *message, void (*release)(void *owner),
                      void *owner) {
    struct chunk *chunk = chunk_create(FRAME_HEADER);
    write_be32(chunk->buffer, (uint32_t)writer_size(message));
    chunk->message = message;
    chunk->release = release;
    chunk->owner = owner;
    chunk->length = FRAME_HEADER + writer_size(message);
    append_chunk(output, chunk);
    output->frames++;
}

void output_send(struct output *output, const struct writer *message, bool batched,
                 void (*release)(void *owner), void *owner) {
    bool small = writer_size(message) <= COPY_MAX;
    if (output->discards || output->ended) {
        small = true; /* of which nothing is kept */
    } else if (small && batched) {
        add_to_batch(output, message);
    } else {
        close_batch(output);
        if (small) {
            add_small(output, message);
        } else {
            add_large(output, message, release, owner);
        }
    }
    if (small && release != NULL) {
        release(owner);
    }
}

void output_mark(struct output *output, uint32_t slot) {
    struct chunk *chunk = output->batch != NULL ? output->batch : output->last;
    if (chunk != NULL && !output->ended) { /* or else it was dropped */
        black_box_add(&chunk->slots, slot);
    }
}

/* --- Writing -----------------------------------------------------------------------------------------------
 */

struct pieces {
    struct iovec vector[MAX_PIECES];
    int count;
    size_t skip; /* bytes of the first chunk that are written already */
};

static void add_piece(struct pieces *pieces, const uint8_t *bytes, size_t length) {
    if (length <= pieces->skip) {
        pieces->skip -= length;
    } else if (pieces->count < MAX_PIECES) {
        pieces->vector[pieces->count++] =
            (struct iovec){(void *)(bytes + pieces->skip), length - pieces->skip};
        pieces->skip = 0;
    }
}

static void add_message_pieces(struct pieces *pieces, const struct writer *message) {
    size_t from = 0;
    for (uint32_t i = 0; i < message->splice_count; i++) {
        const struct splice *splice = &message->splices[i];
        add_piece(pieces, message->bytes + from, splice->offset - from);
        add_piece(pieces, splice->bytes.bytes, splice->bytes.length);
        from = splice->offset;
    }
    add_piece(pieces, message->bytes + from, message->length - from);
}

static void gather(const struct output *output, struct pieces *pieces) {
    *pieces = (struct pieces){.count = 0};
    for (struct chunk *chunk = output->first; chunk != NULL && pieces->count < MAX_PIECES;
         chunk = chunk->next) {
        pieces->skip = chunk->sent;
        if (chunk->message == NULL) {
            add_piece(pieces, chunk->buffer + chunk->start, chunk->length);
        } else {
            add_piece(pieces, chunk->buffer, FRAME_HEADER);
            add_message_pieces(pieces, chunk->message);
        }
    }
}

static void drop_first(struct output *output) {
    struct chunk *chunk = output->first;
    output->first = chunk->next;
    if (output->first == NULL) {
        output->last = NULL;
    }
    chunk_destroy(chunk);
}

static void note_written(struct output *output, size_t written) {
    output->unsent -= written;
    output->bytes += written;
    while (written > 0) {
        struct chunk *chunk = output->first;
        size_t left = chunk->length - chunk->sent;
        if (written < left) {
            chunk->sent += written;
            return;
        }
        written -= left;
        black_box_flushed(chunk->slots);
        drop_first(output);
    }
}

static void gone(struct output *output) {
    output_discard(output);
    output->on_gone(output->context);
}

static void on_writable(uv_poll_t *poll, int status, int events) {
    (void)status; /* an error shows when writing */
    (void)events;
    struct output *output = poll->data;
    (void)uv_poll_stop(poll);
    output->waiting = false;
    output_flush(output);
}

static void wait_until_writable(struct output *output) {
    if (!output->waiting) {
        output->waiting = true;
        if (uv_poll_start(&output->poll, UV_WRITABLE, on_writable) != 0) {
            fatal(EXIT_IO, "cannot wait for stdout");
        }
    }
}

/* False when there is no use in trying further now. */
static bool write_some(struct output *output) {
    struct pieces pieces;
    gather(output, &pieces);
    ssize_t written = inject_writev(output->fd, pieces.vector, pieces.count);
    if (written >= 0) {
        note_written(output, (size_t)written);
    } else if (errno == EAGAIN && output->can_poll) {
        wait_until_writable(output);
        return false;
    } else if (errno == EPIPE || errno == ECONNRESET) {
        gone(output);
        return false;
    } else if (errno != EINTR && errno != EAGAIN) {
        fatal(EXIT_IO, "cannot write to stdout: %s", strerror(errno));
    }
    return true;
}

void output_flush(struct output *output) {
    close_batch(output);
    if (output->first == NULL) {
        return;
    }
    while (output->first != NULL && !output->waiting && write_some(output)) {
    }
    output->on_progress(output->context);
}

bool output_is_done(const struct output *output) {
    return output->discards || (output->first == NULL && output->batch == NULL);
}

void output_end(struct output *output) {
    output->ended = true;
}

void output_discard(struct output *output) {
    close_batch(output);
    while (output->first != NULL) {
        drop_first(output);
    }
    output->unsent = 0;
    output->discards = true;
}

void output_init(struct output *output, uv_loop_t *loop, int fd, void (*on_gone)(void *context),
                 void (*on_progress)(void *context), void *context) {
    *output = (struct output){.fd = fd, .on_gone = on_gone, .on_progress = on_progress, .context = context};
    /* A terminal stays blocking: the flag would outlive us there. libuv refuses to poll regular files. */
    output->can_poll = !isatty(fd) && uv_poll_init(loop, &output->poll, fd) == 0;
    output->poll.data = output;
}
