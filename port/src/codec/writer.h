/* writer: composes one message in either codec.
 *
 * The message is contiguous except for large binaries, which are spliced in by reference, so that a 1 MiB
 * result is never copied here. The writer counts what is put into lists and maps and notices a message that
 * is incomplete or has too much. Errors are sticky: after the first, puts do nothing. Thread: whoever owns
 * it. */
#ifndef WRITER_H
#define WRITER_H

#include "codec.h"

enum writer_error {
    WRITER_FINE = 0,
    WRITER_NO_MEMORY,
    WRITER_TOO_LARGE, /* the message would exceed `limit` */
    WRITER_MALFORMED, /* wrong counts, too deep, a NaN or infinity, invalid UTF-8 text, a term that the codec
                         has not */
};

#define WRITER_MAX_DEPTH  CHECK_MAX_DEPTH
#define WRITER_SPLICE_MIN 16384u /* binaries from this size on are spliced, if their bytes stay valid */

/* Bytes that belong into the message at `offset` of its contiguous part. */
struct splice {
    size_t offset;
    struct slice bytes;
    void *owned; /* freed with the writer; NULL if borrowed */
};

struct writer {
    const struct codec *codec;
    uint8_t *bytes; /* the contiguous part */
    size_t length;
    size_t capacity;
    size_t limit; /* of the whole message, splices included */
    struct splice *splices;
    uint32_t splice_count;
    uint32_t splice_capacity;
    size_t spliced; /* sum of the splices' lengths */
    enum writer_error error;
    uint32_t depth; /* open containers, the message the outermost */
    struct {
        uint32_t left; /* terms still to come */
        bool is_list;  /* ends with put_list_end */
    } open[WRITER_MAX_DEPTH];
};

void writer_init(struct writer *writer, const struct codec *codec, size_t limit);
/* Frees buffer, splices and what they own; leaves it as after writer_init. A zeroed writer is fine. */
void writer_finish(struct writer *writer);

/* Starts a message: a tuple or array of `count` elements, which the following puts must fill. */
void writer_put_message(struct writer *writer, uint32_t count);
void writer_put_symbol(struct writer *writer, const char *name);
void writer_put_id(struct writer *writer, uint32_t id);
void writer_put_nil(struct writer *writer);
void writer_put_bool(struct writer *writer, bool value);
void writer_put_int(struct writer *writer, int64_t value);
void writer_put_uint(struct writer *writer, uint64_t value);
void writer_put_double(struct writer *writer, double value);
void writer_put_text(struct writer *writer, const char *text);
void writer_put_text_slice(struct writer *writer, struct slice text);
void writer_put_bytes(struct writer *writer, struct slice bytes); /* copied */
void writer_put_borrowed(struct writer *writer,
                         struct slice bytes); /* spliced if large: must outlive the writer */
void writer_put_owned(struct writer *writer, void *data,
                      size_t size); /* takes data (malloc), in every case */
void writer_put_term(struct writer *writer,
                     const struct stv_term *term); /* its binaries as writer_put_borrowed */
void writer_put_list(struct writer *writer, uint32_t count);
void writer_put_tuple(struct writer *writer, uint32_t count);
void writer_put_map(struct writer *writer, uint32_t pairs);

/* The message is there, all that was opened is complete, and nothing failed. */
bool writer_is_complete(const struct writer *writer);

/* The length of the whole message, splices included. */
size_t writer_size(const struct writer *writer);

/* Copies the whole message to `to`, which has room for writer_size. */
void writer_copy(const struct writer *writer, uint8_t *to);

/* --- For codecs --- */

/* Room for `size` more contiguous bytes, to be filled; NULL and a sticky error if there is none. */
uint8_t *writer_extend(struct writer *writer, size_t size);

/* Adds contiguous bytes. */
void writer_append(struct writer *writer, const void *bytes, size_t size);

/* Sets the error, unless there is one. */
void writer_fail(struct writer *writer, enum writer_error error);

#endif
