/* Walks proto/vectors/{valid,invalid} with the codec library: what each .hex file expects is what
 * message_read, batch_open and frame_next find, in this order. How the files are written is in
 * proto/vectors/README.md.
 *
 * What is found is put into the words of an expectation ("call 7 echo timeout=100", "bad_request nil REASON")
 * and compared as text. The bytes under test are in an allocation of exactly their size, so that
 * AddressSanitizer sees a read beyond them. */
#include <ctype.h>
#include <glob.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "arena.h"
#include "frame.h"
#include "message.h"

#define MAX_FRAME   (64u << 20)
#define MAX_EXPECTS 16
#define EXPECT      "# expect: "

struct vector {
    const char *path;
    uint8_t *bytes; /* exactly `length` */
    size_t length;
    bool is_frames;
    char *expects[MAX_EXPECTS];
    size_t expect_count;
    size_t met; /* how many of them were found so far */
};

/* --- reading a .hex file --- */

static uint8_t hex_digit(char digit) {
    return (uint8_t)(isdigit((unsigned char)digit) ? digit - '0' : tolower((unsigned char)digit) - 'a' + 10);
}

/* The bytes of "83 6a*3", as often as the star says, to the vector's end. */
static void add_token(struct vector *vector, const char *token) {
    size_t digits = strcspn(token, "*");
    size_t times = token[digits] ? strtoul(token + digits + 1, NULL, 10) : 1;
    uint8_t *bytes = realloc(vector->bytes, vector->length + digits / 2 * times);

    assert_int_equal(digits % 2, 0);
    assert_non_null(bytes);
    vector->bytes = bytes;
    for (size_t i = 0; i < times * digits; i += 2) {
        const char *pair = token + i % digits;
        bytes[vector->length++] = (uint8_t)(hex_digit(pair[0]) << 4 | hex_digit(pair[1]));
    }
}

static void add_line(struct vector *vector, char *line) {
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, EXPECT, strlen(EXPECT)) == 0) {
        assert_true(vector->expect_count < MAX_EXPECTS);
        vector->expects[vector->expect_count++] = strdup(line + strlen(EXPECT));
    } else if (strcmp(line, "# frames") == 0) {
        vector->is_frames = true;
    }
    line[strcspn(line, "#")] = '\0';
    for (char *rest = line, *token; (token = strtok_r(rest, " \t", &rest)) != NULL;) {
        add_token(vector, token);
    }
}

static struct vector vector_load(const char *path) {
    struct vector vector = {.path = path};
    char *line = NULL;
    size_t capacity = 0;
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    while (getline(&line, &capacity, file) >= 0) {
        add_line(&vector, line);
    }
    free(line);
    fclose(file);
    return vector;
}

static void vector_finish(struct vector *vector) {
    free(vector->bytes);
    for (size_t i = 0; i < vector->expect_count; i++) {
        free(vector->expects[i]);
    }
}

/* --- comparing --- */

static void refute(const struct vector *vector, const char *expected, const char *found) {
    fail_msg("%s\n  expected: %s\n  found:    %s", vector->path, expected, found);
}

/* `found` is the next thing in the file. A reason follows a mark and need only contain what is expected of
 * it. */
static void meet(struct vector *vector, const char *found, const char *reason) {
    const char *expected = vector->met < vector->expect_count ? vector->expects[vector->met] : "nothing more";
    size_t length = strlen(found);

    vector->met++;
    if (strncmp(expected, found, length) != 0 ||
        (expected[length] != '\0' && (!reason || expected[length] != ' '))) {
        refute(vector, expected, found);
    }
    if (reason && expected[length] != '\0' && !strcasestr(reason, expected + length + 1)) {
        refute(vector, expected, reason);
    }
}

static void append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *text, size_t size, const char *format, ...) {
    size_t length = strlen(text);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text + length, size - length, format, arguments);
    va_end(arguments);
}

static void append_option(char *text, size_t size, const char *name, uint32_t value, uint32_t none) {
    if (value != none) {
        append(text, size, " %s=%" PRIu32, name, value);
    }
}

static void describe_call(const struct message *message, char *text, size_t size) {
    append(text, size, "call %" PRId64 " %.*s", message->id, (int)message->op.length,
           (const char *)message->op.bytes);
    append_option(text, size, "timeout", message->timeout, 0);
    append_option(text, size, "queue_timeout", message->queue_timeout, 0);
    append_option(text, size, "kill_after", message->kill_after, 0);
    append_option(text, size, "progress", message->progress, 0);
    append_option(text, size, "priority", message->priority, MESSAGE_DEFAULT_PRIORITY);
}

static void describe(const struct message *message, char *text, size_t size) {
    text[0] = '\0';
    switch (message->type) {
    case MESSAGE_CALL:
        describe_call(message, text, size);
        break;
    case MESSAGE_CANCEL:
        append(text, size, "cancel %" PRId64, message->id);
        break;
    case MESSAGE_STOP:
        append(text, size, message->grace < 0 ? "stop" : "stop %" PRId64, message->grace);
        break;
    }
}

/* What was checked can be decoded. */
static void read_args(const struct vector *vector, const struct message *message) {
    struct arena arena;
    const char *reason = NULL;

    arena_init(&arena, NULL, 0);
    if (!message->codec->read(&arena, message->args, &reason)) {
        refute(vector, "arguments that can be decoded", reason);
    }
    arena_finish(&arena);
}

