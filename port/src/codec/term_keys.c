/* See term_keys.h. */
#include "term_keys.h"

#include <stdlib.h>

#define FEW 8u /* up to so many pairs, comparing each with each is quicker than sorting */

static int compare_numbers(uint64_t a, uint64_t b) {
    return (a > b) - (a < b);
}

static int compare_bytes(struct slice a, struct slice b) {
    size_t common = a.length < b.length ? a.length : b.length;
    int order = common > 0 ? memcmp(a.bytes, b.bytes, common) : 0;

    return order != 0 ? order : compare_numbers(a.length, b.length);
}

/* 0.0 and -0.0 differ, as on the BEAM. */
static int compare_floats(double a, double b) {
    uint64_t a_bits, b_bits;

    memcpy(&a_bits, &a, sizeof(a_bits));
    memcpy(&b_bits, &b, sizeof(b_bits));
    return compare_numbers(a_bits, b_bits);
}

/* The unused bits of the last byte mean nothing. */
static int compare_bitstrings(const struct stv_term *a, const struct stv_term *b) {
    struct slice a_whole = {a->bytes.bytes, a->bytes.length - 1};
    struct slice b_whole = {b->bytes.bytes, b->bytes.length - 1};
    int order = a->bits != b->bits ? compare_numbers(a->bits, b->bits) : compare_bytes(a_whole, b_whole);

    if (order == 0) {
        unsigned unused = 8u - a->bits;
        order = compare_numbers(a->bytes.bytes[a_whole.length] >> unused,
                                b->bytes.bytes[b_whole.length] >> unused);
    }
    return order;
}

static int compare_items(const struct stv_term *a, const struct stv_term *b, size_t count) {
    int order = 0;

    for (size_t i = 0; i < count && order == 0; i++) {
        order = term_compare(&a->items[i], &b->items[i]);
    }
    return order;
}

static int compare_tails(const struct stv_term *a, const struct stv_term *b) {
    if (a->tail == NULL || b->tail == NULL) {
        return compare_numbers(a->tail != NULL, b->tail != NULL);
    }
    return term_compare(a->tail, b->tail);
}

static int compare_containers(const struct stv_term *a, const struct stv_term *b) {
    size_t items = a->type == STV_MAP ? 2 * (size_t)a->count : a->count;
    int order = compare_numbers(a->count, b->count);

    if (order == 0) {
        order = compare_items(a, b, items);
    }
    return order == 0 && a->type == STV_LIST ? compare_tails(a, b) : order;
}

int term_compare(const struct stv_term *a, const struct stv_term *b) {
    if (a->type != b->type) {
        return compare_numbers(a->type, b->type);
    }
    switch ((enum stv_type)a->type) {
    case STV_INTEGER:
        return (a->integer > b->integer) - (a->integer < b->integer);
    case STV_FLOAT:
        return compare_floats(a->number, b->number);
    case STV_BIG:
        return a->negative != b->negative ? compare_numbers(a->negative, b->negative)
                                          : compare_bytes(a->bytes, b->bytes);
    case STV_BITSTRING:
        return compare_bitstrings(a, b);
    case STV_ATOM:
    case STV_BINARY:
        return compare_bytes(a->bytes, b->bytes);
    case STV_LIST:
    case STV_TUPLE:
    case STV_MAP:
        return compare_containers(a, b);
    }
    return 0;
}

static bool is_in_order(const struct stv_term *map) {
    for (size_t i = 1; i < map->count; i++) {
        if (term_compare(&map->items[2 * (i - 1)], &map->items[2 * i]) >= 0) {
            return false;
        }
    }
    return true;
}

static bool all_pairs_differ(const struct stv_term *map) {
    for (size_t i = 1; i < map->count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (term_compare(&map->items[2 * i], &map->items[2 * j]) == 0) {
                return false;
            }
        }
    }
    return true;
}

static int compare_pointed_at(const void *a, const void *b) {
    return term_compare(*(const struct stv_term *const *)a, *(const struct stv_term *const *)b);
}

static bool index_differs(const struct stv_term *map, struct arena *scratch) {
    const struct stv_term **keys = arena_alloc(scratch, map->count * sizeof(const struct stv_term *));

    if (keys == NULL) {
        return false;
    }
    for (size_t i = 0; i < map->count; i++) {
        keys[i] = &map->items[2 * i];
    }
    qsort(keys, map->count, sizeof(const struct stv_term *), compare_pointed_at);
    for (size_t i = 1; i < map->count; i++) {
        if (term_compare(keys[i - 1], keys[i]) == 0) {
            return false;
        }
    }
    return true;
}

static int compare_pairs(const void *a, const void *b) {
    return term_compare(a, b); /* a pair begins with its key */
}

bool term_keys_differ(struct stv_term *map, bool inside_key, struct arena *scratch) {
    if (is_in_order(map)) {
        return true;
    }
    if (inside_key) {
        qsort(map->items, map->count, 2 * sizeof(*map->items), compare_pairs);
        return is_in_order(map);
    }
    return map->count <= FEW ? all_pairs_differ(map) : index_differs(map, scratch);
}
