/* See message.h.
 *
 * A message is read in three steps: split checks every element and notes where the first few lie; then the id
 * is read, so that whatever is wrong can be answered to it; then the reader of the tag's shape decodes the
 * other elements of the envelope. Args is one of the elements that split found, and is not looked into. */
#include "message.h"
#include "arena.h"

#include <stdalign.h>
#include <stdio.h>

#define MAX_ELEMENTS 5
#define MAX_MS       INT32_MAX
#define MAX_OP       255u
#define LARGEST_SCALAR                                                                                       \
    1100u /* bytes of an encoded name: more than any that is accepted; and of a number, within reason */
#define LARGEST_OPTIONS 4096u /* bytes: they are decoded where the message is read, on the loop */
#define ENVELOPE        2048u /* bytes that the envelope takes decoded, usually */
#define SHOWN           40    /* bytes of an unknown name that a reason quotes */

/* One message while it is read. */
struct reading {
    struct message *message;
    struct arena arena;
    struct slice elements[MAX_ELEMENTS];
    uint32_t found; /* how many of them are checked */
    uint32_t count; /* how many the message has */
    const char *reason;
};

static enum message_verdict bad(struct reading *reading, const char *reason) {
    reading->reason = reason;
    return MESSAGE_BAD;
}

static enum message_verdict verdict_of(enum check_verdict verdict) {
    return verdict == CHECK_BROKEN ? MESSAGE_BROKEN : MESSAGE_BAD;
}

/* --- Splitting --- */

static enum message_verdict split(struct reading *reading, struct slice body) {
    const struct codec *codec = reading->message->codec;
    struct check check = {.depth = 1, .max_depth = codec->max_depth, .terms_left = CHECK_MAX_TERMS};

    for (uint32_t i = 0; i < reading->count; i++) {
        size_t used;
        enum check_verdict verdict = codec->check(&check, body, &used);
        if (verdict != CHECK_OK) {
            reading->reason = check.reason;
            return verdict_of(verdict);
        }
        if (i < MAX_ELEMENTS) {
            reading->elements[reading->found++] = (struct slice){body.bytes, used};
        }
        body = (struct slice){body.bytes + used, body.length - used};
    }
    return body.length == 0 ? MESSAGE_OK : bad(reading, "bytes follow the end of the message (PROTOCOL §8)");
}

/* What is no tuple or array may still be broken, or worse than just no message. */
static enum message_verdict refuse_whole(struct reading *reading, struct slice term) {
    const struct codec *codec = reading->message->codec;
    struct check check = {.max_depth = codec->max_depth, .terms_left = CHECK_MAX_TERMS};
    size_t used;
    enum check_verdict verdict = codec->check(&check, term, &used);

    if (verdict != CHECK_OK) {
        reading->reason = check.reason;
        return verdict_of(verdict);
    }
    return bad(reading, "neither a message nor a batch of them (PROTOCOL §3, §4)");
}

/* --- Elements --- */

/* Decodes an element that is a name or number, if it can be one. */
static const struct stv_term *decode_small(struct reading *reading, uint32_t element) {
    struct slice encoded = reading->elements[element];
    const char *ignored;

    if (encoded.length > LARGEST_SCALAR) {
        return NULL;
    }
    return reading->message->codec->read(&reading->arena, encoded, &ignored);
}

static bool is_name(const struct stv_term *term) {
    return term != NULL && (term->type == STV_ATOM || term->type == STV_BINARY);
}

/* An integer from `low` to MAX_MS. */
static bool read_number(struct reading *reading, uint32_t element, int64_t low, int64_t *value) {
    int64_t number;

    if (!stv_term_int(decode_small(reading, element), &number) || number < low || number > MAX_MS) {
        return false;
    }
    *value = number;
    return true;
}

/* The name of an op outlives the arena: a Latin-1 atom that had to be converted does not lie in the frame. */
static enum message_verdict read_op(struct reading *reading) {
    const struct stv_term *op = decode_small(reading, 2);
    const uint8_t *first = reading->elements[2].bytes;

