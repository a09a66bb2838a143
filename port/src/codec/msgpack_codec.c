/* See codec.h. MessagePack, by msgpack-c: the only file that knows it.
 *
 * msgpack-c allocates what a header claims, so it is given only what msgpack_check went over; and always
 * whole objects, by msgpack_unpack_next: its streaming unpacker has had memory errors and is not needed. What
 * it decodes into lives in a zone of its own, so it is copied into our terms and let go; strings and binaries
 * stay in the frame. */
#include "arena.h"
#include "msgpack_check.h"
#include "term_keys.h"
#include "writer.h"

#include <msgpack.h>

/* --- Decoding ---
 *
 * Recursion is as deep as the term, which the check bounds. */

struct reader {
    struct arena *arena;
    const char *reason; /* why it failed */
};

static bool read_object(struct reader *reader, const msgpack_object *object, struct stv_term *term,
                        bool inside_key);

static bool fail(struct reader *reader, const char *reason) {
    reader->reason = reason;
    return false;
}

static struct stv_term atom_term(const char *name) {
    return (struct stv_term){.type = STV_ATOM, .bytes = {(const uint8_t *)name, strlen(name)}};
}

static struct stv_term binary_term(const char *bytes, uint32_t size, bool is_text) {
    return (struct stv_term){.type = STV_BINARY, .is_text = is_text, .bytes = {(const uint8_t *)bytes, size}};
}

static bool read_unsigned(struct reader *reader, uint64_t value, struct stv_term *term) {
    uint8_t *digits;

    if (value <= INT64_MAX) {
        *term = (struct stv_term){.type = STV_INTEGER, .integer = (int64_t)value};
        return true;
    }
    digits = arena_alloc(reader->arena, sizeof(value));
    if (digits == NULL) {
        return fail(reader, codec_out_of_memory);
    }
    for (size_t i = 0; i < sizeof(value); i++) {
        digits[i] = (uint8_t)(value >> (8 * i));
    }
    *term = (struct stv_term){.type = STV_BIG, .bytes = {digits, sizeof(value)}};
    return true;
}

static bool new_items(struct reader *reader, struct stv_term *term, uint32_t count, size_t item_count) {
    term->count = count;
    term->items = arena_alloc(reader->arena, item_count * sizeof(*term->items));
    return term->items != NULL || fail(reader, codec_out_of_memory);
}

static bool read_array(struct reader *reader, const msgpack_object_array *array, struct stv_term *term,
                       bool inside_key) {
    *term = (struct stv_term){.type = STV_LIST};
    if (!new_items(reader, term, array->size, array->size)) {
        return false;
    }
    for (uint32_t i = 0; i < array->size; i++) {
        if (!read_object(reader, &array->ptr[i], &term->items[i], inside_key)) {
            return false;
        }
    }
    return true;
}

static bool read_map(struct reader *reader, const msgpack_object_map *map, struct stv_term *term,
                     bool inside_key) {
    *term = (struct stv_term){.type = STV_MAP};
    if (!new_items(reader, term, map->size, 2 * (size_t)map->size)) {
        return false;
    }
    for (size_t i = 0; i < map->size; i++) {
        if (!read_object(reader, &map->ptr[i].key, &term->items[2 * i], true) ||
            !read_object(reader, &map->ptr[i].val, &term->items[2 * i + 1], inside_key)) {
            return false;
        }
    }
    return term_keys_differ(term, inside_key, reader->arena) ||
           fail(reader, "a map has a key twice (PROTOCOL §9.2)");
}

static bool read_object(struct reader *reader, const msgpack_object *object, struct stv_term *term,
                        bool inside_key) {
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        *term = atom_term("nil");
        return true;
    case MSGPACK_OBJECT_BOOLEAN:
        *term = atom_term(object->via.boolean ? "true" : "false");
        return true;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return read_unsigned(reader, object->via.u64, term);
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        *term = (struct stv_term){.type = STV_INTEGER, .integer = object->via.i64};
        return true;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        *term = (struct stv_term){.type = STV_FLOAT, .number = object->via.f64};
        return true;
    case MSGPACK_OBJECT_STR:
        *term = binary_term(object->via.str.ptr, object->via.str.size, true);
        return true;
    case MSGPACK_OBJECT_BIN:
        *term = binary_term(object->via.bin.ptr, object->via.bin.size, false);
        return true;
    case MSGPACK_OBJECT_ARRAY:
        return read_array(reader, &object->via.array, term, inside_key);
    case MSGPACK_OBJECT_MAP:
        return read_map(reader, &object->via.map, term, inside_key);
    default:
        return fail(reader, "an ext cannot be sent (PROTOCOL §9.2)"); /* msgpack_check refused it */
    }
}

