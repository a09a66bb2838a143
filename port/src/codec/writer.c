/* See writer.h.
 *
 * Every put is of one term and has three steps: begin_term takes its place in the innermost open container,
 * the codec appends its bytes, end_term closes the containers that are full with it. So counts are judged in
 * one place, for both codecs, and a finished message needs no second look. */
#include "writer.h"

#include <math.h>
#include <stdlib.h>

#define FIRST_CAPACITY 256u
#define FIRST_SPLICES  4u

void writer_init(struct writer *writer, const struct codec *codec, size_t limit) {
    writer->codec = codec;
    writer->bytes = NULL;
    writer->length = 0;
    writer->capacity = 0;
    writer->limit = limit;
    writer->splices = NULL;
    writer->splice_count = 0;
    writer->splice_capacity = 0;
    writer->spliced = 0;
    writer->error = WRITER_FINE;
    writer->depth = 0; /* and `open` means nothing yet */
}

static void drop_splices(struct writer *writer) {
    while (writer->splice_count > 0) {
        free(writer->splices[--writer->splice_count].owned);
    }
}

void writer_finish(struct writer *writer) {
    drop_splices(writer);
    free(writer->splices);
    free(writer->bytes);
    writer_init(writer, writer->codec, writer->limit);
}

void writer_fail(struct writer *writer, enum writer_error error) {
    if (writer->error == WRITER_FINE) {
        writer->error = error;
    }
}

size_t writer_size(const struct writer *writer) {
    return writer->length + writer->spliced;
}

bool writer_is_complete(const struct writer *writer) {
    return writer->error == WRITER_FINE && writer->depth == 0 && writer->length > 0;
}

void writer_copy(const struct writer *writer, uint8_t *to) {
    size_t from = 0;

    for (uint32_t i = 0; i < writer->splice_count; i++) {
        const struct splice *splice = &writer->splices[i];
        memcpy(to, writer->bytes + from, splice->offset - from);
        to += splice->offset - from;
        from = splice->offset;
        memcpy(to, splice->bytes.bytes, splice->bytes.length);
        to += splice->bytes.length;
    }
    if (writer->length > from) {
        memcpy(to, writer->bytes + from, writer->length - from);
    }
}

/* --- Room --- */

static bool fits_limit(struct writer *writer, size_t size) {
    size_t so_far = writer_size(writer);

    if (so_far > writer->limit || size > writer->limit - so_far) {
        writer_fail(writer, WRITER_TOO_LARGE);
        return false;
    }
    return true;
}

/* Doubles, so that putting n bytes costs O(n), however small the pieces are. */
static bool grow(struct writer *writer, size_t size) {
    size_t capacity = writer->capacity > 0 ? writer->capacity : FIRST_CAPACITY;
    uint8_t *bytes;

    while (capacity - writer->length < size) {
        if (capacity > SIZE_MAX / 2) {
            writer_fail(writer, WRITER_NO_MEMORY);
            return false;
        }
        capacity *= 2;
    }
    bytes = realloc(writer->bytes, capacity);
    if (bytes == NULL) {
        writer_fail(writer, WRITER_NO_MEMORY);
        return false;
    }
    writer->bytes = bytes;
    writer->capacity = capacity;
    return true;
}

uint8_t *writer_extend(struct writer *writer, size_t size) {
    uint8_t *room;

    if (writer->error != WRITER_FINE || !fits_limit(writer, size)) {
        return NULL;
    }
    if (writer->capacity - writer->length < size && !grow(writer, size)) {
        return NULL;
    }
    room = writer->bytes + writer->length;
    writer->length += size;
    return room;
}

void writer_append(struct writer *writer, const void *bytes, size_t size) {
    uint8_t *room = size > 0 ? writer_extend(writer, size) : NULL;

    if (room != NULL) {
        memcpy(room, bytes, size);
    }
}

static bool grow_splices(struct writer *writer) {
    uint32_t capacity = writer->splice_capacity > 0 ? writer->splice_capacity * 2 : FIRST_SPLICES;
    struct splice *splices = realloc(writer->splices, capacity * sizeof(*splices));

    if (splices == NULL) {
        writer_fail(writer, WRITER_NO_MEMORY);
        return false;
    }
    writer->splices = splices;
    writer->splice_capacity = capacity;
    return true;
}