    if (!is_name(op) || op->bytes.length < 1 || op->bytes.length > MAX_OP) {
        return bad(
            reading,
            "the third element of a call names the op: an atom or binary of 1 to 255 bytes (PROTOCOL §4.1)");
    }
    if (op->bytes.bytes < first || op->bytes.bytes >= first + reading->elements[2].length) {
        return bad(
            reading,
            "an op named by a Latin-1 atom must be ASCII: send a UTF-8 atom or a binary (PROTOCOL §4.1)");
    }
    reading->message->op = op->bytes;
    return MESSAGE_OK;
}

/* --- Options --- */

static const struct option {
    const char *name;
    int64_t low, high;
    size_t offset; /* of its uint32_t in struct message */
} options[] = {
    {"timeout", 1, MAX_MS, offsetof(struct message, timeout)},
    {"queue_timeout", 1, MAX_MS, offsetof(struct message, queue_timeout)},
    {"kill_after", 1, MAX_MS, offsetof(struct message, kill_after)},
    {"progress", 1, MAX_MS, offsetof(struct message, progress)},
    {"priority", 0, MESSAGE_PRIORITIES - 1, offsetof(struct message, priority)},
};

static const struct option *find_option(const struct stv_term *key) {
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (stv_term_is(key, options[i].name)) {
            return &options[i];
        }
    }
    return NULL;
}

static enum message_verdict unknown_option(struct reading *reading, const struct stv_term *key) {
    char *text = reading->message->text;
    char name[SHOWN + 1];
    size_t length;

    if (!is_name(key)) {
        return bad(reading, "the name of an option is an atom or binary (PROTOCOL §4.1)");
    }
    length = utf8_repair(key->bytes, (uint8_t *)name, SHOWN);
    (void)snprintf(text, sizeof(reading->message->text),
                   "unknown option \"%.*s\": options are timeout, queue_timeout, kill_after, progress, "
                   "priority (PROTOCOL §4.1)",
                   (int)length, name);
    return bad(reading, text);
}

static enum message_verdict read_option(struct reading *reading, const struct stv_term *key,
                                        const struct stv_term *value) {
    const struct option *option = find_option(key);
    char *text = reading->message->text;
    int64_t number;
    uint32_t stored;

    if (option == NULL) {
        return unknown_option(reading, key);
    }
    if (!stv_term_int(value, &number) || number < option->low || number > option->high) {
        (void)snprintf(text, sizeof(reading->message->text),
                       "the option \"%s\" must be an integer from %d to %d (PROTOCOL §4.1)", option->name,
                       (int)option->low, (int)option->high);
        return bad(reading, text);
    }
    stored = (uint32_t)number;
    memcpy((char *)reading->message + option->offset, &stored, sizeof(stored));
    return MESSAGE_OK;
}

static enum message_verdict read_options(struct reading *reading) {
    const struct codec *codec = reading->message->codec;
    const struct stv_term *map;
    enum message_verdict verdict = MESSAGE_OK;

    if (reading->elements[4].length > LARGEST_OPTIONS) {
        return bad(reading, "the options of a call take more than 4096 bytes (PROTOCOL §4.1)");
    }
    map = codec->read(&reading->arena, reading->elements[4], &reading->reason);
    if (map == NULL) {
        return MESSAGE_BAD;
    }
    if (map->type != STV_MAP) {
        return bad(reading, "the fifth element of a call is a map of options (PROTOCOL §4.1)");
    }
    for (size_t i = 0; i < map->count && verdict == MESSAGE_OK; i++) {
        verdict = read_option(reading, stv_key(map, i), stv_value(map, i));
    }
    return verdict;
}

/* --- Messages --- */

static enum message_verdict read_call(struct reading *reading) {
    enum message_verdict verdict;

    reading->message->type = MESSAGE_CALL;
    if (reading->count != 4 && reading->count != 5) {
        return bad(reading, "a call is {call, Id, Op, Args} or {call, Id, Op, Args, Opts} (PROTOCOL §4.1)");
    }
    if (reading->message->id == MESSAGE_NO_ID) {
        return bad(reading, "the id of a call is an integer from 0 to 2147483647 (PROTOCOL §4.1)");
    }
    verdict = read_op(reading);
    reading->message->args = reading->elements[3];
    return verdict == MESSAGE_OK && reading->count == 5 ? read_options(reading) : verdict;
}