static const struct stv_term *read_checked(struct arena *arena, struct slice checked, const char **reason) {
    struct reader reader = {.arena = arena, .reason = codec_out_of_memory};
    struct stv_term *term = arena_alloc(arena, sizeof(*term));
    msgpack_unpacked unpacked;
    size_t offset = 0;
    bool done;

    msgpack_unpacked_init(&unpacked);
    done = term != NULL &&
           msgpack_unpack_next(&unpacked, (const char *)checked.bytes, checked.length, &offset) ==
               MSGPACK_UNPACK_SUCCESS &&
           read_object(&reader, &unpacked.data, term, false);
    msgpack_unpacked_destroy(&unpacked);
    if (!done) {
        *reason = reader.reason;
        return NULL;
    }
    return term;
}

/* --- Opening messages and batches --- */

/* The length or count that the `width` bytes after the first hold; false if they are not all there. */
static bool read_count(struct slice bytes, size_t width, uint32_t *count) {
    if (bytes.length < 1 + width) {
        return false;
    }
    switch (width) {
    case 1:
        *count = bytes.bytes[1];
        break;
    case 2:
        *count = read_be16(bytes.bytes + 1);
        break;
    default:
        *count = read_be32(bytes.bytes + 1);
        break;
    }
    return true;
}

static bool open_message(struct slice message, struct opening *opening) {
    uint8_t first = message.bytes[0];
    size_t width = first == 0xdd ? 4 : 2;

    *opening = (struct opening){.shape = SHAPE_EITHER, .term = message};
    if (first <= 0x9f) {
        width = 0;
        opening->count = first & 0x0f;
    } else if (!read_count(message, width, &opening->count)) {
        return false;
    }
    opening->body = (struct slice){message.bytes + 1 + width, message.length - 1 - width};
    return opening->count <= opening->body.length;
}

static enum check_verdict next_in_batch(struct slice *body, struct slice *message) {
    size_t width, header;
    uint32_t length;

    if (body->length == 0) {
        return CHECK_BROKEN;
    }
    if (body->bytes[0] < 0xc4 || body->bytes[0] > 0xc6) {
        return CHECK_REFUSED;
    }
    width = (size_t)1 << (body->bytes[0] - 0xc4); /* bin 8, 16, 32 */
    header = 1 + width;
    if (!read_count(*body, width, &length) || length > body->length - header) {
        return CHECK_BROKEN;
    }
    *message = (struct slice){body->bytes + header, length};
    *body = (struct slice){body->bytes + header + length, body->length - header - length};
    return CHECK_OK;
}

static bool batch_ends(struct slice body) {
    return body.length == 0;
}

/* --- Encoding: msgpack-c writes through a callback. --- */

static int append(void *writer, const char *bytes, size_t length) {
    writer_append(writer, bytes, length);
    return 0; /* the writer remembers what went wrong */
}

static msgpack_packer packer_to(struct writer *writer) {
    msgpack_packer packer;

    msgpack_packer_init(&packer, writer, append);
    return packer;
}

static void put_array(struct writer *writer, uint32_t count) {
    msgpack_packer packer = packer_to(writer);
    msgpack_pack_array(&packer, count);
}

static void put_text(struct writer *writer, struct slice text) {
    msgpack_packer packer = packer_to(writer);
    msgpack_pack_str(&packer, text.length);
    writer_append(writer, text.bytes, text.length);
}

static void put_symbol(struct writer *writer, const char *name) {
    put_text(writer, (struct slice){(const uint8_t *)name, strlen(name)});
}

