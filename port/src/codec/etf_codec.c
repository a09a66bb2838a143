/* See codec.h. The External Term Format: its messages and batches, and its encoding, by ei.
 *
 * Not used: ei_x_buff (grows by 200 bytes at a time), ei_encode_string (text as a list). */
#include "etf_check.h"
#include "etf_read.h"
#include "etf_tags.h"
#include "utf8.h"
#include "writer.h"

#include <ei.h>
#include <string.h>

/* --- Opening messages and batches --- */

/* Takes the header of a tuple or list, whose count is its last `width` bytes. */
static bool open_container(struct opening *opening, enum shape shape, size_t width) {
    struct slice term = opening->term;

    if (term.length < 1 + width) {
        return false;
    }
    opening->shape = shape;
    opening->count = width == 1 ? term.bytes[1] : read_be32(term.bytes + 1);
    opening->body = (struct slice){term.bytes + 1 + width, term.length - 1 - width};
    return opening->count <= opening->body.length;
}

static bool open_message(struct slice message, struct opening *opening) {
    struct slice term = {message.bytes + 1, message.length - 1};

    *opening = (struct opening){.shape = SHAPE_OTHER, .term = term};
    if (term.length == 0) {
        return false;
    }
    switch (term.bytes[0]) {
    case ETF_SMALL_TUPLE:
        return open_container(opening, SHAPE_MESSAGE, 1);
    case ETF_LARGE_TUPLE:
        return open_container(opening, SHAPE_MESSAGE, 4);
    case ETF_LIST:
        return open_container(opening, SHAPE_BATCH, 4);
    case ETF_NIL:
        opening->shape = SHAPE_BATCH;
        opening->body = term; /* nothing before its end */
        return true;
    default:
        return true;
    }
}

static enum check_verdict next_in_batch(struct slice *body, struct slice *message) {
    size_t length;

    if (body->length == 0) {
        return CHECK_BROKEN;
    }
    if (body->bytes[0] != ETF_BINARY) {
        return CHECK_REFUSED;
    }
    if (body->length < 5 || read_be32(body->bytes + 1) > body->length - 5) {
        return CHECK_BROKEN;
    }
    length = read_be32(body->bytes + 1);
    *message = (struct slice){body->bytes + 5, length};
    *body = (struct slice){body->bytes + 5 + length, body->length - 5 - length};
    return CHECK_OK;
}

static bool batch_ends(struct slice body) {
    return body.length == 1 && body.bytes[0] == ETF_NIL;
}

/* --- Encoding ---
 *
 * Small terms are encoded aside and appended. */

#define MAX_SCALAR 16   /* of the numbers and headers that ei makes */
#define MAX_ATOM   1024 /* 255 characters of four bytes, and the header */

static void put_message(struct writer *writer, uint32_t count) {
    char encoded[MAX_SCALAR];
    int length = 0;

    ei_encode_version(encoded, &length);
    ei_encode_tuple_header(encoded, &length, (int)count);
    writer_append(writer, encoded, (size_t)length);
}

static void put_atom(struct writer *writer, struct slice name) {
    char encoded[MAX_ATOM];
    int length = 0;
    size_t characters;

    if (!utf8_is_valid(name, &characters) || characters > 255 ||
        ei_encode_atom_len_as(encoded, &length, (const char *)name.bytes, (int)name.length, ERLANG_UTF8,
                              ERLANG_UTF8) != 0) {
        writer_fail(writer, WRITER_MALFORMED);
        return;
    }
    writer_append(writer, encoded, (size_t)length);
}

static void put_symbol(struct writer *writer, const char *name) {
    put_atom(writer, (struct slice){(const uint8_t *)name, strlen(name)});
}

/* A tag and 32 bits: for ids and lengths, which must not take fewer bytes when they are small. */
static void put_tagged(struct writer *writer, uint8_t tag, uint32_t value) {
    uint8_t *to = writer_extend(writer, 5);

    if (to != NULL) {
        to[0] = tag;
        write_be32(to + 1, value);
    }
}

/* Always tag 98, so that a host can route replies without decoding (PROTOCOL §5). */
static void put_id(struct writer *writer, uint32_t id) {
    put_tagged(writer, ETF_INTEGER, id);
}

static void put_nil(struct writer *writer) {
    put_symbol(writer, "nil");
}