/* False: the stream is broken. */
static bool meet_message(struct vector *vector, struct slice bytes) {
    char text[512] = "broken";
    struct message message;
    const char *reason = NULL;
    enum message_verdict verdict = message_read(bytes, &message, &reason);

    if (verdict == MESSAGE_OK) {
        describe(&message, text, sizeof text);
        if (message.type == MESSAGE_CALL) {
            read_args(vector, &message);
        }
    } else if (verdict == MESSAGE_BAD && message.id == MESSAGE_NO_ID) {
        strcpy(text, "bad_request nil");
    } else if (verdict == MESSAGE_BAD) {
        snprintf(text, sizeof text, "bad_request %" PRId64, message.id);
    }
    meet(vector, text, verdict == MESSAGE_OK ? NULL : reason);
    return verdict != MESSAGE_BROKEN;
}

static bool meet_batch(struct vector *vector, struct batch *batch) {
    char text[32];
    struct slice message;

    snprintf(text, sizeof text, "batch %" PRIu32, batch->left);
    meet(vector, text, NULL);
    while (batch_next(batch, &message)) {
        if (!meet_message(vector, message)) {
            return false;
        }
    }
    return true;
}

/* A frame's content. False: the stream is broken. */
static bool meet_content(struct vector *vector, struct slice content) {
    struct batch batch;

    switch (batch_open(content, &batch)) {
    case BATCH_OK:
        return meet_batch(vector, &batch);
    case BATCH_BROKEN:
        meet(vector, "broken", "");
        return false;
    default:
        return meet_message(vector, content);
    }
}

static void meet_frames(struct vector *vector) {
    struct slice rest = {vector->bytes, vector->length};
    struct slice content;
    size_t needed;
    enum frame_status status = FRAME_READY;

    while (rest.length > 0 && (status = frame_next(rest, MAX_FRAME, &content, &needed)) == FRAME_READY) {
        size_t size = FRAME_HEADER + content.length;
        rest = (struct slice){rest.bytes + size, rest.length - size};
        if (!meet_content(vector, content)) {
            return;
        }
    }
    if (status != FRAME_READY) {
        meet(vector, status == FRAME_INCOMPLETE ? "incomplete" : "broken", "");
    }
}

/* --- tests --- */

static struct slice whole(const struct vector *vector) {
    return (struct slice){vector->bytes, vector->length};
}

static void found_as_expected(struct vector *vector) {
    if (vector->is_frames) {
        meet_frames(vector);
    } else {
        meet_content(vector, whole(vector));
    }
    assert_true(vector->expect_count > 0);
    if (vector->met != vector->expect_count) {
        refute(vector, vector->expects[vector->met], "nothing more");
    }
}

static bool is_one_message(const struct vector *vector) {
    return !vector->is_frames && vector->expect_count == 1 && strncmp(vector->expects[0], "batch", 5) != 0;
}

/* PROTOCOL §8: whatever is cut off a good message, the stream is broken. */
static void broken_at_every_cut(struct vector *vector) {
    struct message message;
    const char *reason;

    if (!is_one_message(vector) || vector->length > 1000) {
        return;
    }
    for (size_t length = 1; length < vector->length; length++) {
        uint8_t *copy = malloc(length);
        memcpy(copy, vector->bytes, length);
        if (message_read((struct slice){copy, length}, &message, &reason) != MESSAGE_BROKEN) {
            fail_msg("%s: cut to %zu bytes it is not broken", vector->path, length);
        }
        free(copy);
    }
}

/* What one flipped bit makes of a message is judged without harm; what is accepted can be decoded, or has a
 * key twice. */
static void survives_every_flipped_bit(struct vector *vector) {
    if (!is_one_message(vector) || vector->length > 1000) {
        return;
    }
    for (size_t bit = 0; bit < 8 * vector->length; bit++) {
        struct message message;
        const char *reason;
        struct arena arena;
        vector->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (message_read(whole(vector), &message, &reason) == MESSAGE_OK && message.type == MESSAGE_CALL) {
            arena_init(&arena, NULL, 0);
            message.codec->read(&arena, message.args, &reason);
            arena_finish(&arena);
        }
        vector->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void for_each(const char *directory, void (*test)(struct vector *vector)) {
    char pattern[4096];
    glob_t paths;

    snprintf(pattern, sizeof pattern, "%s/%s/*.hex", VECTORS_DIR, directory);
    assert_int_equal(glob(pattern, 0, NULL, &paths), 0);
    for (size_t i = 0; i < paths.gl_pathc; i++) {
        struct vector vector = vector_load(paths.gl_pathv[i]);
        test(&vector);
        vector_finish(&vector);
    }
    globfree(&paths);
}

static void valid_vectors_are_accepted(void **state) {
    (void)state;
    for_each("valid", found_as_expected);
}

static void invalid_vectors_are_told_apart(void **state) {
    (void)state;
    for_each("invalid", found_as_expected);
}

static void a_cut_message_is_broken_wherever_it_is_cut(void **state) {
    (void)state;
    for_each("valid", broken_at_every_cut);
}

static void a_flipped_bit_does_no_harm(void **state) {
    (void)state;
    for_each("valid", survives_every_flipped_bit);
    for_each("invalid", survives_every_flipped_bit);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_vectors_are_accepted),
        cmocka_unit_test(invalid_vectors_are_told_apart),
        cmocka_unit_test(a_cut_message_is_broken_wherever_it_is_cut),
        cmocka_unit_test(a_flipped_bit_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
