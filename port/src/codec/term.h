/* term: the read-only tree that both codecs decode into and that ops read through stevedore.h.
 *
 * The tree lives in an arena; names, binaries and digits are borrowed from the frame, so the frame outlives
 * the tree. term.c implements the term functions of stevedore.h (stv_type … stv_get). Thread: any (pure). */
#ifndef TERM_H
#define TERM_H

#include "bytes.h"
#include "stevedore.h"
#include "utf8.h"

struct stv_term {
    uint8_t type;   /* enum stv_type */
    uint8_t bits;   /* STV_BITSTRING: used bits of the last byte, 1..7 */
    bool is_text;   /* STV_BINARY: was a MessagePack str, so it goes back as one */
    bool negative;  /* STV_BIG */
    uint32_t count; /* STV_LIST, STV_TUPLE: elements; STV_MAP: pairs */
    union {
        int64_t integer;
        double number;
        struct slice
            bytes; /* atom (UTF-8 name), binary, bitstring, big (little-endian magnitude, no leading zeros) */
        struct {
            struct stv_term *items; /* count elements; a map's are key, value, key, value … */
            struct stv_term *tail;  /* STV_LIST: NULL if proper; else not itself a list */
        };
    };
};

/* The same value: 1 and 1.0 differ, text and bytes do not; maps are equal whatever their order. Quadratic in
 * the size of maps whose order differs. */
bool term_equal(const struct stv_term *a, const struct stv_term *b);

#endif
