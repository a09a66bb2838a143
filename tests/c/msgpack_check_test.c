/* msgpack_check.h, PROTOCOL §9.2: every sample also cut at every length, beside a forbidden page. */
#include "samples.h"

#include "msgpack_check.h"

static void test_accepted_objects(void **state) {
    (void)state;

    assert_accepted(&codec_msgpack, BYTES("\x00"));
    assert_accepted(&codec_msgpack, BYTES("\x7f"));
    assert_accepted(&codec_msgpack, BYTES("\xe0"));
    assert_accepted(&codec_msgpack, BYTES("\xff"));
    assert_accepted(&codec_msgpack, BYTES("\xc0"));
    assert_accepted(&codec_msgpack, BYTES("\xc2"));
    assert_accepted(&codec_msgpack, BYTES("\xc3"));
    assert_accepted(&codec_msgpack, BYTES("\xc4\3abc"));
    assert_accepted(&codec_msgpack, BYTES("\xc5\0\1\xff"));
    assert_accepted(&codec_msgpack, BYTES("\xc6\0\0\0\1\xff"));
    assert_accepted(&codec_msgpack, BYTES("\xca\x3f\x80\0\0"));
    assert_accepted(&codec_msgpack, BYTES("\xcb\x3f\xf0\0\0\0\0\0\0"));
    assert_accepted(&codec_msgpack, BYTES("\xcc\xff"));
    assert_accepted(&codec_msgpack, BYTES("\xcd\xff\xff"));
    assert_accepted(&codec_msgpack, BYTES("\xce\xff\xff\xff\xff"));
    assert_accepted(&codec_msgpack, BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"));
    assert_accepted(&codec_msgpack, BYTES("\xd0\x80"));
    assert_accepted(&codec_msgpack, BYTES("\xd1\x80\0"));
    assert_accepted(&codec_msgpack, BYTES("\xd2\x80\0\0\0"));
    assert_accepted(&codec_msgpack, BYTES("\xd3\x80\0\0\0\0\0\0\0"));
    assert_accepted(&codec_msgpack, BYTES("\xa0"));
    assert_accepted(&codec_msgpack, BYTES("\xa2\xc3\xa9"));
    assert_accepted(&codec_msgpack, BYTES("\xd9\1a"));
    assert_accepted(&codec_msgpack, BYTES("\xda\0\1a"));
    assert_accepted(&codec_msgpack, BYTES("\xdb\0\0\0\1a"));
    assert_accepted(&codec_msgpack, BYTES("\x90"));
    assert_accepted(&codec_msgpack, BYTES("\x92\1\x91\2"));
    assert_accepted(&codec_msgpack, BYTES("\xdc\0\1\xc0"));
    assert_accepted(&codec_msgpack, BYTES("\xdd\0\0\0\1\xc0"));
    assert_accepted(&codec_msgpack, BYTES("\x80"));
    assert_accepted(&codec_msgpack, BYTES("\x82\xa1"
                                          "a\1\xa1"
                                          "b\x81\1\2"));
    assert_accepted(&codec_msgpack, BYTES("\xde\0\1\1\2"));
    assert_accepted(&codec_msgpack, BYTES("\xdf\0\0\0\1\1\2"));
}

static void test_refused_objects(void **state) {
    (void)state;

    for (int marker = 0xc7; marker <= 0xc9; marker++) {
        uint8_t bytes[8] = {(uint8_t)marker};
        assert_not_accepted(&codec_msgpack, (struct slice){bytes, 8}, CHECK_REFUSED, "an ext");
    }
    for (int marker = 0xd4; marker <= 0xd8; marker++) {
        uint8_t bytes[20] = {0x91, (uint8_t)marker};
        assert_not_accepted(&codec_msgpack, (struct slice){bytes, 20}, CHECK_REFUSED, "an ext");
    }
    assert_not_accepted(&codec_msgpack, BYTES("\xc1"), CHECK_REFUSED, "0xc1");
    assert_not_accepted(&codec_msgpack, BYTES("\xca\x7f\x80\0\0"), CHECK_REFUSED, "infinite");
    assert_not_accepted(&codec_msgpack, BYTES("\xca\xff\xc0\0\0"), CHECK_REFUSED, "not a number");
    assert_not_accepted(&codec_msgpack, BYTES("\xcb\xff\xf0\0\0\0\0\0\0"), CHECK_REFUSED, "infinite");
    assert_not_accepted(&codec_msgpack, BYTES("\xcb\x7f\xf0\0\0\0\0\0\1"), CHECK_REFUSED, "not a number");
    assert_not_accepted(&codec_msgpack, BYTES("\xa1\xff"), CHECK_REFUSED, "UTF-8");
    assert_not_accepted(&codec_msgpack, BYTES("\x81\xd9\2\xc3(\1"), CHECK_REFUSED, "UTF-8");
}

static void test_lies_are_broken(void **state) {
    (void)state;

    assert_not_accepted(&codec_msgpack,
                        BYTES("\xa3"
                              "ab"),
                        CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_msgpack,
                        BYTES("\xc6\xff\xff\xff\xff"
                              "a"),
                        CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_msgpack,
                        BYTES("\xdb\xff\xff\xff\xff"
                              "a"),
                        CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_msgpack,
                        BYTES("\xda\xff\xff"
                              "a"),
                        CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_msgpack, BYTES("\x93\1\2"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_msgpack, BYTES("\xdd\xff\xff\xff\xff\1"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_msgpack, BYTES("\xdc\xff\xff\1"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_msgpack, BYTES("\x81\1"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_msgpack, BYTES("\xdf\x80\0\0\0"), CHECK_BROKEN, "past the end");
}

static void test_every_first_byte_alone(void **state) {
    (void)state;

    for (int first = 0; first < 256; first++) {
        uint8_t alone = (uint8_t)first;
        bool whole = first <= 0x80 || first == 0x90 || first == 0xa0 || first == 0xc0 || first == 0xc2 ||
                     first == 0xc3 || first >= 0xe0;
        bool refused = first == 0xc1 || (first >= 0xc7 && first <= 0xc9) || (first >= 0xd4 && first <= 0xd8);
        size_t used;
        const char *reason;
        enum check_verdict verdict =
            check_guarded(&codec_msgpack, (struct slice){&alone, 1}, true, &used, &reason);
        assert_int_equal(verdict, whole ? CHECK_OK : refused ? CHECK_REFUSED : CHECK_BROKEN);
    }
}

/* Arrays in arrays; the innermost is `last`, an empty array or map. */
static struct slice nested(uint8_t bytes[100], uint32_t levels, uint8_t last) {
    memset(bytes, 0x91, levels - 1);
    bytes[levels - 1] = last;
    return (struct slice){bytes, levels};
}

/* What is accepted must be possible for msgpack-c too (PROTOCOL §10). */
static void test_depth_is_what_msgpack_c_can_do(void **state) {
    static const uint8_t last[] = {0x90, 0x80};
    (void)state;

    for (size_t i = 0; i < sizeof(last); i++) {
        uint8_t bytes[100];
        size_t used;
        const char *reason;
        struct arena arena;
        struct slice deepest = nested(bytes, 32, last[i]);

        assert_int_equal(check_guarded(&codec_msgpack, deepest, true, &used, &reason), CHECK_OK);
        arena_init(&arena, NULL, 0);
        assert_non_null(codec_msgpack.read(&arena, deepest, &reason));
        arena_finish(&arena);
        assert_not_accepted(&codec_msgpack, nested(bytes, 33, last[i]), CHECK_REFUSED, "max_depth");
    }
}

static void test_terms(void **state) {
    struct check check = {.max_depth = 2, .terms_left = 4};
    size_t used;
    (void)state;

    assert_int_equal(msgpack_check(&check, BYTES("\x93\1\2\3"), &used), CHECK_OK);
    assert_int_equal(check.terms_left, 0);
    check.terms_left = 4;
    assert_int_equal(msgpack_check(&check, BYTES("\x82\1\2\3\4"), &used), CHECK_REFUSED);
    assert_non_null(strstr(check.reason, "max_terms"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted_objects),
        cmocka_unit_test(test_refused_objects),
        cmocka_unit_test(test_lies_are_broken),
        cmocka_unit_test(test_every_first_byte_alone),
        cmocka_unit_test(test_depth_is_what_msgpack_c_can_do),
        cmocka_unit_test(test_terms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
