/* From JSON to terms. Errors point into the text: yyjson parses in place, so a string of the document is
 * where it stood in the text, and the key of a `$` form is a good place to point at. Recursion ends at the
 * depth that a message may have, whatever the text does. Thread: any (pure). */
#include "cli_json.h"

#include <stdarg.h>

#include "base64.h"
#include "check.h"

struct reader {
    struct arena *arena;
    struct cli_json_error *error;
    unsigned depth;
};

static bool read_value(struct reader *reader, yyjson_val *value, struct stv_term *term);

static bool __attribute__((format(printf, 3, 4)))
refuse(struct reader *reader, yyjson_val *at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reader->error->message, sizeof reader->error->message, format, arguments);
    va_end(arguments);
    bool has_text = yyjson_is_str(at) || yyjson_is_raw(at);
    reader->error->at = has_text ? unsafe_yyjson_get_str(at) : NULL;
    return false;
}

static void *allocate(struct reader *reader, size_t size) {
    void *memory = arena_alloc(reader->arena, size == 0 ? 1 : size);
    if (memory == NULL) {
        refuse(reader, NULL, "out of memory");
    }
    return memory;
}

static struct slice text_of(yyjson_val *string) {
    return (struct slice){(const uint8_t *)yyjson_get_str(string), yyjson_get_len(string)};
}

/* --- Scalars --- */

static bool make_atom(struct stv_term *term, const char *name) {
    *term = (struct stv_term){.type = STV_ATOM, .bytes = {(const uint8_t *)name, strlen(name)}};
    return true;
}

/* An integer of this magnitude: little-endian, without zeros at its end. It is STV_BIG only if it must be. */
static bool make_integer(struct stv_term *term, bool negative, struct slice magnitude) {
    *term = (struct stv_term){.type = STV_BIG, .negative = negative, .bytes = magnitude};
    if (magnitude.length > sizeof(uint64_t)) {
        return true;
    }
    uint64_t value = 0;
    for (size_t i = magnitude.length; i > 0; i--) {
        value = value << 8 | magnitude.bytes[i - 1];
    }
    if (value <= (uint64_t)INT64_MAX + negative) {
        int64_t integer = negative ? (int64_t)(0 - value) : (int64_t)value;
        *term = (struct stv_term){.type = STV_INTEGER, .integer = integer};
    }
    return true;
}

static bool read_uint(struct reader *reader, uint64_t value, struct stv_term *term) {
    uint8_t *magnitude = allocate(reader, sizeof value);
    if (magnitude == NULL) {
        return false;
    }
    for (size_t i = 0; i < sizeof value; i++) {
        magnitude[i] = (uint8_t)(value >> 8 * i);
    }
    return make_integer(term, false, (struct slice){magnitude, sizeof value});
}

static bool read_number(struct reader *reader, yyjson_val *value, struct stv_term *term) {
    if (yyjson_is_real(value)) {
        *term = (struct stv_term){.type = STV_FLOAT, .number = yyjson_get_real(value)};
        return true;
    }
    if (yyjson_is_uint(value)) {
        return read_uint(reader, yyjson_get_uint(value), term);
    }
    *term = (struct stv_term){.type = STV_INTEGER, .integer = yyjson_get_sint(value)};
    return true;
}

/* --- Containers --- */

/* Opens a level for `count` terms; an empty container is none (PROTOCOL §10 counts as check.h does). */
static bool enter(struct reader *reader, size_t count) {
    if (count == 0) {
        return true;
    }
    if (reader->depth >= CHECK_MAX_DEPTH) {
        return refuse(reader, NULL, "nested deeper than %u levels (PROTOCOL §10)", CHECK_MAX_DEPTH);
    }
    reader->depth++;
    return true;
}

static void leave(struct reader *reader, size_t count) {
    reader->depth -= count > 0;
}

/* The elements of an array, as a list or tuple. */
static bool read_items(struct reader *reader, yyjson_val *array, enum stv_type type, struct stv_term *term) {
    size_t count = yyjson_arr_size(array);
    struct stv_term *items = allocate(reader, count * sizeof *items);
    if (items == NULL || !enter(reader, count)) {
        return false;
    }
    size_t index, size;
    yyjson_val *item;
    yyjson_arr_foreach(array, index, size, item) {
        if (!read_value(reader, item, &items[index])) {
            return false;
        }
    }
    leave(reader, count);
    *term = (struct stv_term){.type = (uint8_t)type, .count = (uint32_t)count, .items = items};
    return true;
}

