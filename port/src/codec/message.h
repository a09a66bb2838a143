/* message: what a host says (PROTOCOL §4), from bytes to a struct, complete before anything acts on it.
 *
 * Reading a message checks all of it but decodes only the envelope; the arguments stay encoded and are
 * decoded by the thread that runs the job. Thread: any (pure). */
#ifndef MESSAGE_H
#define MESSAGE_H

#include "codec.h"

enum message_type { MESSAGE_CALL, MESSAGE_CANCEL, MESSAGE_STOP };

#define MESSAGE_NO_ID            (-1)
#define MESSAGE_DEFAULT_PRIORITY 5
#define MESSAGE_PRIORITIES       10

struct message {
    enum message_type type;
    const struct codec *codec; /* NULL only if the first byte is of none */
    int64_t id;                /* call, cancel; MESSAGE_NO_ID if none could be read */
    struct slice op;           /* call: its name, borrowed from the frame */
    struct slice args;         /* call: one checked term, encoded, borrowed from the frame */
    uint32_t timeout;          /* ms; 0: none */
    uint32_t queue_timeout;    /* ms; 0: none */
    uint32_t kill_after;       /* ms; 0: the worker's own */
    uint32_t progress;         /* ms; 0: none */
    uint32_t priority;
    int64_t grace;  /* stop: ms; -1: no bound */
    char text[160]; /* where a reason may live */
};

enum message_verdict {
    MESSAGE_OK,
    MESSAGE_BAD, /* a bad_request: `id` is set to the id to answer with (PROTOCOL §8), `reason` says why */
    MESSAGE_BROKEN, /* the stream is wrong: `reason` says why */
};

/* Reads one message (a frame's content, or an element of a batch) into *message. *reason, unless MESSAGE_OK,
 * is a static text, or lives in message->text; always valid UTF-8. */
enum message_verdict message_read(struct slice bytes, struct message *message, const char **reason);

/* Whether a frame's content is a batch; if so *batch can be walked with batch_next. */
struct batch {
    const struct codec *codec;
    struct slice body;
    uint32_t left;
};
enum batch_verdict { BATCH_NONE, BATCH_OK, BATCH_BROKEN };
/* BATCH_OK only if the whole spine is right: every element a binary inside the frame, nothing after. A list
 * that is no batch is BATCH_NONE (message_read says what is wrong with it); one whose lengths lie is
 * BATCH_BROKEN. */
enum batch_verdict batch_open(struct slice frame, struct batch *batch);
bool batch_next(struct batch *batch, struct slice *message);

#endif
