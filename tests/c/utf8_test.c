/* utf8.h */
#include "samples.h"

#include "utf8.h"

static bool is_valid(struct slice text, size_t *characters) {
    struct guarded guarded = guarded_end(text.bytes, text.length);
    bool valid = utf8_is_valid(guarded.slice, characters);
    guarded_finish(&guarded);
    return valid;
}

static void test_valid(void **state) {
    size_t characters;
    (void)state;

    assert_true(is_valid(BYTES(""), &characters));
    assert_int_equal(characters, 0);
    assert_true(is_valid(BYTES("a\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"),
                         &characters));
    assert_int_equal(characters, 7);
    assert_true(is_valid(BYTES("12345678\xc3\xa9"
                               "12345678abc"),
                         &characters));
    assert_int_equal(characters, 20);
}

static void test_invalid_beside_eight_ascii(void **state) {
    static const struct slice samples[] = {
        {(const uint8_t *)"\x80", 1},             /* a continuation alone */
        {(const uint8_t *)"\xc0\x80", 2},         /* overlong */
        {(const uint8_t *)"\xc1\xbf", 2},         /* overlong */
        {(const uint8_t *)"\xe0\x9f\xbf", 3},     /* overlong */
        {(const uint8_t *)"\xf0\x8f\xbf\xbf", 4}, /* overlong */
        {(const uint8_t *)"\xed\xa0\x80", 3},     /* a surrogate */
        {(const uint8_t *)"\xf4\x90\x80\x80", 4}, /* beyond U+10FFFF */
        {(const uint8_t *)"\xf5\x80\x80\x80", 4},
        {(const uint8_t *)"\xff", 1},
        {(const uint8_t *)"\xc3(", 2},
        {(const uint8_t *)"\xe2\x82(", 3},
        {(const uint8_t *)"\xf0\x9f\x98(", 4},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(samples); i++) {
        uint8_t text[24];
        for (size_t before = 0; before <= 16; before += 4) {
            memset(text, 'x', sizeof(text));
            memcpy(text + before, samples[i].bytes, samples[i].length);
            assert_false(is_valid((struct slice){text, sizeof(text)}, NULL));
            assert_false(is_valid((struct slice){text, before + samples[i].length}, NULL));
        }
    }
}

/* Agrees with a definition that is plain and slow: decode, encode, compare. */
static bool is_valid_slowly(const uint8_t *at, size_t left) {
    while (left > 0) {
        unsigned length = at[0] < 0x80 ? 1 : at[0] < 0xc0 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
        uint32_t value = length == 1 ? at[0] : at[0] & (0x7fu >> length);
        uint32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : length == 4 ? 0x10000 : 0;
        if (length == 0 || length > left || at[0] >= 0xf8) {
            return false;
        }
        for (unsigned i = 1; i < length; i++) {
            if ((at[i] & 0xc0) != 0x80) {
                return false;
            }
            value = value << 6 | (at[i] & 0x3f);
        }
        if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
            return false;
        }
        at += length;
        left -= length;
    }
    return true;
}

static void test_agrees_with_the_definition(void **state) {
    static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0,
                                    0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef,
                                    0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff};
    uint32_t seed = 99;
    (void)state;

    for (int i = 0; i < 2000000; i++) {
        uint8_t text[6];
        size_t length = 1 + next_random(&seed) % sizeof(text);
        for (size_t at = 0; at < length; at++) {
            text[at] = edges[next_random(&seed) % sizeof(edges)];
        }
        assert_true(utf8_is_valid((struct slice){text, length}, NULL) == is_valid_slowly(text, length));
    }
}

static void assert_repaired(struct slice text, size_t room, struct slice expected) {
    struct guarded to = guarded_pages(room);
    uint8_t *end = (uint8_t *)to.pages + to.size - (size_t)sysconf(_SC_PAGESIZE);
    size_t length = utf8_repair(text, end - room, room);

    assert_int_equal(length, expected.length);
    assert_memory_equal(end - room, expected.bytes, length);
    guarded_finish(&to);
}

static void test_repair(void **state) {
    (void)state;

    assert_repaired(BYTES("ab"), 10, BYTES("ab"));
    assert_repaired(BYTES("a\xff"
                          "b\xc3"),
                    10,
                    BYTES("a\xef\xbf\xbd"
                          "b\xef\xbf\xbd"));
    assert_repaired(BYTES("a\xff"
                          "b\xc3"),
                    5,
                    BYTES("a\xef\xbf\xbd"
                          "b"));
    assert_repaired(BYTES("a\xff"
                          "b"),
                    3, BYTES("a"));
    assert_repaired(BYTES("a\xe2\x82\xac"), 4, BYTES("a\xe2\x82\xac"));
    assert_repaired(BYTES("a\xe2\x82\xac"), 3, BYTES("a")); /* never cut inside a character */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_invalid_beside_eight_ascii),
        cmocka_unit_test(test_agrees_with_the_definition),
        cmocka_unit_test(test_repair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