static void put_bool(struct writer *writer, bool value) {
    put_symbol(writer, value ? "true" : "false");
}

static void put_int(struct writer *writer, int64_t value) {
    char encoded[MAX_SCALAR];
    int length = 0;

    ei_encode_longlong(encoded, &length, value);
    writer_append(writer, encoded, (size_t)length);
}

static void put_uint(struct writer *writer, uint64_t value) {
    char encoded[MAX_SCALAR];
    int length = 0;

    ei_encode_ulonglong(encoded, &length, value);
    writer_append(writer, encoded, (size_t)length);
}

static void put_double(struct writer *writer, double value) {
    char encoded[MAX_SCALAR];
    int length = 0;

    ei_encode_double(encoded, &length, value);
    writer_append(writer, encoded, (size_t)length);
}

static void put_binary_header(struct writer *writer, uint32_t length) {
    put_tagged(writer, ETF_BINARY, length);
}

static void put_big(struct writer *writer, const struct stv_term *big) {
    size_t length = big->bytes.length;
    uint8_t sign = big->negative ? 1 : 0;

    if (length <= UINT8_MAX) {
        uint8_t header[] = {ETF_SMALL_BIG, (uint8_t)length, sign};
        writer_append(writer, header, sizeof(header));
    } else {
        put_tagged(writer, ETF_LARGE_BIG, (uint32_t)length);
        writer_append(writer, &sign, 1);
    }
    writer_append(writer, big->bytes.bytes, length);
}

static void put_bitstring(struct writer *writer, const struct stv_term *bitstring) {
    put_tagged(writer, ETF_BITSTRING, (uint32_t)bitstring->bytes.length);
    writer_append(writer, &bitstring->bits, 1);
    writer_append(writer, bitstring->bytes.bytes, bitstring->bytes.length);
}

static void put_scalar_term(struct writer *writer, const struct stv_term *term) {
    if (term->type == STV_BIG) {
        put_big(writer, term);
    } else if (term->type == STV_BITSTRING) {
        put_bitstring(writer, term);
    } else {
        put_atom(writer, term->bytes);
    }
}

static void put_list_end(struct writer *writer) {
    uint8_t nil = ETF_NIL;

    writer_append(writer, &nil, 1);
}

static void put_list(struct writer *writer, uint32_t count) {
    if (count == 0) {
        put_list_end(writer);
    } else {
        put_tagged(writer, ETF_LIST, count);
    }
}

static void put_tuple(struct writer *writer, uint32_t count) {
    char encoded[MAX_SCALAR];
    int length = 0;

    ei_encode_tuple_header(encoded, &length, (int)count);
    writer_append(writer, encoded, (size_t)length);
}

static void put_map(struct writer *writer, uint32_t pairs) {
    put_tagged(writer, ETF_MAP, pairs);
}

static size_t put_batch_header(uint8_t *to, uint32_t count) {
    to[0] = ETF_VERSION;
    to[1] = ETF_LIST;
    write_be32(to + 2, count);
    return 6;
}

static size_t put_batch_item(uint8_t *to, uint32_t length) {
    to[0] = ETF_BINARY;
    write_be32(to + 1, length);
    return 5;
}

static size_t put_batch_end(uint8_t *to) {
    to[0] = ETF_NIL;
    return 1;
}

const struct codec codec_etf = {
    .name = "etf",
    .max_depth = CHECK_MAX_DEPTH,
    .lists_are_chains = true,
    .open = open_message,
    .next_in_batch = next_in_batch,
    .batch_ends = batch_ends,
    .check = etf_check,
    .read = etf_read,
    .put_message = put_message,
    .put_symbol = put_symbol,
    .put_id = put_id,
    .put_nil = put_nil,
    .put_bool = put_bool,
    .put_int = put_int,
    .put_uint = put_uint,
    .put_double = put_double,
    .put_text_header = put_binary_header,
    .put_bytes_header = put_binary_header,
    .put_scalar_term = put_scalar_term,
    .put_list = put_list,
    .put_list_end = put_list_end,
    .put_tuple = put_tuple,
    .put_map = put_map,
    .put_batch_header = put_batch_header,
    .put_batch_item = put_batch_item,
    .put_batch_end = put_batch_end,
};
