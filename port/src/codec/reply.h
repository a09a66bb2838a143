/* reply: what a worker says (PROTOCOL §5), composed into a writer.
 *
 * Messages and log texts may hold anything: what is no UTF-8 is replaced, and what is beyond 8 KiB or half a
 * frame is cut, so that saying what went wrong cannot go wrong itself. Thread: whoever owns the writer. */
#ifndef REPLY_H
#define REPLY_H

#include "error_kind.h"
#include "writer.h"

struct receipt {
    uint64_t queued_us;
    uint64_t ran_us;
    uint64_t cpu_us;
};

/* {ok, Id, …: the result is put by the caller, then reply_end adds the receipt. */
void reply_begin_ok(struct writer *writer, uint32_t id);
void reply_end(struct writer *writer, struct receipt receipt);

/* {error, Id, Kind, #{message => …, + `more` further pairs, put by the caller (text keys)}: then reply_end.
 * `id` may be MESSAGE_NO_ID. */
void reply_begin_error(struct writer *writer, int64_t id, enum error_kind kind, const char *message,
                       uint32_t more);

void reply_progress(struct writer *writer, uint32_t id, uint64_t done, uint64_t total);
/* {stuck, Id, RanUs, …: the stack is a list of `depth` texts, put by the caller. */
void reply_begin_stuck(struct writer *writer, uint32_t id, uint64_t ran_us, uint32_t depth);
/* `id` is MESSAGE_NO_ID for what was printed. */
void reply_log(struct writer *writer, const char *level, struct slice text, int64_t id);
void reply_bye(struct writer *writer, const char *reason);

#endif
