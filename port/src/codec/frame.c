/* See frame.h. */
#include "frame.h"

enum frame_status frame_next(struct slice bytes, size_t limit, struct slice *content, size_t *needed) {
    size_t length;

    if (bytes.length < FRAME_HEADER) {
        *needed = FRAME_HEADER;
        return FRAME_INCOMPLETE;
    }
    length = read_be32(bytes.bytes);
    if (length == 0) {
        return FRAME_EMPTY;
    }
    if (length > limit) {
        return FRAME_TOO_LARGE;
    }
    if (length > bytes.length - FRAME_HEADER) {
        *needed = FRAME_HEADER + length;
        return FRAME_INCOMPLETE;
    }
    *content = (struct slice){bytes.bytes + FRAME_HEADER, length};
    return FRAME_READY;
}
