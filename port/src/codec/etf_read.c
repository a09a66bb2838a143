/* See etf_read.h. Recursion is as deep as the term, which the check bounds.
 *
 * ei believes every length it reads and keeps offsets in an int. So it decodes only what etf_check went over,
 * and each call is given the place of its term and an index from 0. Not used: ei_skip_term (unbounded
 * recursion), ei_decode_big (16-bit digits, copied). */
#include "etf_read.h"

#include "arena.h"
#include "codec.h"
#include "etf_tags.h"
#include "term_keys.h"

#include <ei.h>

struct reader {
    const uint8_t *at; /* the next term */
    struct arena *arena;
    const char *reason; /* why it failed */
};

static bool read_term(struct reader *reader, struct stv_term *term, bool inside_key);

static bool fail(struct reader *reader, const char *reason) {
    reader->reason = reason;
    return false;
}

/* Goes past `size` bytes and borrows the last `length` of them. */
static struct slice take(struct reader *reader, size_t size, size_t length) {
    reader->at += size;
    return (struct slice){reader->at - length, length};
}

static struct stv_term *new_terms(struct reader *reader, size_t count) {
    struct stv_term *terms = arena_alloc(reader->arena, count * sizeof(*terms));

    if (terms == NULL) {
        fail(reader, codec_out_of_memory);
    }
    return terms;
}

static struct stv_term integer_term(int64_t value) {
    return (struct stv_term){.type = STV_INTEGER, .integer = value};
}

/* A length of 1 or 4 bytes and a sign precede the digits. What ei cannot fit into 64 bits keeps its digits.
 */
static bool read_integer(struct reader *reader, struct stv_term *term) {
    const char *at = (const char *)reader->at;
    bool is_large = reader->at[0] == ETF_LARGE_BIG;
    long long value;
    int index = 0;
    size_t header, length;

    if (ei_decode_longlong(at, &index, &value) == 0) {
        reader->at += index;
        *term = integer_term(value);
        return true;
    }
    header = is_large ? 6 : 3;
    length = is_large ? read_be32(reader->at + 1) : reader->at[1];
    *term = (struct stv_term){.type = STV_BIG, .negative = reader->at[header - 1] == 1};
    term->bytes = take(reader, header + length, length);
    while (term->bytes.bytes[term->bytes.length - 1] == 0) {
        term->bytes.length--;
    }
    return true;
}

static bool read_float(struct reader *reader, struct stv_term *term) {
    int index = 0;

    *term = (struct stv_term){.type = STV_FLOAT};
    ei_decode_double((const char *)reader->at, &index, &term->number);
    reader->at += index;
    return true;
}

static bool read_utf8_atom(struct reader *reader, struct stv_term *term, size_t header, size_t length) {
    *term = (struct stv_term){.type = STV_ATOM};
    term->bytes = take(reader, header + length, length);
    return true;
}

static bool is_ascii(struct slice text) {
    size_t characters;
    return utf8_is_valid(text, &characters) && characters == text.length;
}

/* Not strlen of what ei converted: NUL is a character like any other. */
static size_t length_in_utf8(struct slice latin1) {
    size_t length = latin1.length;

    for (size_t i = 0; i < latin1.length; i++) {
        length += latin1.bytes[i] >> 7;
    }
    return length;
}

/* Every Latin-1 character takes at most two bytes in UTF-8. */
static bool read_latin1_atom(struct reader *reader, struct stv_term *term, size_t header, size_t length) {
    struct slice name = {reader->at + header, length};
    size_t room = 2 * length + 1;
    int index = 0;
    char *converted;

    *term = (struct stv_term){.type = STV_ATOM, .bytes = name};
    if (is_ascii(name)) {
        reader->at += header + length;
        return true;
    }
    converted = arena_alloc(reader->arena, room);
    if (converted == NULL) {
        return fail(reader, codec_out_of_memory);
    }
    ei_decode_atom_as((const char *)reader->at, &index, converted, (int)room, ERLANG_UTF8, NULL, NULL);
    reader->at += header + length;
    term->bytes = (struct slice){(uint8_t *)converted, length_in_utf8(name)};
    return true;
}

static bool read_binary(struct reader *reader, struct stv_term *term) {
    size_t length = read_be32(reader->at + 1);

    *term = (struct stv_term){.type = STV_BINARY};
    term->bytes = take(reader, 5 + length, length);
    return true;
}

/* With all 8 bits of the last byte it is a binary. */
static bool read_bitstring(struct reader *reader, struct stv_term *term) {
    size_t length = read_be32(reader->at + 1);
    uint8_t bits = reader->at[5];

    *term = (struct stv_term){.type = bits == 8 ? STV_BINARY : STV_BITSTRING};
    term->bits = bits == 8 ? 0 : bits;
    term->bytes = take(reader, 6 + length, length);
    return true;
}

static bool read_string(struct reader *reader, struct stv_term *term) {
    uint32_t length = read_be16(reader->at + 1);
    struct slice bytes = take(reader, 3 + length, length);

    *term = (struct stv_term){.type = STV_LIST, .count = length};
    term->items = new_terms(reader, length);
    if (term->items == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < length; i++) {
        term->items[i] = integer_term(bytes.bytes[i]);
    }
    return true;
}

static bool read_items(struct reader *reader, struct stv_term *term, size_t count, bool inside_key) {
    term->items = new_terms(reader, count);
    if (term->items == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!read_term(reader, &term->items[i], inside_key)) {
            return false;
        }
    }
    return true;
}

