/* codec: what differs between External Term Format and MessagePack, as one table of functions each.
 *
 * codec_etf (etf_codec.c, etf_read.c) is the only user of ei, codec_msgpack (msgpack_codec.c) the only one of
 * msgpack-c. Everything above speaks to a codec through this table. Thread: any (pure). */
#ifndef CODEC_H
#define CODEC_H

#include "check.h"
#include "term.h"

struct arena;
struct writer;

/* What the outermost header of a frame says. */
enum shape {
    SHAPE_MESSAGE, /* a tuple: a message of `count` elements */
    SHAPE_BATCH,   /* a list: perhaps a batch of `count` messages (PROTOCOL §3) */
    SHAPE_EITHER,  /* a MessagePack array: its elements tell which */
    SHAPE_OTHER,   /* any other term: neither */
};

struct opening {
    enum shape shape;
    uint32_t count;
    struct slice term; /* the whole of it as `check` and `read` take it: for ETF without the 131 */
    struct slice body; /* from the first element on; not for SHAPE_OTHER */
};

struct codec {
    const char *name; /* "etf", "msgpack" */
    uint32_t max_depth;
    bool lists_are_chains; /* there are improper ones, and the empty one is no container */

    /* Reads the outermost header of `message`, the first byte of which chose this codec. False: it is cut
     * short, or claims more elements than there are bytes (CHECK_BROKEN). */
    bool (*open)(struct slice message, struct opening *opening);

    /* Takes the next element of a batch off *body. CHECK_REFUSED: it is no binary. CHECK_BROKEN: it goes past
     * the end. */
    enum check_verdict (*next_in_batch)(struct slice *body, struct slice *message);

    /* True if `body`, after the last element of a batch, is exactly its end. */
    bool (*batch_ends)(struct slice body);

    /* etf_check, msgpack_check. */
    enum check_verdict (*check)(struct check *check, struct slice bytes, size_t *used);

    /* Decodes exactly one checked term into the arena. NULL and *reason set: memory ran out
     * (codec_out_of_memory) or a map has a key twice. */
    const struct stv_term *(*read)(struct arena *arena, struct slice checked, const char **reason);

    /* Encoding, for writer.c, which has judged counts and values: each appends to the writer's contiguous
     * part. */
    void (*put_message)(struct writer *writer, uint32_t count); /* a message's header, 131 included */
    void (*put_symbol)(struct writer *writer,
                       const char *name);               /* an atom of the protocol's; str in MessagePack */
    void (*put_id)(struct writer *writer, uint32_t id); /* always tag 98 in ETF */
    void (*put_nil)(struct writer *writer);
    void (*put_bool)(struct writer *writer, bool value);
    void (*put_int)(struct writer *writer, int64_t value);
    void (*put_uint)(struct writer *writer, uint64_t value);
    void (*put_double)(struct writer *writer, double value);
    void (*put_text_header)(struct writer *writer, uint32_t length); /* the writer adds the bytes */
    void (*put_bytes_header)(struct writer *writer, uint32_t length);
    void (*put_scalar_term)(struct writer *writer, const struct stv_term *term); /* atom, big, bitstring */
    void (*put_list)(struct writer *writer, uint32_t count); /* count 0: the whole empty list */
    void (*put_list_end)(struct writer *writer); /* after the last element of a proper list of count > 0 */
    void (*put_tuple)(struct writer *writer, uint32_t count);
    void (*put_map)(struct writer *writer, uint32_t pairs);

    /* A batch frame of `count` messages is put together by output.c from these. */
    size_t (*put_batch_header)(uint8_t *to, uint32_t count); /* at most 16 bytes; returns how many */
    size_t (*put_batch_item)(uint8_t *to, uint32_t length);  /* at most 8 bytes, before each message */
    size_t (*put_batch_end)(uint8_t *to);                    /* at most 1 byte */
};

extern const struct codec codec_etf;
extern const struct codec codec_msgpack;

/* The codec that a frame or batch element starting with this byte is in, or NULL (PROTOCOL §2). */
const struct codec *codec_of(uint8_t first_byte);

/* What `read` says when memory ran out: this very text. */
extern const char codec_out_of_memory[];

#endif
