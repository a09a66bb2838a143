/* term_keys: an order of all terms, by which a map is found to have a key twice (PROTOCOL §9). Thread: any
 * (pure). */
#ifndef TERM_KEYS_H
#define TERM_KEYS_H

#include "arena.h"
#include "term.h"

/* Less than, equal to or greater than 0. Any order, but a total one; 0 means the same value. Maps inside must
 * be sorted. */
int term_compare(const struct stv_term *a, const struct stv_term *b);

/* For a codec that has decoded a map: false if a key is in it twice. Linear if the keys come in order, never
 * quadratic in large maps, for which an index is sorted in `scratch`; no memory for it counts as a duplicate.
 *
 * A map that is (part of) a key itself is put in order; others stay as they came. Without that, comparing
 * keys that are maps of maps of maps would take exponential time. */
bool term_keys_differ(struct stv_term *map, bool inside_key, struct arena *scratch);

#endif