static bool read_tuple(struct reader *reader, struct stv_term *term, bool inside_key) {
    int arity;
    int index = 0;

    ei_decode_tuple_header((const char *)reader->at, &index, &arity);
    reader->at += index;
    *term = (struct stv_term){.type = STV_TUPLE, .count = (uint32_t)arity};
    return read_items(reader, term, term->count, inside_key);
}

static bool read_map(struct reader *reader, struct stv_term *term, bool inside_key) {
    int pairs;
    int index = 0;

    ei_decode_map_header((const char *)reader->at, &index, &pairs);
    reader->at += index;
    *term = (struct stv_term){.type = STV_MAP, .count = (uint32_t)pairs};
    term->items = new_terms(reader, 2 * (size_t)pairs);
    if (term->items == NULL) {
        return false;
    }
    for (size_t i = 0; i < 2 * (size_t)pairs; i++) {
        bool is_key = i % 2 == 0;
        if (!read_term(reader, &term->items[i], inside_key || is_key)) {
            return false;
        }
    }
    return term_keys_differ(term, inside_key, reader->arena) ||
           fail(reader, "a map has a key twice (PROTOCOL §9.1)");
}

/* One segment of a list: up to its tail, which is read by the caller. */
static bool read_segment(struct reader *reader, struct stv_term *term, bool inside_key) {
    int arity;
    int index = 0;

    ei_decode_list_header((const char *)reader->at, &index, &arity);
    reader->at += index;
    *term = (struct stv_term){.type = STV_LIST, .count = (uint32_t)arity};
    return read_items(reader, term, term->count, inside_key);
}

/* A list whose tail is a list, and so on, is one list. */
static bool join_segments(struct reader *reader, struct stv_term *list) {
    size_t count = list->count;
    size_t filled = 0;
    struct stv_term *items;
    const struct stv_term *segment;

    for (segment = list->tail; segment != NULL && segment->type == STV_LIST; segment = segment->tail) {
        count += segment->count;
    }
    items = new_terms(reader, count);
    if (items == NULL) {
        return false;
    }
    for (segment = list; segment != NULL && segment->type == STV_LIST; segment = segment->tail) {
        memcpy(items + filled, segment->items, segment->count * sizeof(*items));
        filled += segment->count;
    }
    list->items = items;
    list->count = (uint32_t)count;
    list->tail = (struct stv_term *)segment;
    return true;
}

/* A list header without elements means what follows it (see etf_check.c). */
static void skip_hollow_lists(struct reader *reader) {
    while (reader->at[0] == ETF_LIST && read_be32(reader->at + 1) == 0) {
        reader->at += 5;
    }
}

static bool read_list(struct reader *reader, struct stv_term *list, bool inside_key) {
    struct stv_term *segment = list;

    while (true) {
        if (!read_segment(reader, segment, inside_key)) {
            return false;
        }
        skip_hollow_lists(reader);
        if (reader->at[0] == ETF_NIL) {
            reader->at++;
            break;
        }
        segment->tail = new_terms(reader, 1);
        if (segment->tail == NULL) {
            return false;
        }
        segment = segment->tail;
        if (reader->at[0] != ETF_LIST) {
            if (!read_term(reader, segment, inside_key)) {
                return false;
            }
            break;
        }
    }
    return list->tail == NULL || list->tail->type != STV_LIST || join_segments(reader, list);
}

static bool read_nil(struct reader *reader, struct stv_term *term) {
    reader->at++;
    *term = (struct stv_term){.type = STV_LIST};
    return true;
}

static bool read_scalar(struct reader *reader, struct stv_term *term) {
    const uint8_t *at = reader->at;

    switch (at[0]) {
    case ETF_FLOAT:
        return read_float(reader, term);
    case ETF_SMALL_UTF8_ATOM:
        return read_utf8_atom(reader, term, 2, at[1]);
    case ETF_UTF8_ATOM:
        return read_utf8_atom(reader, term, 3, read_be16(at + 1));
    case ETF_SMALL_LATIN1_ATOM:
        return read_latin1_atom(reader, term, 2, at[1]);
    case ETF_LATIN1_ATOM:
        return read_latin1_atom(reader, term, 3, read_be16(at + 1));
    case ETF_BINARY:
        return read_binary(reader, term);
    case ETF_BITSTRING:
        return read_bitstring(reader, term);
    default:
        return read_integer(reader, term); /* 97, 98, 110, 111: nothing else is accepted */
    }
}

static bool read_term(struct reader *reader, struct stv_term *term, bool inside_key) {
    skip_hollow_lists(reader);
    switch (reader->at[0]) {
    case ETF_NIL:
        return read_nil(reader, term);
    case ETF_STRING:
        return read_string(reader, term);
    case ETF_LIST:
        return read_list(reader, term, inside_key);
    case ETF_SMALL_TUPLE:
    case ETF_LARGE_TUPLE:
        return read_tuple(reader, term, inside_key);
    case ETF_MAP:
        return read_map(reader, term, inside_key);
    default:
        return read_scalar(reader, term);
    }
}

const struct stv_term *etf_read(struct arena *arena, struct slice checked, const char **reason) {
    struct reader reader = {.at = checked.bytes, .arena = arena, .reason = codec_out_of_memory};
    struct stv_term *term = arena_alloc(arena, sizeof(*term));

    if (term == NULL || !read_term(&reader, term, false)) {
        *reason = reader.reason;
        return NULL;
    }
    return term;
}
