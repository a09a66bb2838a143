/* source: what an op reads: its argument `data`, or the file that its argument `path` names, in chunks.
 *
 * Exactly one of the two must be there. Whoever reads a source is stoppable and reports progress in bytes
 * without doing more. Thread: the one that runs the job. */
#ifndef SOURCE_H
#define SOURCE_H

#include <sys/types.h>

#include "stevedore.h"

struct source {
    struct stv_job *job;
    const char *path;      /* NULL: `data` */
    int fd;                /* -1: `data`, or not open */
    mode_t mode;           /* the file's permissions */
    unsigned char *buffer; /* of a file's chunk */
    struct stv_bytes data; /* `data`: what is left of it */
    uint64_t size;         /* bytes in all; 0 if that is not known (or if there are none) */
    uint64_t given;        /* bytes given out so far */
};

/* STV_OK, or what the op has to return: refused arguments, or a file that cannot be read. Only regular files
 * are: others may block for ever, and then the job could not be stopped. Call source_close in any case. */
enum stv_status source_open(struct source *source, struct stv_job *job);

/* The next chunk; its size is 0 at the end. It is valid until the next call. Not STV_OK: what the op has to
 * return, STV_STOPPED included. */
enum stv_status source_next(struct source *source, struct stv_bytes *chunk);

void source_close(struct source *source);

#endif
