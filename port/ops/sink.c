/* The consumer of room writes into it directly: a result in memory is never copied on its way to the reply.
 *
 * The room is never larger than a chunk, however much memory there is: filling it is what happens between two
 * looks at stv_should_stop, and a few bytes of input can ask for any amount of output.
 *
 * The temporary file is made by open and not by mkstemp, so that its permissions are those asked for, less
 * the umask, from the start.
 *
 * Thread: the one that runs the job. */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK          ((size_t)512 * 1024)
#define FIRST_CAPACITY ((size_t)64 * 1024)

enum stv_status sink_open_memory(struct sink *sink, struct stv_job *job, uint64_t limit) {
    *sink = (struct sink){.job = job, .limit = limit, .fd = -1};
    return STV_OK;
}

/* DIRECTORY/.stevedore-PID-NUMBER, in the directory of `path`: renaming works only within one file system. */
static char *temporary_name(struct stv_job *job, const char *path) {
    static atomic_uint_fast64_t last_number;
    const char *slash = strrchr(path, '/');
    size_t directory = slash ? (size_t)(slash - path) + 1 : 0;
    size_t room = directory + sizeof ".stevedore-" + (size_t)2 * 24;
    char *name = stv_alloc(job, room);
    if (name) {
        memcpy(name, path, directory);
        (void)snprintf(name + directory, room - directory, ".stevedore-%ld-%" PRIuFAST64, (long)getpid(),
                       atomic_fetch_add(&last_number, 1));
    }
    return name;
}

/* A name that is taken was left behind by a worker that was killed and had this one's pid: the next number
 * will do. */
static enum stv_status create_temporary(struct sink *sink, mode_t mode) {
    do {
        sink->temporary = temporary_name(sink->job, sink->path);
        if (!sink->temporary) {
            return stv_no_memory(sink->job);
        }
        sink->fd = open(sink->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    } while (sink->fd < 0 && errno == EEXIST);
    return sink->fd < 0 ? stv_fail_errno(sink->job, errno, sink->path) : STV_OK;
}

/* Renaming would put a file in the place of /dev/null, too. */
static bool is_replaceable(const char *path) {
    struct stat status;
    return lstat(path, &status) < 0 || S_ISREG(status.st_mode) || S_ISLNK(status.st_mode);
}

enum stv_status sink_open_file(struct sink *sink, struct stv_job *job, const char *path, mode_t mode) {
    *sink = (struct sink){.job = job, .limit = UINT64_MAX, .path = path, .fd = -1};
    if (!is_replaceable(path)) {
        return stv_bad_arg(job, "to", "the path of a regular file, or of none yet");
    }
    sink->buffer = malloc(CHUNK);
    sink->capacity = CHUNK;
    return sink->buffer ? create_temporary(sink, mode) : stv_no_memory(job);
}

/* Twice as much as before; but one byte over the limit is enough to see that it is exceeded. */
static bool grow(struct sink *sink) {
    size_t capacity = sink->capacity ? 2 * sink->capacity : FIRST_CAPACITY;
    if (capacity - 1 > sink->limit) {
        capacity = (size_t)sink->limit + 1;
    }
    unsigned char *buffer = realloc(sink->buffer, capacity);
    if (!buffer) {
        return false;
    }
    sink->buffer = buffer;
    sink->capacity = capacity;
    return true;
}

enum stv_status sink_room(struct sink *sink, unsigned char **room, size_t *size) {
    size_t used = sink->path ? 0 : (size_t)sink->size;
    if (used == sink->capacity && !grow(sink)) {
        return stv_no_memory(sink->job);
    }
    *room = sink->buffer + used;
    *size = sink->capacity - used < CHUNK ? sink->capacity - used : CHUNK;
    return STV_OK;
}

static enum stv_status write_all(struct sink *sink, size_t size) {
    for (size_t written = 0; written < size;) {
        ssize_t count = write(sink->fd, sink->buffer + written, size - written);
        if (count >= 0) {
            written += (size_t)count;
        } else if (errno != EINTR) {
            return stv_fail_errno(sink->job, errno, sink->path);
        }
    }
    return STV_OK;
}

enum stv_status sink_add(struct sink *sink, size_t size) {
    sink->size += size;
    if (sink->size > sink->limit) {
        return stv_too_large(sink->job, sink->limit);
    }
    return sink->path ? write_all(sink, size) : STV_OK;
}

static enum stv_status commit_file(struct sink *sink) {
    int closed = close(sink->fd); /* some file systems tell only now that the disk is full */
    sink->fd = -1;
    if (closed < 0 || rename(sink->temporary, sink->path) < 0) {
        int error = errno;
        unlink(sink->temporary);
        return stv_fail_errno(sink->job, error, sink->path);
    }
    return STV_OK;
}

static enum stv_status reply_memory(struct sink *sink) {
    if (sink->size == 0) {
        return stv_reply_bytes(sink->job, NULL, 0);
    }
    unsigned char *fitting = realloc(sink->buffer, (size_t)sink->size);
    void *result = fitting ? fitting : sink->buffer;
    sink->buffer = NULL;
    return stv_reply_take(sink->job, result, (size_t)sink->size);
}

enum stv_status sink_commit(struct sink *sink) {
    return sink->path ? commit_file(sink) : reply_memory(sink);
}

void sink_close(struct sink *sink) {
    if (sink->fd >= 0) {
        close(sink->fd);
        unlink(sink->temporary);
        sink->fd = -1;
    }
    free(sink->buffer);
    sink->buffer = NULL;
}
