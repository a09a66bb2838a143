/* From terms to JSON. Everything that a codec can read has a form; what JSON cannot tell apart (tuple and
 * list, atom and text) prints alike, because receipts and kinds are read by people. Thread: any (pure). */
#include "cli_json.h"

#include <stdlib.h>

#include "base64.h"

static yyjson_mut_val *from_text(yyjson_mut_doc *document, struct slice text) {
    const char *start = text.length == 0 ? "" : (const char *)text.bytes;
    return yyjson_mut_strn(document, start, text.length);
}

/* {"name": value}; NULL if value is NULL. */
static yyjson_mut_val *form(yyjson_mut_doc *document, const char *name, yyjson_mut_val *value) {
    yyjson_mut_val *object = yyjson_mut_obj(document);
    return yyjson_mut_obj_add(object, yyjson_mut_str(document, name), value) ? object : NULL;
}

static yyjson_mut_val *base64_text(yyjson_mut_doc *document, struct slice bytes) {
    size_t length = base64_encoded_length(bytes.length);
    char *text = bytes.length <= BASE64_MOST_BYTES ? malloc(length + 1) : NULL;
    if (text == NULL) {
        return NULL;
    }
    base64_encode(bytes, text);
    yyjson_mut_val *value = yyjson_mut_strncpy(document, text, length);
    free(text);
    return value;
}

static yyjson_mut_val *from_binary(yyjson_mut_doc *document, struct slice bytes) {
    if (utf8_is_valid(bytes, NULL)) {
        return from_text(document, bytes);
    }
    return form(document, "$base64", base64_text(document, bytes));
}

static yyjson_mut_val *from_bitstring(yyjson_mut_doc *document, const struct stv_term *term) {
    yyjson_mut_val *array = yyjson_mut_arr(document);
    yyjson_mut_arr_add_uint(document, array, (term->bytes.length - 1) * 8 + term->bits);
    yyjson_mut_arr_append(array, base64_text(document, term->bytes));
    return yyjson_mut_arr_size(array) == 2 ? form(document, "$bits", array) : NULL;
}

static yyjson_mut_val *from_atom(yyjson_mut_doc *document, const struct stv_term *term) {
    if (stv_term_is(term, "nil")) {
        return yyjson_mut_null(document);
    }
    if (stv_term_is(term, "true") || stv_term_is(term, "false")) {
        return yyjson_mut_bool(document, stv_term_is(term, "true"));
    }
    return from_text(document, term->bytes);
}

/* Sign, 0x, digits; a little-endian magnitude of any length. */
static yyjson_mut_val *from_big_hex(yyjson_mut_doc *document, const struct stv_term *term) {
    size_t length = term->bytes.length;
    char *text = malloc(length * 2 + 4);
    if (text == NULL) {
        return NULL;
    }
    char *next = text + sprintf(text, "%s0x", term->negative ? "-" : "");
    while (length > 0) {
        length--;
        bool is_first = length + 1 == term->bytes.length;
        next += sprintf(next, is_first ? "%x" : "%02x", term->bytes.bytes[length]);
    }
    yyjson_mut_val *value = yyjson_mut_strcpy(document, text);
    free(text);
    return form(document, "$big", value);
}

static yyjson_mut_val *from_big(yyjson_mut_doc *document, const struct stv_term *term) {
    if (term->negative || term->bytes.length > sizeof(uint64_t)) {
        return from_big_hex(document, term);
    }
    uint64_t value = 0;
    for (size_t i = term->bytes.length; i > 0; i--) {
        value = value << 8 | term->bytes.bytes[i - 1];
    }
    return yyjson_mut_uint(document, value);
}

/* The elements, and the tail if there is one. */
static yyjson_mut_val *from_items(yyjson_mut_doc *document, const struct stv_term *term) {
    yyjson_mut_val *array = yyjson_mut_arr(document);
    for (uint32_t i = 0; i < term->count; i++) {
        if (!yyjson_mut_arr_append(array, cli_json_from_term(document, &term->items[i]))) {
            return NULL;
        }
    }
    const struct stv_term *tail = stv_tail(term);
    if (tail == NULL) {
        return array;
    }
    bool added = yyjson_mut_arr_append(array, cli_json_from_term(document, tail));
    return added ? form(document, "$improper", array) : NULL;
}

