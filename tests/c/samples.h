/* samples: what the codec tests share: bytes as literals, checking them at every length beside a forbidden
 * page, and terms as text. */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <inttypes.h>
#include <stdio.h>

#include "arena.h"
#include "codec.h"
#include "guarded.h"
#include "testing.h"

#define BYTES(literal) ((struct slice){(const uint8_t *)(literal), sizeof(literal) - 1})
#define COUNT(array)   (sizeof(array) / sizeof((array)[0]))

static inline struct check fresh_check(const struct codec *codec) {
    return (struct check){.max_depth = codec->max_depth, .terms_left = CHECK_MAX_TERMS};
}

/* Checks one copy of the bytes, which is flush against a forbidden page at its end, or at its start. */
static inline enum check_verdict check_guarded(const struct codec *codec, struct slice bytes, bool at_end,
                                               size_t *used, const char **reason) {
    struct guarded guarded =
        at_end ? guarded_end(bytes.bytes, bytes.length) : guarded_start(bytes.bytes, bytes.length);
    struct check check = fresh_check(codec);
    enum check_verdict verdict = codec->check(&check, guarded.slice, used);

    *reason = check.reason;
    guarded_finish(&guarded);
    return verdict;
}

/* The bytes cut at every offset, beside a forbidden page: never accepted, and broken if the whole is
 * accepted. */
static inline void assert_cuts_fail(const struct codec *codec, struct slice bytes, enum check_verdict whole) {
    for (size_t length = 0; length < bytes.length; length++) {
        struct slice cut = {bytes.bytes, length};
        size_t used;
        const char *reason;
        enum check_verdict at_end = check_guarded(codec, cut, true, &used, &reason);
        assert_int_equal(at_end, check_guarded(codec, cut, false, &used, &reason));
        assert_int_not_equal(at_end, CHECK_OK);
        if (whole == CHECK_OK) {
            assert_int_equal(at_end, CHECK_BROKEN);
        }
    }
}

static inline void assert_accepted(const struct codec *codec, struct slice bytes) {
    size_t used = 0;
    const char *reason;
    uint8_t longer[512];

    if (check_guarded(codec, bytes, true, &used, &reason) != CHECK_OK) {
        fail_msg("refused: %s", reason);
    }
    assert_int_equal(used, bytes.length);
    assert_int_equal(check_guarded(codec, bytes, false, &used, &reason), CHECK_OK);
    assert_true(bytes.length < sizeof(longer));
    memcpy(longer, bytes.bytes, bytes.length);
    longer[bytes.length] = 0; /* what follows the term is none of its business */
    assert_int_equal(check_guarded(codec, (struct slice){longer, bytes.length + 1}, true, &used, &reason),
                     CHECK_OK);
    assert_int_equal(used, bytes.length);
    assert_cuts_fail(codec, bytes, CHECK_OK);
}

/* `words` is part of the reason. */
static inline void assert_not_accepted(const struct codec *codec, struct slice bytes,
                                       enum check_verdict expected, const char *words) {
    size_t used;
    const char *reason;

    assert_int_equal(check_guarded(codec, bytes, false, &used, &reason), expected);
    assert_int_equal(check_guarded(codec, bytes, true, &used, &reason), expected);
    if (strstr(reason, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", reason, words);
    }
    assert_cuts_fail(codec, bytes, expected);
}

/* --- Terms as text, much as Erlang writes them --- */

struct text {
    char bytes[4096];
    size_t length;
};

static inline void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void text_add(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text->length +=
        (size_t)vsnprintf(text->bytes + text->length, sizeof(text->bytes) - text->length, format, arguments);
    va_end(arguments);
    assert_true(text->length < sizeof(text->bytes));
}

static inline void text_add_term(struct text *text, const struct stv_term *term);

static inline void text_add_terms(struct text *text, const struct stv_term *terms, size_t count) {
    for (size_t i = 0; i < count; i++) {
        text_add(text, i > 0 ? "," : "");
        text_add_term(text, &terms[i]);
    }
}

static inline void text_add_slice(struct text *text, const char *before, struct slice slice,
                                  const char *after) {
    text_add(text, "%s%.*s%s", before, (int)slice.length, (const char *)slice.bytes, after);
}

static inline void text_add_digits(struct text *text, const struct stv_term *term) {
    for (size_t i = term->bytes.length; i > 0; i--) {
        text_add(text, "%02x", term->bytes.bytes[i - 1]);
    }
}

static inline void text_add_term(struct text *text, const struct stv_term *term) {
    switch ((enum stv_type)term->type) {
    case STV_INTEGER:
        text_add(text, "%" PRId64, term->integer);
        break;
    case STV_BIG:
        text_add(text, "%s16#", term->negative ? "-" : "");
        text_add_digits(text, term);
        break;
    case STV_FLOAT:
        text_add(text, "%.1f", term->number);
        break;
    case STV_ATOM:
        text_add_slice(text, "", term->bytes, "");
        break;
    case STV_BINARY:
        text_add_slice(text, term->is_text ? "\"" : "<<", term->bytes, term->is_text ? "\"" : ">>");
        break;
    case STV_BITSTRING:
        text_add(text, "%u bits of ", (unsigned)(8 * (term->bytes.length - 1) + term->bits));
        text_add_digits(text, term);
        break;
    case STV_LIST:
        text_add(text, "[");
        text_add_terms(text, term->items, term->count);
        if (term->tail != NULL) {
            text_add(text, "|");
            text_add_term(text, term->tail);
        }
        text_add(text, "]");
        break;
    case STV_TUPLE:
        text_add(text, "{");
        text_add_terms(text, term->items, term->count);
        text_add(text, "}");
        break;
    case STV_MAP:
        text_add(text, "#{");
        text_add_terms(text, term->items, 2 * (size_t)term->count);
        text_add(text, "}");
        break;
    }
}

/* Checks and decodes the bytes beside a forbidden page, and compares with the text. */
static inline void assert_reads(const struct codec *codec, struct slice bytes, const char *expected) {
    struct guarded guarded = guarded_end(bytes.bytes, bytes.length);
    struct check check = fresh_check(codec);
    struct arena arena;
    struct text text = {.length = 0};
    const char *reason = "";
    const struct stv_term *term;
    size_t used;

    arena_init(&arena, NULL, 0);
    assert_int_equal(codec->check(&check, guarded.slice, &used), CHECK_OK);
    assert_int_equal(used, bytes.length);
    term = codec->read(&arena, guarded.slice, &reason);
    if (term == NULL) {
        fail_msg("%s: %s", expected, reason);
    }
    text_add_term(&text, term);
    assert_string_equal(text.bytes, expected);
    arena_finish(&arena);
    guarded_finish(&guarded);
}

#endif