/* Adds bytes by reference. False: they were not, and `owned` is still the caller's. */
static bool splice(struct writer *writer, struct slice bytes, void *owned) {
    if (writer->error != WRITER_FINE || !fits_limit(writer, bytes.length)) {
        return false;
    }
    if (writer->splice_count == writer->splice_capacity && !grow_splices(writer)) {
        return false;
    }
    writer->splices[writer->splice_count++] =
        (struct splice){.offset = writer->length, .bytes = bytes, .owned = owned};
    writer->spliced += bytes.length;
    return true;
}

/* --- Counting --- */

/* Takes one place in the innermost open container. False: there is none, or something failed before. */
static bool begin_term(struct writer *writer) {
    if (writer->error != WRITER_FINE) {
        return false;
    }
    if (writer->depth == 0) {
        writer_fail(writer, WRITER_MALFORMED);
        return false;
    }
    writer->open[writer->depth - 1].left--;
    return true;
}

/* Closes what is full. */
static void end_term(struct writer *writer) {
    while (writer->depth > 0 && writer->open[writer->depth - 1].left == 0) {
        writer->depth--;
        if (writer->open[writer->depth].is_list) {
            writer->codec->put_list_end(writer);
        }
    }
}

/* After the header of a container: it is the innermost one until `count` terms were put. */
static void open_container(struct writer *writer, uint32_t count, bool is_list) {
    bool is_nil = count == 0 && is_list && writer->codec->lists_are_chains;

    if (!is_nil && writer->depth >= writer->codec->max_depth) {
        writer_fail(writer, WRITER_MALFORMED);
    } else if (count == 0) {
        end_term(writer);
    } else {
        writer->open[writer->depth].left = count;
        writer->open[writer->depth].is_list = is_list;
        writer->depth++;
    }
}

/* --- Puts --- */

void writer_put_message(struct writer *writer, uint32_t count) {
    if (writer->error != WRITER_FINE) {
        return;
    }
    if (writer->depth > 0 || writer->length > 0) {
        writer_fail(writer, WRITER_MALFORMED);
        return;
    }
    writer->codec->put_message(writer, count);
    open_container(writer, count, false);
}

void writer_put_symbol(struct writer *writer, const char *name) {
    if (begin_term(writer)) {
        writer->codec->put_symbol(writer, name);
        end_term(writer);
    }
}

void writer_put_id(struct writer *writer, uint32_t id) {
    if (begin_term(writer)) {
        writer->codec->put_id(writer, id);
        end_term(writer);
    }
}

void writer_put_nil(struct writer *writer) {
    if (begin_term(writer)) {
        writer->codec->put_nil(writer);
        end_term(writer);
    }
}

void writer_put_bool(struct writer *writer, bool value) {
    if (begin_term(writer)) {
        writer->codec->put_bool(writer, value);
        end_term(writer);
    }
}

void writer_put_int(struct writer *writer, int64_t value) {
    if (begin_term(writer)) {
        writer->codec->put_int(writer, value);
        end_term(writer);
    }
}

void writer_put_uint(struct writer *writer, uint64_t value) {
    if (begin_term(writer)) {
        writer->codec->put_uint(writer, value);
        end_term(writer);
    }
}

void writer_put_double(struct writer *writer, double value) {
    if (!isfinite(value)) {
        writer_fail(writer, WRITER_MALFORMED);
    }
    if (begin_term(writer)) {
        writer->codec->put_double(writer, value);
        end_term(writer);
    }
}

/* Begins a binary with its header; the bytes and end_term are to follow. */
static bool begin_binary(struct writer *writer, size_t length, bool is_text) {
    if (length > UINT32_MAX) {
        writer_fail(writer, WRITER_TOO_LARGE);
    }
    if (!begin_term(writer)) {
        return false;
    }
    if (is_text) {
        writer->codec->put_text_header(writer, (uint32_t)length);
    } else {
        writer->codec->put_bytes_header(writer, (uint32_t)length);
    }
    return true;
}

static void put_copied(struct writer *writer, struct slice bytes, bool is_text) {
    if (begin_binary(writer, bytes.length, is_text)) {
        writer_append(writer, bytes.bytes, bytes.length);
        end_term(writer);
    }
}

