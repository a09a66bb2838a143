/* check_walk: how both checkers go over the bytes.
 *
 * A term is looked at in two steps: first its header, whose size the tag tells; then what the header claims.
 * A claim is compared with the bytes that are left before anything else is done with it: as every term takes
 * at least one byte, no header can claim more than the message could hold. Containers are not recursed into:
 * their header only says how many more terms are to come. Thread: any (pure). */
#ifndef CHECK_WALK_H
#define CHECK_WALK_H

#include "check.h"
#include <stdbool.h>

struct walk {
    const uint8_t *at; /* the first byte of the term that is looked at */
    size_t left;       /* bytes from there to the end */
    size_t header;     /* how many of them have a fixed place in the term; known to be there */
    struct check *check;
    uint32_t pending; /* terms still to come in the innermost container, the one that is looked at included */
    uint32_t open;    /* containers */
    uint32_t outer[CHECK_MAX_DEPTH]; /* `pending` of those around the innermost */
};

static inline enum check_verdict walk_refuse(struct walk *walk, const char *reason) {
    walk->check->reason = reason;
    return CHECK_REFUSED;
}

static inline enum check_verdict walk_past_the_end(struct walk *walk) {
    walk->check->reason = "a length or count goes past the end of the message (PROTOCOL §8)";
    return CHECK_BROKEN;
}

/* Pays for so many terms. */
static inline enum check_verdict walk_spend(struct walk *walk, uint64_t terms) {
    if (terms > walk->check->terms_left) {
        return walk_refuse(walk, "too many terms: a message holds at most 1048576 (PROTOCOL §10, max_terms)");
    }
    walk->check->terms_left -= (uint32_t)terms;
    return CHECK_OK;
}

/* For the one term, all bytes of which are to come. */
static inline enum check_verdict walk_start(struct walk *walk, struct check *check, struct slice bytes) {
    walk->at = bytes.bytes;
    walk->left = bytes.length;
    walk->check = check;
    walk->pending = 1;
    walk->open = 0;
    return walk_spend(walk, 1);
}

/* Goes past the header and `length` bytes after it, if there are so many. */
static inline enum check_verdict walk_pass(struct walk *walk, size_t length) {
    if (length > walk->left - walk->header) {
        return walk_past_the_end(walk);
    }
    walk->at += walk->header + length;
    walk->left -= walk->header + length;
    return CHECK_OK;
}

/* For a container in those that are open. */
static inline enum check_verdict walk_deepen(struct walk *walk) {
    if (walk->check->depth + walk->open >= walk->check->max_depth) {
        return walk_refuse(walk, "nested too deeply (PROTOCOL §10, max_depth)");
    }
    return CHECK_OK;
}

/* Goes past a container's header and into it. `unpaid` terms belong to it besides its elements. */
static inline enum check_verdict walk_enter(struct walk *walk, uint64_t elements, uint32_t unpaid) {
    enum check_verdict verdict;

    if (elements + unpaid > walk->left - walk->header) {
        return walk_past_the_end(walk);
    }
    verdict = walk_spend(walk, elements);
    if (verdict == CHECK_OK) {
        verdict = walk_deepen(walk);
    }
    if (verdict != CHECK_OK) {
        return verdict;
    }
    walk->outer[walk->open++] = walk->pending;
    walk->pending = (uint32_t)elements + unpaid + 1; /* and the header, which walk_leave takes off */
    return walk_pass(walk, 0);
}

/* Notes that a scalar or header is complete, and with it all the containers that it was the last term of.
 * True: that was all. */
static inline bool walk_leave(struct walk *walk) {
    while (--walk->pending == 0) {
        if (walk->open == 0) {
            return true;
        }
        walk->pending = walk->outer[--walk->open];
    }
    return false;
}

#endif
