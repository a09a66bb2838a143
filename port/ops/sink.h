/* sink: where an op writes a large result to: memory that becomes the reply, or a file.
 *
 * A file appears under its name only when it is complete: until sink_commit it has another name in the same
 * directory, and sink_close removes it. A file or symbolic link that was under the name before is replaced.
 * Nothing is forced to the disk: the file outlives the worker, not a power cut. Thread: the one that runs the
 * job. */
#ifndef SINK_H
#define SINK_H

#include <sys/types.h>

#include "stevedore.h"

struct sink {
    struct stv_job *job;
    uint64_t limit;        /* no result may be larger; may be lowered before the first byte */
    uint64_t size;         /* bytes so far */
    unsigned char *buffer; /* memory: the result so far (from malloc); file: one chunk */
    size_t capacity;
    const char *path; /* NULL: memory */
    char *temporary;  /* the file's name until it is complete */
    int fd;           /* -1: memory, or not open */
};

/* All return STV_OK, or what the op has to return. Whatever they return, sink_close is to be called in the
 * end. */
enum stv_status sink_open_memory(struct sink *sink, struct stv_job *job, uint64_t limit);
enum stv_status sink_open_file(struct sink *sink, struct stv_job *job, const char *path, mode_t mode);

/* Room for at least one more byte: fill some of it, then say with sink_add how much. */
enum stv_status sink_room(struct sink *sink, unsigned char **room, size_t *size);
enum stv_status sink_add(struct sink *sink, size_t size);

/* Memory: replies with the bytes. File: gives it its name; the reply is still to be made. */
enum stv_status sink_commit(struct sink *sink);

/* Frees all; drops what was not committed. */
void sink_close(struct sink *sink);

#endif
