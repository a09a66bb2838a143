/* msgpack_check: one bounds-checking pass over a MessagePack object (PROTOCOL §9.2). Thread: any (pure). */
#ifndef MSGPACK_CHECK_H
#define MSGPACK_CHECK_H

#include "check.h"

/* msgpack-c's own nesting limit, compiled into it (MSGPACK_EMBED_STACK_SIZE). */
#define MSGPACK_MAX_DEPTH 32u

/* Checks the one object at the start of `bytes` and tells how long it is in *used. Reads nothing beyond. */
enum check_verdict msgpack_check(struct check *check, struct slice bytes, size_t *used);

#endif
