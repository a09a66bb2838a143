/* Thread: any (pure). */
#include "message_term.h"

#include "message.h"

enum message_term_verdict message_term_read(struct arena *arena, struct slice message,
                                            const struct stv_term **term, const char **reason) {
    const struct codec *codec = message.length == 0 ? NULL : codec_of(message.bytes[0]);
    if (codec == NULL) {
        *reason = "the first byte is of no codec (PROTOCOL §2)";
        return MESSAGE_TERM_BROKEN;
    }
    struct opening opening;
    if (!codec->open(message, &opening)) {
        *reason = "it says to be longer than it is";
        return MESSAGE_TERM_BROKEN;
    }
    struct check check = {.max_depth = codec->max_depth, .terms_left = CHECK_MAX_TERMS};
    size_t used;
    enum check_verdict verdict = codec->check(&check, opening.term, &used);
    if (verdict != CHECK_OK) {
        *reason = check.reason;
        return verdict == CHECK_BROKEN ? MESSAGE_TERM_BROKEN : MESSAGE_TERM_REFUSED;
    }
    if (used != opening.term.length) {
        *reason = "bytes after the term";
        return MESSAGE_TERM_REFUSED;
    }
    *term = codec->read(arena, opening.term, reason);
    return *term == NULL ? MESSAGE_TERM_REFUSED : MESSAGE_TERM_OK;
}

bool message_term_each(struct slice frame, bool (*take)(void *context, struct slice message), void *context) {
    struct batch batch;
    switch (batch_open(frame, &batch)) {
    case BATCH_BROKEN:
        return false;
    case BATCH_NONE:
        take(context, frame);
        return true;
    case BATCH_OK:
        break;
    }
    struct slice message;
    while (batch_next(&batch, &message) && take(context, message)) {
    }
    return true;
}
