/* check: what the two checkers (etf_check, msgpack_check) share.
 *
 * A checker walks over bytes from outside before any library sees them: ei has no bounds at all and msgpack-c
 * allocates what a header claims. It is iterative, allocates nothing, and finds every length, count, tag,
 * depth and text right or says why not (PROTOCOL §8, §9). Thread: any (pure). */
#ifndef CHECK_H
#define CHECK_H

#include "bytes.h"

enum check_verdict {
    CHECK_OK,
    CHECK_REFUSED, /* well-formed as far as read, but not accepted: a bad_request (PROTOCOL §8, grade 2) */
    CHECK_BROKEN,  /* a length or count goes past the end: nothing can be trusted any more (grade 3) */
};

#define CHECK_MAX_DEPTH 128u
#define CHECK_MAX_TERMS 1048576u
#define CHECK_MAX_BIG   4096u

/* One message's budget; carried from term to term of it. An empty tuple, map or array is a level too
 * (msgpack-c counts so); ETF's empty list is none. */
struct check {
    uint32_t depth;      /* levels already open around the next term */
    uint32_t max_depth;  /* CHECK_MAX_DEPTH, or what msgpack-c can do */
    uint32_t terms_left; /* each element, key, value and byte of an ETF string costs one */
    const char *reason;  /* why not, once the verdict is not CHECK_OK: a static text for people */
};

#endif
