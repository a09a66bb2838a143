/* message_term: a whole message as one term, for whoever reads what either side says: `decode`, and the
 * commands that run a worker. A worker itself reads messages with message.h, which leaves the arguments
 * encoded. Thread: any (pure). */
#ifndef MESSAGE_TERM_H
#define MESSAGE_TERM_H

#include "codec.h"

enum message_term_verdict {
    MESSAGE_TERM_OK,
    MESSAGE_TERM_REFUSED, /* framed and well-formed, but not accepted (PROTOCOL §8, grade 2) */
    MESSAGE_TERM_BROKEN,  /* the stream is wrong (grade 3) */
};

/* Checks one message (a frame's content, or an element of a batch) and decodes it into the arena; it borrows
 * from `message`. */
enum message_term_verdict message_term_read(struct arena *arena, struct slice message,
                                            const struct stv_term **term, const char **reason);

/* Calls `take` with each message of a frame: the frame itself, or the elements of a batch (PROTOCOL §3). It
 * returns false to go no further. False: the batch is broken. */
bool message_term_each(struct slice frame, bool (*take)(void *context, struct slice message), void *context);

#endif