static void put_borrowed(struct writer *writer, struct slice bytes, bool is_text) {
    if (bytes.length < WRITER_SPLICE_MIN) {
        put_copied(writer, bytes, is_text);
    } else if (begin_binary(writer, bytes.length, is_text)) {
        splice(writer, bytes, NULL);
        end_term(writer);
    }
}

void writer_put_text(struct writer *writer, const char *text) {
    writer_put_text_slice(writer, (struct slice){(const uint8_t *)text, strlen(text)});
}

void writer_put_text_slice(struct writer *writer, struct slice text) {
    if (!utf8_is_valid(text, NULL)) {
        writer_fail(writer, WRITER_MALFORMED);
    }
    put_copied(writer, text, true);
}

void writer_put_bytes(struct writer *writer, struct slice bytes) {
    put_copied(writer, bytes, false);
}

void writer_put_borrowed(struct writer *writer, struct slice bytes) {
    put_borrowed(writer, bytes, false);
}

void writer_put_owned(struct writer *writer, void *data, size_t size) {
    struct slice bytes = {data, size};
    bool taken = false;

    if (data == NULL && size > 0) {
        writer_fail(writer, WRITER_NO_MEMORY);
    }
    if (size < WRITER_SPLICE_MIN) {
        put_copied(writer, bytes, false);
    } else if (begin_binary(writer, size, false)) {
        taken = splice(writer, bytes, data);
        end_term(writer);
    }
    if (!taken) {
        free(data);
    }
}

void writer_put_list(struct writer *writer, uint32_t count) {
    if (begin_term(writer)) {
        writer->codec->put_list(writer, count);
        open_container(writer, count, true);
    }
}

void writer_put_tuple(struct writer *writer, uint32_t count) {
    if (begin_term(writer)) {
        writer->codec->put_tuple(writer, count);
        open_container(writer, count, false);
    }
}

void writer_put_map(struct writer *writer, uint32_t pairs) {
    if (pairs > UINT32_MAX / 2) {
        writer_fail(writer, WRITER_MALFORMED);
    }
    if (begin_term(writer)) {
        writer->codec->put_map(writer, pairs);
        open_container(writer, pairs * 2, false);
    }
}

/* --- Terms --- */

static void put_scalar_term(struct writer *writer, const struct stv_term *term) {
    if (begin_term(writer)) {
        writer->codec->put_scalar_term(writer, term);
        end_term(writer);
    }
}

static void put_terms(struct writer *writer, const struct stv_term *terms, size_t count) {
    for (size_t i = 0; i < count && writer->error == WRITER_FINE; i++) {
        writer_put_term(writer, &terms[i]);
    }
}

/* The tail stands where a proper list has its end. */
static void put_improper_list(struct writer *writer, const struct stv_term *list) {
    if (!writer->codec->lists_are_chains) {
        writer_fail(writer, WRITER_MALFORMED);
    }
    if (begin_term(writer)) {
        writer->codec->put_list(writer, list->count);
        open_container(writer, list->count + 1, false);
        put_terms(writer, list->items, list->count);
        put_terms(writer, list->tail, 1);
    }
}

/* Recursion ends where open_container refuses to go deeper. */
void writer_put_term(struct writer *writer, const struct stv_term *term) {
    switch ((enum stv_type)term->type) {
    case STV_INTEGER:
        writer_put_int(writer, term->integer);
        break;
    case STV_FLOAT:
        writer_put_double(writer, term->number);
        break;
    case STV_BINARY:
        put_borrowed(writer, term->bytes, term->is_text);
        break;
    case STV_BIG:
    case STV_ATOM:
    case STV_BITSTRING:
        put_scalar_term(writer, term);
        break;
    case STV_LIST:
        if (term->tail != NULL) {
            put_improper_list(writer, term);
            break;
        }
        writer_put_list(writer, term->count);
        put_terms(writer, term->items, term->count);
        break;
    case STV_TUPLE:
        writer_put_tuple(writer, term->count);
        put_terms(writer, term->items, term->count);
        break;
    case STV_MAP:
        writer_put_map(writer, term->count);
        put_terms(writer, term->items, (size_t)term->count * 2);
        break;
    }
}