static bool read_pairs(struct reader *reader, yyjson_val *object, struct stv_term *term) {
    size_t count = yyjson_obj_size(object);
    struct stv_term *items = allocate(reader, 2 * count * sizeof *items);
    if (items == NULL || !enter(reader, count)) {
        return false;
    }
    size_t index, size;
    yyjson_val *key, *value;
    yyjson_obj_foreach(object, index, size, key, value) {
        if (!read_value(reader, key, &items[2 * index]) ||
            !read_value(reader, value, &items[2 * index + 1])) {
            return false;
        }
    }
    leave(reader, count);
    *term = (struct stv_term){.type = STV_MAP, .count = (uint32_t)count, .items = items};
    return true;
}

/* --- Forms: objects with one key that starts with `$` --- */

static bool read_atom(struct reader *reader, yyjson_val *key, yyjson_val *value, struct stv_term *term) {
    size_t characters;
    if (!yyjson_is_str(value) || !utf8_is_valid(text_of(value), &characters) || characters > 255) {
        return refuse(reader, key, "$atom takes a text of at most 255 characters");
    }
    *term = (struct stv_term){.type = STV_ATOM, .bytes = text_of(value)};
    return true;
}

static bool decode_base64(struct reader *reader, yyjson_val *key, yyjson_val *text, struct slice *bytes) {
    size_t length = yyjson_get_len(text);
    uint8_t *to = allocate(reader, base64_decoded_room(length));
    if (to == NULL) {
        return false;
    }
    if (!yyjson_is_str(text) || !base64_decode(yyjson_get_str(text), length, to, &bytes->length)) {
        return refuse(reader, key, "%s takes base64 with padding", yyjson_get_str(key));
    }
    bytes->bytes = to;
    return true;
}

static bool read_base64(struct reader *reader, yyjson_val *key, yyjson_val *value, struct stv_term *term) {
    *term = (struct stv_term){.type = STV_BINARY};
    return decode_base64(reader, key, value, &term->bytes);
}

static bool read_bits(struct reader *reader, yyjson_val *key, yyjson_val *value, struct stv_term *term) {
    uint64_t bits = yyjson_get_uint(yyjson_arr_get(value, 0));
    if (yyjson_arr_size(value) != 2 || bits == 0) {
        return refuse(reader, key, "$bits takes [number of bits, base64]");
    }
    /* Whole bytes are a binary. */
    *term = (struct stv_term){.type = bits % 8 == 0 ? STV_BINARY : STV_BITSTRING, .bits = bits % 8};
    if (!decode_base64(reader, key, yyjson_arr_get(value, 1), &term->bytes)) {
        return false;
    }
    if (term->bytes.length != (bits - 1) / 8 + 1) {
        return refuse(reader, key, "$bits says %llu bits and has %zu bytes", (unsigned long long)bits,
                      term->bytes.length);
    }
    return true;
}

static uint8_t digit_value(char digit) {
    return (uint8_t)(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
}

static bool read_big(struct reader *reader, yyjson_val *key, yyjson_val *value, struct stv_term *term) {
    const char *text = yyjson_is_str(value) ? yyjson_get_str(value) : "";
    bool negative = *text == '-';
    const char *digits = strncmp(text + negative, "0x", 2) == 0 ? text + negative + 2 : "";
    size_t count = strspn(digits, "0123456789abcdefABCDEF");
    if (count == 0 || digits + count != text + yyjson_get_len(value) || count > (size_t)2 * CHECK_MAX_BIG) {
        return refuse(reader, key,
                      "$big takes an integer of at most %u bytes in hexadecimal, such as \"-0x1f\"",
                      CHECK_MAX_BIG);
    }
    uint8_t *magnitude = allocate(reader, (count + 1) / 2);
    if (magnitude == NULL) {
        return false;
    }
    memset(magnitude, 0, (count + 1) / 2);
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        magnitude[i / 2] |= (uint8_t)(digit_value(digits[count - 1 - i]) << 4 * (i % 2));
        length = magnitude[i / 2] != 0 ? i / 2 + 1 : length;
    }
    return make_integer(term, negative, (struct slice){magnitude, length});
}

static bool read_tuple(struct reader *reader, yyjson_val *key, yyjson_val *value, struct stv_term *term) {
    if (!yyjson_is_arr(value)) {
        return refuse(reader, key, "$tuple takes an array");
    }
    return read_items(reader, value, STV_TUPLE, term);
}

static bool read_improper(struct reader *reader, yyjson_val *key, yyjson_val *value, struct stv_term *term) {
    if (yyjson_arr_size(value) < 2) {
        return refuse(reader, key, "$improper takes an array of elements and then the tail");
    }
    if (!read_items(reader, value, STV_LIST, term)) {
        return false;
    }
    term->count--;
    term->tail = &term->items[term->count];
    if (term->tail->type == STV_LIST) {
        return refuse(reader, key, "the tail of an $improper list cannot be a list");
    }
    return true;
}

