/* A chunk is small enough that even a slow consumer comes back to ask for the next one, and so to look
 * whether it should stop, every few milliseconds; and large enough that asking costs nothing.
 *
 * A file's size is only what fstat said: it may change while it is read, and /proc says 0. What is read is
 * what counts.
 *
 * Thread: the one that runs the job. */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK ((size_t)256 * 1024)

static enum stv_status open_file(struct source *source) {
    /* O_NONBLOCK: opening a fifo would wait for its writer. */
    source->fd = open(source->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat status;
    if (source->fd < 0 || fstat(source->fd, &status) < 0) {
        return stv_fail_errno(source->job, errno, source->path);
    }
    if (!S_ISREG(status.st_mode)) {
        return stv_bad_arg(source->job, "path",
                           S_ISDIR(status.st_mode) ? "the path of a regular file, not of a directory"
                                                   : "the path of a regular file");
    }
    source->mode = status.st_mode & 0777;
    source->size = (uint64_t)status.st_size;
    source->buffer = stv_alloc(source->job, CHUNK);
    return source->buffer ? STV_OK : stv_no_memory(source->job);
}

enum stv_status source_open(struct source *source, struct stv_job *job) {
    const struct stv_bytes absent = {NULL, SIZE_MAX};
    *source = (struct source){.job = job, .fd = -1, .data = absent};
    if (!stv_opt_bytes(job, "data", &source->data)) {
        return stv_bad_arg(job, "data", "a binary");
    }
    if (!stv_opt_path(job, "path", &source->path)) {
        return stv_bad_arg(job, "path", "the path of a regular file");
    }
    bool has_data = source->data.size != absent.size;
    if (has_data && source->path) {
        return stv_bad_arg(job, "path", "nothing, because there is `data`: give one of the two");
    }
    if (!has_data && !source->path) {
        return stv_bad_arg(job, "data", "a binary, or a file's `path` instead of it");
    }
    if (source->path) {
        return open_file(source);
    }
    source->size = source->data.size;
    return STV_OK;
}

static enum stv_status read_chunk(struct source *source, struct stv_bytes *chunk) {
    ssize_t got;
    do {
        got = read(source->fd, source->buffer, CHUNK);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return stv_fail_errno(source->job, errno, source->path);
    }
    *chunk = (struct stv_bytes){source->buffer, (size_t)got};
    return STV_OK;
}

static void take_chunk(struct stv_bytes *data, struct stv_bytes *chunk) {
    *chunk = (struct stv_bytes){data->data, data->size < CHUNK ? data->size : CHUNK};
    if (chunk->size > 0) {
        data->data += chunk->size;
        data->size -= chunk->size;
    }
}

enum stv_status source_next(struct source *source, struct stv_bytes *chunk) {
    stv_progress(source->job, source->given, source->size);
    if (stv_should_stop(source->job)) {
        return STV_STOPPED;
    }
    if (source->path) {
        enum stv_status status = read_chunk(source, chunk);
        if (status != STV_OK) {
            return status;
        }
    } else {
        take_chunk(&source->data, chunk);
    }
    source->given += chunk->size;
    return STV_OK;
}

void source_close(struct source *source) {
    if (source->fd >= 0) {
        close(source->fd);
        source->fd = -1;
    }
}
