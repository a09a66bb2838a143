/* See reply.h. */
#include "reply.h"
#include "message.h"

#define MAX_TEXT 8192u /* PROTOCOL §5.4 */

static void put_id_or_nil(struct writer *writer, int64_t id) {
    if (id == MESSAGE_NO_ID) {
        writer_put_nil(writer);
    } else {
        writer_put_id(writer, (uint32_t)id);
    }
}

/* Text that is as it comes: made valid UTF-8, and cut, so that it fits a small frame, too. */
static void put_any_text(struct writer *writer, struct slice text) {
    uint8_t repaired[MAX_TEXT];
    size_t most = writer->limit / 2 < MAX_TEXT ? writer->limit / 2 : MAX_TEXT;

    if (text.length > most || !utf8_is_valid(text, NULL)) {
        size_t length = utf8_repair(text, repaired, most);
        text = (struct slice){repaired, length};
    }
    writer_put_text_slice(writer, text);
}

void reply_begin_ok(struct writer *writer, uint32_t id) {
    writer_put_message(writer, 4);
    writer_put_symbol(writer, "ok");
    writer_put_id(writer, id);
}

void reply_end(struct writer *writer, struct receipt receipt) {
    writer_put_tuple(writer, 3);
    writer_put_uint(writer, receipt.queued_us);
    writer_put_uint(writer, receipt.ran_us);
    writer_put_uint(writer, receipt.cpu_us);
}

void reply_begin_error(struct writer *writer, int64_t id, enum error_kind kind, const char *message,
                       uint32_t more) {
    writer_put_message(writer, 5);
    writer_put_symbol(writer, "error");
    put_id_or_nil(writer, id);
    writer_put_symbol(writer, error_kind_name(kind));
    writer_put_map(writer, 1 + more);
    writer_put_text(writer, "message");
    put_any_text(writer, (struct slice){(const uint8_t *)message, strlen(message)});
}

void reply_progress(struct writer *writer, uint32_t id, uint64_t done, uint64_t total) {
    writer_put_message(writer, 4);
    writer_put_symbol(writer, "progress");
    writer_put_id(writer, id);
    writer_put_uint(writer, done);
    writer_put_uint(writer, total);
}

void reply_begin_stuck(struct writer *writer, uint32_t id, uint64_t ran_us, uint32_t depth) {
    writer_put_message(writer, 4);
    writer_put_symbol(writer, "stuck");
    writer_put_id(writer, id);
    writer_put_uint(writer, ran_us);
    writer_put_list(writer, depth);
}

void reply_log(struct writer *writer, const char *level, struct slice text, int64_t id) {
    writer_put_message(writer, id == MESSAGE_NO_ID ? 3 : 4);
    writer_put_symbol(writer, "log");
    writer_put_symbol(writer, level);
    put_any_text(writer, text);
    if (id != MESSAGE_NO_ID) {
        writer_put_id(writer, (uint32_t)id);
    }
}

void reply_bye(struct writer *writer, const char *reason) {
    writer_put_message(writer, 2);
    writer_put_symbol(writer, "bye");
    writer_put_symbol(writer, reason);
}