static bool is_pair(yyjson_val *value) {
    return yyjson_is_arr(value) && yyjson_arr_size(value) == 2;
}

static bool read_map(struct reader *reader, yyjson_val *key, yyjson_val *value, struct stv_term *term) {
    if (!yyjson_is_arr(value)) {
        return refuse(reader, key, "$map takes an array of [key, value] pairs");
    }
    size_t count = yyjson_arr_size(value);
    struct stv_term *items = allocate(reader, 2 * count * sizeof *items);
    if (items == NULL || !enter(reader, count)) {
        return false;
    }
    size_t index, size;
    yyjson_val *pair;
    yyjson_arr_foreach(value, index, size, pair) {
        if (!is_pair(pair)) {
            return refuse(reader, key, "$map takes pairs, and element %zu is none", index + 1);
        }
        if (!read_value(reader, yyjson_arr_get_first(pair), &items[2 * index]) ||
            !read_value(reader, yyjson_arr_get_last(pair), &items[2 * index + 1])) {
            return false;
        }
    }
    leave(reader, count);
    *term = (struct stv_term){.type = STV_MAP, .count = (uint32_t)count, .items = items};
    return true;
}

static bool read_form(struct reader *reader, yyjson_val *key, yyjson_val *value, struct stv_term *term) {
    static const struct {
        const char *name;
        bool (*read)(struct reader *reader, yyjson_val *key, yyjson_val *value, struct stv_term *term);
    } forms[] = {
        {"$atom", read_atom},         {"$base64", read_base64}, {"$big", read_big},     {"$bits", read_bits},
        {"$improper", read_improper}, {"$map", read_map},       {"$tuple", read_tuple},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (yyjson_equals_str(key, forms[i].name)) {
            return forms[i].read(reader, key, value, term);
        }
    }
    return refuse(reader, key,
                  "unknown form \"%.40s\"; {\"$map\": [[key, value]]} makes a map with such a key",
                  yyjson_get_str(key));
}

static bool read_object(struct reader *reader, yyjson_val *object, struct stv_term *term) {
    yyjson_obj_iter iterator = yyjson_obj_iter_with(object);
    yyjson_val *key = yyjson_obj_size(object) == 1 ? yyjson_obj_iter_next(&iterator) : NULL;
    if (key != NULL && yyjson_get_str(key)[0] == '$') {
        return read_form(reader, key, yyjson_obj_iter_get_val(key), term);
    }
    return read_pairs(reader, object, term);
}

static bool read_value(struct reader *reader, yyjson_val *value, struct stv_term *term) {
    switch (yyjson_get_type(value)) {
    case YYJSON_TYPE_NULL:
        return make_atom(term, "nil");
    case YYJSON_TYPE_BOOL:
        return make_atom(term, yyjson_get_bool(value) ? "true" : "false");
    case YYJSON_TYPE_NUM:
        return read_number(reader, value, term);
    case YYJSON_TYPE_STR:
        *term = (struct stv_term){.type = STV_BINARY, .is_text = true, .bytes = text_of(value)};
        return true;
    case YYJSON_TYPE_ARR:
        return read_items(reader, value, STV_LIST, term);
    case YYJSON_TYPE_OBJ:
        return read_object(reader, value, term);
    default: /* raw: what YYJSON_READ_BIGNUM_AS_RAW leaves alone */
        return refuse(reader, value, "%.40s is beyond 64 bits; write integers as {\"$big\": \"0x…\"}",
                      yyjson_get_raw(value));
    }
}

const struct stv_term *cli_json_to_term(struct arena *arena, yyjson_val *value, unsigned depth,
                                        struct cli_json_error *error) {
    struct reader reader = {.arena = arena, .error = error, .depth = depth};
    struct stv_term *term = allocate(&reader, sizeof *term);
    return term != NULL && read_value(&reader, value, term) ? term : NULL;
}

yyjson_doc *cli_json_parse(char *text, size_t length, struct cli_json_error *error) {
    memset(text + length, 0, CLI_JSON_PADDING);
    yyjson_read_err problem;
    yyjson_doc *document =
        yyjson_read_opts(text, length, YYJSON_READ_INSITU | YYJSON_READ_BIGNUM_AS_RAW, NULL, &problem);
    if (document == NULL) {
        (void)snprintf(error->message, sizeof error->message, "not JSON: %s", problem.msg);
        error->at = text + problem.pos;
    }
    return document;
}
