/* term: the read-only tree that both codecs decode into and that ops read through stevedore.h.
 *
 * The tree lives in an arena; names, binaries and digits are borrowed from the frame, so the frame outlives the tree.
 * term.c implements the term functions of stevedore.h (stv_type … stv_get). Thread: any (pure). */
#ifndef TERM_H
#define TERM_H

#include "bytes.h"
#include "stevedore.h"

struct stv_term {
    uint8_t type;   /* enum stv_type */
    uint8_t bits;   /* STV_BITSTRING: used bits of the last byte, 1..8 */
    bool is_text;   /* STV_BINARY: was a MessagePack str, so it goes back as one */
    bool negative;  /* STV_BIG */
    uint32_t count; /* STV_LIST, STV_TUPLE: elements; STV_MAP: pairs */
    union {
        int64_t integer;
        double number;
        struct slice bytes;          /* atom (UTF-8 name), binary, bitstring, big (little-endian magnitude) */
        struct {
            struct stv_term *items;  /* count elements; a map's are key, value, key, value … */
            struct stv_term *tail;   /* STV_LIST: NULL if proper */
        };
    };
};

/* The same value: 1 and 1.0 differ, text and bytes do not; maps are equal whatever their order. */
bool term_equal(const struct stv_term *a, const struct stv_term *b);

/* True if two keys of the map are equal. `false` on running out of memory for the check is not possible: it needs none for
 * small maps and sorts an index in `scratch` for large ones; NULL from there counts as a duplicate. */
struct arena;
bool term_has_duplicate_key(const struct stv_term *map, struct arena *scratch);

/* Whether the bytes are valid UTF-8; *characters (may be NULL) gets how many. */
bool utf8_is_valid(struct slice text, size_t *characters);

#endif