/* Whether a key can be the key of a JSON object: text, or an atom that does not stand for null, true or
 * false. */
static bool key_is_text(const struct stv_term *key) {
    if (key->type == STV_ATOM) {
        return !stv_term_is(key, "nil") && !stv_term_is(key, "true") && !stv_term_is(key, "false");
    }
    return key->type == STV_BINARY && utf8_is_valid(key->bytes, NULL);
}

/* Keys all of one kind, so that no two of them look alike; and not what looks like a `$` form. */
static bool map_is_object(const struct stv_term *map) {
    for (uint32_t i = 0; i < map->count; i++) {
        const struct stv_term *key = stv_key(map, i), *first = stv_key(map, 0);
        if (!key_is_text(key) || key->type != first->type || key->is_text != first->is_text) {
            return false;
        }
    }
    bool may_be_form = map->count == 1 && stv_key(map, 0)->bytes.length > 0;
    return !may_be_form || stv_key(map, 0)->bytes.bytes[0] != '$';
}

static yyjson_mut_val *from_object(yyjson_mut_doc *document, const struct stv_term *map) {
    yyjson_mut_val *object = yyjson_mut_obj(document);
    for (uint32_t i = 0; i < map->count; i++) {
        yyjson_mut_val *key = from_text(document, stv_key(map, i)->bytes);
        if (!yyjson_mut_obj_add(object, key, cli_json_from_term(document, stv_value(map, i)))) {
            return NULL;
        }
    }
    return object;
}

static yyjson_mut_val *from_pair(yyjson_mut_doc *document, const struct stv_term *map, uint32_t index) {
    yyjson_mut_val *pair = yyjson_mut_arr(document);
    bool complete = yyjson_mut_arr_append(pair, cli_json_from_term(document, stv_key(map, index))) &&
                    yyjson_mut_arr_append(pair, cli_json_from_term(document, stv_value(map, index)));
    return complete ? pair : NULL;
}

static yyjson_mut_val *from_map(yyjson_mut_doc *document, const struct stv_term *map) {
    if (map_is_object(map)) {
        return from_object(document, map);
    }
    yyjson_mut_val *pairs = yyjson_mut_arr(document);
    for (uint32_t i = 0; i < map->count; i++) {
        if (!yyjson_mut_arr_append(pairs, from_pair(document, map, i))) {
            return NULL;
        }
    }
    return form(document, "$map", pairs);
}

yyjson_mut_val *cli_json_from_term(yyjson_mut_doc *document, const struct stv_term *term) {
    switch ((enum stv_type)term->type) {
    case STV_INTEGER:
        return yyjson_mut_sint(document, term->integer);
    case STV_BIG:
        return from_big(document, term);
    case STV_FLOAT:
        return yyjson_mut_real(document, term->number);
    case STV_ATOM:
        return from_atom(document, term);
    case STV_BINARY:
        return from_binary(document, term->bytes);
    case STV_BITSTRING:
        return from_bitstring(document, term);
    case STV_LIST:
    case STV_TUPLE:
        return from_items(document, term);
    case STV_MAP:
        return from_map(document, term);
    }
    return NULL;
}

bool cli_json_print(FILE *to, const yyjson_mut_val *value, enum cli_json_layout layout) {
    yyjson_write_flag flags =
        layout == CLI_JSON_INDENTED ? YYJSON_WRITE_PRETTY_TWO_SPACES : YYJSON_WRITE_NOFLAG;
    size_t length;
    char *text = yyjson_mut_val_write_opts(value, flags, NULL, &length, NULL);
    if (text == NULL) {
        return false;
    }
    bool written = fwrite(text, 1, length, to) == length && fputc('\n', to) != EOF;
    free(text);
    return written;
}

bool cli_json_print_term(FILE *to, const struct stv_term *term) {
    yyjson_mut_doc *document = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *value = cli_json_from_term(document, term);
    bool printed = value != NULL && cli_json_print(to, value, CLI_JSON_LINE);
    yyjson_mut_doc_free(document);
    return printed;
}
