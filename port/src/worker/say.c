#include "say.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fatal.h"
#include "frame.h"
#include "log_outbox.h"
#include "native_stack.h"
#include "utf8.h"
#include "worker.h"

static void send_message(struct worker *worker, struct writer *message, bool batched) {
    if (!writer_is_complete(message)) {
        fatal(EXIT_NO_MEMORY, "no memory for a message");
    }
    output_send(&worker->output, message, batched, NULL, NULL);
    writer_finish(message);
}

/* A text may be the name of an op that does not exist: any bytes. */
static void put_extra(struct writer *reply, const char *key, const char *text, uint64_t number) {
    char clean[512];
    writer_put_text(reply, key);
    if (text != NULL) {
        writer_put_text(reply, utf8_repair_string(text, clean, sizeof clean));
    } else {
        writer_put_uint(reply, number);
    }
}

void say_refusal(struct worker *worker, const struct refusal *refusal) {
    uint32_t extras = (refusal->extra[0].key != NULL) + (refusal->extra[1].key != NULL);
    struct writer reply;
    writer_init(&reply, refusal->codec, worker->max_frame);
    reply_begin_error(&reply, refusal->id, refusal->kind, refusal->message, extras);
    for (uint32_t i = 0; i < extras; i++) {
        put_extra(&reply, refusal->extra[i].key, refusal->extra[i].text, refusal->extra[i].number);
    }
    reply_end(&reply, refusal->receipt);
    worker->outcomes[refusal->kind]++;
    send_message(worker, &reply, refusal->batched);
}

void say_progress(struct worker *worker, struct stv_job *job) {
    uint64_t done = atomic_load_explicit(&job->done, memory_order_relaxed);
    if (done == job->progress_sent) {
        return;
    }
    job->progress_sent = done;
    struct writer message;
    writer_init(&message, job->codec, worker->max_frame);
    reply_progress(&message, job->id, done, atomic_load_explicit(&job->total, memory_order_relaxed));
    send_message(worker, &message, job->batched);
}

/* The name of a function is what a compiler made of it: any bytes. */
static void put_frame(struct writer *message, const struct native_frame *frame) {
    char text[NATIVE_FRAME_TEXT];
    char clean[3 * sizeof text]; /* each byte that is no UTF-8 becomes three */
    (void)native_frame_text(frame, text, sizeof text);
    writer_put_text(message, utf8_repair_string(text, clean, sizeof clean));
}

static void put_stuck(struct writer *message, const struct stv_job *job, uint64_t ran_us,
                      const struct native_frame *stack, size_t depth) {
    reply_begin_stuck(message, job->id, ran_us, (uint32_t)depth);
    for (size_t i = 0; i < depth; i++) {
        put_frame(message, &stack[i]);
    }
}

/* Of a stack that is too large for a frame, the innermost part is told. */
void say_stuck(struct worker *worker, const struct stv_job *job, uint64_t ran_us,
               const struct native_frame *stack, size_t depth) {
    struct writer message;
    writer_init(&message, job->codec, worker->max_frame);
    put_stuck(&message, job, ran_us, stack, depth);
    while (message.error == WRITER_TOO_LARGE) {
        writer_finish(&message);
        depth /= 2;
        put_stuck(&message, job, ran_us, stack, depth);
    }
    send_message(worker, &message, job->batched);
}

static void log_line(struct worker *worker, const struct codec *codec, const char *level, struct slice text,
                     int64_t id) {
    struct writer line;
    writer_init(&line, codec, worker->max_frame);
    reply_log(&line, level, text, id);
    send_message(worker, &line, false);
}

void say_log(struct worker *worker, const char *level, struct slice text) {
    log_line(worker, worker->codec, level, text, MESSAGE_NO_ID);
}

void say_failed_start(int fd, const char *line) {
    struct writer message;
    uint8_t frame[4096]; /* a line is shorter, whatever is replaced in it */
    writer_init(&message, &codec_etf, sizeof frame - FRAME_HEADER);
    reply_log(&message, "error", (struct slice){(const uint8_t *)line, strlen(line)}, MESSAGE_NO_ID);
    if (writer_is_complete(&message)) {
        size_t size = writer_size(&message);
        write_be32(frame, (uint32_t)size);
        writer_copy(&message, frame + FRAME_HEADER);
        (void)!write(fd, frame, FRAME_HEADER + size); /* nobody may be there */
    }
    writer_finish(&message);
}

void say_warning(struct worker *worker, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cut off if longer */
    va_end(args);
    say_log(worker, "warning", (struct slice){(const uint8_t *)text, strlen(text)});
}

void say_what_ops_logged(struct worker *worker) {
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    size_t dropped = 0;
    for (struct log_line *line = log_outbox_take(&dropped); line != NULL;) {
        struct log_line *next = line->next;
        log_line(worker, line->codec, levels[line->level], (struct slice){line->text, line->length},
                 line->id);
        free(line);
        line = next;
    }
    if (dropped > 0) {
        say_warning(worker, "%zu log lines were dropped: ops log too much", dropped);
    }
}
