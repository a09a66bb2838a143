/* frame: the 4-byte length in front of everything (PROTOCOL §1). Allocates nothing, keeps no state. Thread:
 * any (pure). */
#ifndef FRAME_H
#define FRAME_H

#include "bytes.h"

#define FRAME_HEADER 4u

enum frame_status {
    FRAME_READY,
    FRAME_INCOMPLETE,
    FRAME_EMPTY,     /* length 0: a broken stream */
    FRAME_TOO_LARGE, /* over the limit: a broken stream, told before anything is buffered */
};

/* Looks at the start of what was read so far. FRAME_READY: *content is the frame's content, inside `bytes`.
 * FRAME_INCOMPLETE: *needed is how many bytes in all the frame takes, header included (FRAME_HEADER if even
 * that is incomplete). */
enum frame_status frame_next(struct slice bytes, size_t limit, struct slice *content, size_t *needed);

#endif
