/* echo_port: the bare port. It reads frames ({packet, 4}) and writes them back, and does nothing else.
 *
 * This is what the benchmarks take as the ceiling for one port: no decoding, no threads, no queue. A frame is
 * written when all of it has been read, as by any program that has to understand it first; all frames that
 * are complete go out in one write. The pipes are as large as a worker makes them (port/src/startup.c).
 *
 * Thread: the only one. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIPE_SIZE  (512 * 1024)
#define FIRST_SIZE ((size_t)4 << 20)
#define HEADER     4

struct buffer {
    uint8_t *bytes;
    size_t used;
    size_t size;
};

static size_t frame_size(const uint8_t *header) {
    return HEADER + ((size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3]);
}

/* How many bytes at the front are complete frames; *wanted is the size of the one that is not. */
static size_t complete(const struct buffer *buffer, size_t *wanted) {
    size_t end = 0;
    *wanted = HEADER;
    while (buffer->used - end >= HEADER) {
        *wanted = frame_size(buffer->bytes + end);
        if (*wanted > buffer->used - end) {
            break;
        }
        end += *wanted;
        *wanted = HEADER;
    }
    return end;
}

static bool reserve(struct buffer *buffer, size_t size) {
    if (size <= buffer->size) {
        return true;
    }
    uint8_t *bytes = realloc(buffer->bytes, size);
    if (bytes) {
        buffer->bytes = bytes;
        buffer->size = size;
    }
    return bytes != NULL;
}

static bool write_all(const uint8_t *bytes, size_t size) {
    while (size > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, size);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        if (written > 0) {
            bytes += written;
            size -= (size_t)written;
        }
    }
    return true;
}

/* Writes the complete frames back and moves the rest to the front. */
static bool echo(struct buffer *buffer) {
    size_t wanted;
    size_t end = complete(buffer, &wanted);
    if (!write_all(buffer->bytes, end)) {
        return false;
    }
    buffer->used -= end;
    memmove(buffer->bytes, buffer->bytes + end, buffer->used);
    return reserve(buffer, wanted);
}

int main(void) {
    (void)fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIPE_SIZE);
    (void)fcntl(STDOUT_FILENO, F_SETPIPE_SZ, PIPE_SIZE);
    struct buffer buffer = {0};
    if (!reserve(&buffer, FIRST_SIZE)) {
        return EXIT_FAILURE;
    }
    for (;;) {
        ssize_t got = read(STDIN_FILENO, buffer.bytes + buffer.used, buffer.size - buffer.used);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return got == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        }
        buffer.used += got > 0 ? (size_t)got : 0;
        if (!echo(&buffer)) {
            return EXIT_FAILURE;
        }
    }
}
