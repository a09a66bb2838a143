/* log_outbox: log lines of ops on their way from the threads to the loop. Bounded: what does not fit is
 * dropped and counted, so that logging never holds up a job. */
#ifndef LOG_OUTBOX_H
#define LOG_OUTBOX_H

#include <uv.h>

#include "codec.h"

struct log_line {
    struct log_line *next;
    const struct codec *codec;
    enum stv_level level;
    uint32_t id; /* of the job */
    size_t length;
    uint8_t text[];
};

/* `wake` is sent when lines wait. Loop, once. */
void log_outbox_init(uv_async_t *wake);

/* Any thread. */
void log_outbox_put(enum stv_level level, uint32_t id, const struct codec *codec, struct slice text);

/* All that wait, oldest first; the caller frees each. *dropped is how many did not fit since the last call.
 * Loop. */
struct log_line *log_outbox_take(size_t *dropped);

#endif
