/* See message.h. */
#include "message.h"

/* Whether all elements are binaries, and nothing follows them. */
static enum batch_verdict walk_spine(struct batch batch) {
    struct slice message;

    for (; batch.left > 0; batch.left--) {
        enum check_verdict verdict = batch.codec->next_in_batch(&batch.body, &message);
        if (verdict != CHECK_OK) {
            return verdict == CHECK_BROKEN ? BATCH_BROKEN : BATCH_NONE;
        }
    }
    return batch.codec->batch_ends(batch.body) ? BATCH_OK : BATCH_NONE;
}

enum batch_verdict batch_open(struct slice frame, struct batch *batch) {
    struct opening opening;

    *batch = (struct batch){.codec = frame.length > 0 ? codec_of(frame.bytes[0]) : NULL};
    if (batch->codec == NULL) {
        return BATCH_NONE;
    }
    if (!batch->codec->open(frame, &opening)) {
        return BATCH_BROKEN;
    }
    if (opening.shape != SHAPE_BATCH && opening.shape != SHAPE_EITHER) {
        return BATCH_NONE;
    }
    batch->body = opening.body;
    batch->left = opening.count;
    return walk_spine(*batch);
}

bool batch_next(struct batch *batch, struct slice *message) {
    if (batch->left == 0) {
        return false;
    }
    batch->left--;
    return batch->codec->next_in_batch(&batch->body, message) == CHECK_OK;
}
