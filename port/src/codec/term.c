/* See term.h; the functions are described in stevedore.h. */
#include "term.h"
#include "term_keys.h"

static bool has_type(const struct stv_term *term, enum stv_type type) {
    return term != NULL && term->type == type;
}

enum stv_type stv_type(const struct stv_term *term) {
    return (enum stv_type)term->type;
}

bool stv_term_int(const struct stv_term *term, int64_t *value) {
    if (!has_type(term, STV_INTEGER)) {
        return false;
    }
    *value = term->integer;
    return true;
}

bool stv_term_double(const struct stv_term *term, double *value) {
    if (has_type(term, STV_INTEGER)) {
        *value = (double)term->integer;
        return true;
    }
    if (!has_type(term, STV_FLOAT)) {
        return false;
    }
    *value = term->number;
    return true;
}

bool stv_term_bool(const struct stv_term *term, bool *value) {
    if (!has_type(term, STV_ATOM) || !(stv_term_is(term, "true") || stv_term_is(term, "false"))) {
        return false;
    }
    *value = term->bytes.length == strlen("true");
    return true;
}

static struct stv_bytes bytes_of(const struct stv_term *term) {
    return (struct stv_bytes){term->bytes.bytes, term->bytes.length};
}

bool stv_term_bytes(const struct stv_term *term, struct stv_bytes *value) {
    if (!has_type(term, STV_BINARY) && !has_type(term, STV_BITSTRING) && !has_type(term, STV_ATOM)) {
        return false;
    }
    *value = bytes_of(term);
    return true;
}

bool stv_term_big(const struct stv_term *term, bool *negative, struct stv_bytes *little_endian) {
    if (!has_type(term, STV_BIG)) {
        return false;
    }
    *negative = term->negative;
    *little_endian = bytes_of(term);
    return true;
}

unsigned stv_term_bits(const struct stv_term *term) {
    return has_type(term, STV_BITSTRING) ? term->bits : 0;
}

bool stv_term_is(const struct stv_term *term, const char *name) {
    size_t length = strlen(name);

    return (has_type(term, STV_ATOM) || has_type(term, STV_BINARY)) && term->bytes.length == length &&
           (length == 0 || memcmp(term->bytes.bytes, name, length) == 0);
}

size_t stv_count(const struct stv_term *term) {
    bool counts = has_type(term, STV_LIST) || has_type(term, STV_TUPLE) || has_type(term, STV_MAP);

    return counts ? term->count : 0;
}

const struct stv_term *stv_item(const struct stv_term *term, size_t index) {
    bool has_items = has_type(term, STV_LIST) || has_type(term, STV_TUPLE);

    return has_items && index < term->count ? &term->items[index] : NULL;
}

const struct stv_term *stv_tail(const struct stv_term *term) {
    return has_type(term, STV_LIST) ? term->tail : NULL;
}

const struct stv_term *stv_key(const struct stv_term *map, size_t index) {
    return has_type(map, STV_MAP) && index < map->count ? &map->items[2 * index] : NULL;
}

const struct stv_term *stv_value(const struct stv_term *map, size_t index) {
    return has_type(map, STV_MAP) && index < map->count ? &map->items[2 * index + 1] : NULL;
}

const struct stv_term *stv_get(const struct stv_term *map, const char *name) {
    for (size_t i = 0; i < stv_count(map); i++) {
        if (stv_term_is(stv_key(map, i), name)) {
            return stv_value(map, i);
        }
    }
    return NULL;
}

static bool items_equal(const struct stv_term *a, const struct stv_term *b) {
    for (size_t i = 0; i < a->count; i++) {
        if (!term_equal(&a->items[i], &b->items[i])) {
            return false;
        }
    }
    return true;
}

/* The value at a key; looked for first where it is if both maps have the same order. */
static const struct stv_term *value_at(const struct stv_term *map, const struct stv_term *key,
                                       size_t likely) {
    for (size_t i = 0; i < map->count; i++) {
        size_t place = (likely + i) % map->count;
        if (term_compare(stv_key(map, place), key) == 0) {
            return stv_value(map, place);
        }
    }
    return NULL;
}

static bool maps_equal(const struct stv_term *a, const struct stv_term *b) {
    for (size_t i = 0; i < a->count; i++) {
        const struct stv_term *other = value_at(b, stv_key(a, i), i);
        if (other == NULL || !term_equal(stv_value(a, i), other)) {
            return false;
        }
    }
    return true;
}

bool term_equal(const struct stv_term *a, const struct stv_term *b) {
    if (a->type != b->type) {
        return false;
    }
    switch ((enum stv_type)a->type) {
    case STV_MAP:
        return a->count == b->count && maps_equal(a, b);
    case STV_TUPLE:
        return a->count == b->count && items_equal(a, b);
    case STV_LIST:
        return a->count == b->count && items_equal(a, b) && (a->tail == NULL) == (b->tail == NULL) &&
               (a->tail == NULL || term_equal(a->tail, b->tail));
    default:
        return term_compare(a, b) == 0;
    }
}