static void put_int(struct writer *writer, int64_t value) {
    msgpack_packer packer = packer_to(writer);
    msgpack_pack_int64(&packer, value);
}

static void put_uint(struct writer *writer, uint64_t value) {
    msgpack_packer packer = packer_to(writer);
    msgpack_pack_uint64(&packer, value);
}

static void put_id(struct writer *writer, uint32_t id) {
    put_uint(writer, id);
}

static void put_nil(struct writer *writer) {
    msgpack_packer packer = packer_to(writer);
    msgpack_pack_nil(&packer);
}

static void put_bool(struct writer *writer, bool value) {
    msgpack_packer packer = packer_to(writer);
    if (value) {
        msgpack_pack_true(&packer);
    } else {
        msgpack_pack_false(&packer);
    }
}

static void put_double(struct writer *writer, double value) {
    msgpack_packer packer = packer_to(writer);
    msgpack_pack_double(&packer, value);
}

static void put_text_header(struct writer *writer, uint32_t length) {
    msgpack_packer packer = packer_to(writer);
    msgpack_pack_str(&packer, length);
}

static void put_bytes_header(struct writer *writer, uint32_t length) {
    msgpack_packer packer = packer_to(writer);
    msgpack_pack_bin(&packer, length);
}

static void put_map(struct writer *writer, uint32_t pairs) {
    msgpack_packer packer = packer_to(writer);
    msgpack_pack_map(&packer, pairs);
}

/* What fits into 64 bits without a sign: larger integers have no MessagePack (PROTOCOL §9.2). */
static void put_big(struct writer *writer, const struct stv_term *big) {
    uint64_t value = 0;

    if (big->negative || big->bytes.length > sizeof(value)) {
        writer_fail(writer, WRITER_MALFORMED);
        return;
    }
    for (size_t i = 0; i < big->bytes.length; i++) {
        value |= (uint64_t)big->bytes.bytes[i] << (8 * i);
    }
    put_uint(writer, value);
}

static void put_atom(struct writer *writer, const struct stv_term *atom) {
    if (stv_term_is(atom, "nil")) {
        put_nil(writer);
    } else if (stv_term_is(atom, "true") || stv_term_is(atom, "false")) {
        put_bool(writer, stv_term_is(atom, "true"));
    } else {
        put_text(writer, atom->bytes);
    }
}

static void put_scalar_term(struct writer *writer, const struct stv_term *term) {
    if (term->type == STV_ATOM) {
        put_atom(writer, term);
    } else if (term->type == STV_BIG) {
        put_big(writer, term);
    } else {
        writer_fail(writer, WRITER_MALFORMED); /* a bitstring */
    }
}

static void put_list_end(struct writer *writer) {
    (void)writer; /* an array's count says it */
}

/* --- Batches: always with 32-bit lengths, which costs nothing and needs no cases. --- */

static size_t put_batch_header(uint8_t *to, uint32_t count) {
    to[0] = 0xdd;
    write_be32(to + 1, count);
    return 5;
}

static size_t put_batch_item(uint8_t *to, uint32_t length) {
    to[0] = 0xc6;
    write_be32(to + 1, length);
    return 5;
}

static size_t put_batch_end(uint8_t *to) {
    (void)to;
    return 0;
}

const struct codec codec_msgpack = {
    .name = "msgpack",
    .max_depth = MSGPACK_MAX_DEPTH,
    .lists_are_chains = false,
    .open = open_message,
    .next_in_batch = next_in_batch,
    .batch_ends = batch_ends,
    .check = msgpack_check,
    .read = read_checked,
    .put_message = put_array,
    .put_symbol = put_symbol,
    .put_id = put_id,
    .put_nil = put_nil,
    .put_bool = put_bool,
    .put_int = put_int,
    .put_uint = put_uint,
    .put_double = put_double,
    .put_text_header = put_text_header,
    .put_bytes_header = put_bytes_header,
    .put_scalar_term = put_scalar_term,
    .put_list = put_array,
    .put_list_end = put_list_end,
    .put_tuple = put_array,
    .put_map = put_map,
    .put_batch_header = put_batch_header,
    .put_batch_item = put_batch_item,
    .put_batch_end = put_batch_end,
};
