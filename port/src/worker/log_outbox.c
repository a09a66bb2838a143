#include "log_outbox.h"

#include <stdlib.h>

#include "fatal.h"

#define MAX_LINES 4096u

static struct {
    uv_mutex_t mutex;
    uv_async_t *wake;
    struct log_line *first;
    struct log_line **end;
    size_t count;
    size_t dropped;
} outbox;

void log_outbox_init(uv_async_t *wake) {
    if (uv_mutex_init(&outbox.mutex) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot make a mutex");
    }
    outbox.wake = wake;
    outbox.end = &outbox.first;
}

static void append(struct log_line *line) {
    if (line == NULL || outbox.count == MAX_LINES) {
        free(line);
        outbox.dropped++;
        return;
    }
    *outbox.end = line;
    outbox.end = &line->next;
    outbox.count++;
}

void log_outbox_put(enum stv_level level, uint32_t id, const struct codec *codec, struct slice text) {
    struct log_line *line = malloc(sizeof *line + text.length);
    if (line != NULL) {
        *line = (struct log_line){.codec = codec, .level = level, .id = id, .length = text.length};
        memcpy(line->text, text.bytes, text.length);
    }
    uv_mutex_lock(&outbox.mutex);
    append(line);
    uv_mutex_unlock(&outbox.mutex);
    (void)uv_async_send(outbox.wake); /* fails only for a handle of another type */
}

struct log_line *log_outbox_take(size_t *dropped) {
    uv_mutex_lock(&outbox.mutex);
    struct log_line *lines = outbox.first;
    *dropped = outbox.dropped;
    outbox.first = NULL;
    outbox.end = &outbox.first;
    outbox.count = outbox.dropped = 0;
    uv_mutex_unlock(&outbox.mutex);
    return lines;
}
