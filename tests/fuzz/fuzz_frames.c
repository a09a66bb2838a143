/* libFuzzer target: any bytes as what a worker reads on stdin: frames, batches and messages, and the
 * arguments of calls.
 *
 * Beyond memory errors it looks for broken promises of the headers: a slice outside of its frame, an id or an
 * option out of range, a batch that does not have as many messages as it says. */
#include <stdlib.h>

#include "arena.h"
#include "frame.h"
#include "message.h"

#define MAX_FRAME (1u << 20)

static void require(bool holds) {
    if (!holds) {
        abort();
    }
}

static bool is_inside(struct slice part, struct slice whole) {
    return part.bytes >= whole.bytes && part.length <= whole.length &&
           part.bytes - whole.bytes <= (ptrdiff_t)(whole.length - part.length);
}

static bool is_id(int64_t id) {
    return id >= 0 && id <= INT32_MAX;
}

static void judge_call(const struct message *message, struct slice bytes) {
    struct arena arena;
    const char *reason = NULL;

    require(is_id(message->id) && message->priority < MESSAGE_PRIORITIES);
    require(message->timeout <= INT32_MAX && message->queue_timeout <= INT32_MAX &&
            message->kill_after <= INT32_MAX && message->progress <= INT32_MAX);
    require(message->op.length >= 1 && message->op.length <= 255 * 4 && is_inside(message->args, bytes));
    arena_init(&arena, NULL, 0);
    require(message->codec->read(&arena, message->args, &reason) || reason);
    arena_finish(&arena);
}

/* False: the stream is broken. */
static bool judge_message(struct slice bytes) {
    struct message message;
    const char *reason = NULL;

    switch (message_read(bytes, &message, &reason)) {
    case MESSAGE_OK:
        if (message.type == MESSAGE_CALL) {
            judge_call(&message, bytes);
        }
        require(message.type != MESSAGE_CANCEL || is_id(message.id));
        require(message.type != MESSAGE_STOP || (message.grace >= -1 && message.grace <= INT32_MAX));
        return true;
    case MESSAGE_BAD:
        require(reason && (message.id == MESSAGE_NO_ID || is_id(message.id)));
        return true;
    default:
        require(reason);
        return false;
    }
}

static bool judge_batch(struct batch *batch, struct slice frame) {
    uint32_t expected = batch->left;
    uint32_t count = 0;
    struct slice message;

    while (batch_next(batch, &message)) {
        count++;
        require(is_inside(message, frame));
        if (!judge_message(message)) {
            return false;
        }
    }
    require(count == expected);
    return true;
}

static bool judge_frame(struct slice frame) {
    struct batch batch;

    switch (batch_open(frame, &batch)) {
    case BATCH_OK:
        return judge_batch(&batch, frame);
    case BATCH_BROKEN:
        return false;
    default:
        return judge_message(frame);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice rest = {data, size};
    struct slice frame;
    size_t needed;

    while (frame_next(rest, MAX_FRAME, &frame, &needed) == FRAME_READY && judge_frame(frame)) {
        require(is_inside(frame, rest));
        rest = (struct slice){frame.bytes + frame.length, rest.length - FRAME_HEADER - frame.length};
    }
    return 0;
}
