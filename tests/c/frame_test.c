/* frame.h, PROTOCOL §1 */
#include "testing.h"

#include "frame.h"
#include "guarded.h"

#define LIMIT 1000

static enum frame_status next(const char *bytes, size_t length, struct slice *content, size_t *needed) {
    struct guarded guarded = guarded_end(bytes, length);
    enum frame_status status = frame_next(guarded.slice, LIMIT, content, needed);

    if (status == FRAME_READY) { /* as an offset, for the copy goes away */
        content->bytes = (const uint8_t *)bytes + (content->bytes - guarded.slice.bytes);
    }
    guarded_finish(&guarded);
    return status;
}

static void test_growing_prefix(void **state) {
    static const char bytes[] = "\0\0\0\5hello\0\0\0\1x";
    struct slice content;
    size_t needed;
    (void)state;

    for (size_t length = 0; length < 9; length++) {
        assert_int_equal(next(bytes, length, &content, &needed), FRAME_INCOMPLETE);
        assert_int_equal(needed, length < FRAME_HEADER ? FRAME_HEADER : 9);
    }
    for (size_t length = 9; length <= sizeof(bytes) - 1; length++) {
        assert_int_equal(next(bytes, length, &content, &needed), FRAME_READY);
        assert_ptr_equal(content.bytes, bytes + 4);
        assert_int_equal(content.length, 5);
    }
    assert_int_equal(next(bytes + 9, 5, &content, &needed), FRAME_READY);
    assert_memory_equal(content.bytes, "x", 1);
}

static void test_empty_frame(void **state) {
    struct slice content;
    size_t needed;
    (void)state;

    assert_int_equal(next("\0\0\0\0", 4, &content, &needed), FRAME_EMPTY);
}

static void test_too_large_is_told_from_the_header_alone(void **state) {
    struct slice content;
    size_t needed;
    (void)state;

    assert_int_equal(next("\0\0\3\xe8", 4, &content, &needed), FRAME_INCOMPLETE); /* 1000 */
    assert_int_equal(needed, 1004);
    assert_int_equal(next("\0\0\3\xe9", 4, &content, &needed), FRAME_TOO_LARGE);
    assert_int_equal(next("\xff\xff\xff\xff", 4, &content, &needed), FRAME_TOO_LARGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growing_prefix),
        cmocka_unit_test(test_empty_frame),
        cmocka_unit_test(test_too_large_is_told_from_the_header_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