static enum message_verdict read_cancel(struct reading *reading) {
    reading->message->type = MESSAGE_CANCEL;
    if (reading->count != 2 || !read_number(reading, 1, 0, &reading->message->id)) {
        reading->message->id = MESSAGE_NO_ID;
        return bad(reading, "a cancel is {cancel, Id} with an integer from 0 to 2147483647 (PROTOCOL §4.2)");
    }
    return MESSAGE_OK;
}

static enum message_verdict read_stop(struct reading *reading) {
    reading->message->type = MESSAGE_STOP;
    if (reading->count == 1 ||
        (reading->count == 2 && read_number(reading, 1, 0, &reading->message->grace))) {
        return MESSAGE_OK;
    }
    return bad(reading,
               "a stop is {stop} or {stop, Ms} with an integer from 0 to 2147483647 (PROTOCOL §4.3)");
}

static const struct shape_reader {
    const char *tag;
    bool is_call; /* its second element is an id to answer with, whatever else is wrong (PROTOCOL §8) */
    enum message_verdict (*read)(struct reading *reading);
} shapes[] = {
    {"call", true, read_call},
    {"cancel", false, read_cancel},
    {"stop", false, read_stop},
};

static enum message_verdict read_unknown(struct reading *reading) {
    return bad(reading, "unknown message: the first element is call, cancel or stop (PROTOCOL §4)");
}

static const struct shape_reader unknown_shape = {"", true, read_unknown};

static const struct shape_reader *find_shape(struct reading *reading) {
    const struct stv_term *tag = reading->found > 0 ? decode_small(reading, 0) : NULL;

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (stv_term_is(tag, shapes[i].tag)) {
            return &shapes[i];
        }
    }
    return &unknown_shape;
}

static enum message_verdict read_elements(struct reading *reading, const struct opening *opening) {
    const struct shape_reader *shape;
    enum message_verdict verdict;

    if (opening->shape != SHAPE_MESSAGE && opening->shape != SHAPE_EITHER) {
        return refuse_whole(reading, opening->term);
    }
    reading->count = opening->count;
    verdict = split(reading, opening->body);
    if (verdict == MESSAGE_BROKEN) {
        return verdict;
    }
    shape = find_shape(reading);
    if (shape->is_call && reading->found > 1) {
        read_number(reading, 1, 0, &reading->message->id);
    }
    return verdict == MESSAGE_OK ? shape->read(reading) : verdict;
}

static void set_defaults(struct message *message) {
    message->type = MESSAGE_CALL;
    message->codec = NULL;
    message->id = MESSAGE_NO_ID;
    message->op = (struct slice){0};
    message->args = (struct slice){0};
    message->timeout = 0;
    message->queue_timeout = 0;
    message->kill_after = 0;
    message->progress = 0;
    message->priority = MESSAGE_DEFAULT_PRIORITY;
    message->grace = -1;
    message->text[0] = '\0';
}

enum message_verdict message_read(struct slice bytes, struct message *message, const char **reason) {
    alignas(max_align_t) unsigned char memory[ENVELOPE];
    struct reading reading = {.message = message};
    struct opening opening;
    enum message_verdict verdict;

    set_defaults(message);
    message->codec = bytes.length > 0 ? codec_of(bytes.bytes[0]) : NULL;
    if (message->codec == NULL) {
        *reason = bytes.length > 0 ? "the first byte is of no codec (PROTOCOL §2)"
                                   : "a message is empty (PROTOCOL §3)";
        return MESSAGE_BROKEN;
    }
    if (!message->codec->open(bytes, &opening)) {
        *reason = "a length or count goes past the end of the message (PROTOCOL §8)";
        return MESSAGE_BROKEN;
    }
    arena_init(&reading.arena, memory, sizeof(memory));
    verdict = read_elements(&reading, &opening);
    arena_finish(&reading.arena);
    *reason = reading.reason;
    return verdict;
}
