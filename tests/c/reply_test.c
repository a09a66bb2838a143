/* reply.h, PROTOCOL §5: exact bytes in both codecs. */
#include "samples.h"

#include "error_kind.h"
#include "message.h"
#include "reply.h"

static const struct receipt receipt = {1, 2, 300};

static void assert_says(const struct codec *codec, void (*say)(struct writer *writer),
                        struct slice expected) {
    struct writer writer;

    writer_init(&writer, codec, 100000);
    say(&writer);
    assert_true(writer_is_complete(&writer));
    assert_int_equal(writer.length, expected.length);
    assert_memory_equal(writer.bytes, expected.bytes, expected.length);
    writer_finish(&writer);
}

static void say_ok(struct writer *writer) {
    reply_begin_ok(writer, 7);
    writer_put_text(writer, "x");
    reply_end(writer, receipt);
}

static void test_ok(void **state) {
    (void)state;

    assert_says(&codec_etf, say_ok, BYTES("\x83h\4w\2okb\0\0\0\7m\0\0\0\1xh\3a\1a\2b\0\0\1\x2c"));
    assert_says(&codec_msgpack, say_ok, BYTES("\x94\xa2ok\7\xa1x\x93\1\2\xcd\1\x2c"));
}

static void say_error(struct writer *writer) {
    reply_begin_error(writer, 7, KIND_BAD_ARGS, "no", 1);
    writer_put_text(writer, "arg");
    writer_put_text(writer, "a");
    reply_end(writer, receipt);
}

static void say_error_to_nobody(struct writer *writer) {
    reply_begin_error(writer, MESSAGE_NO_ID, KIND_BAD_REQUEST, "no", 0);
    reply_end(writer, (struct receipt){0});
}

static void test_error(void **state) {
    (void)state;

    assert_says(&codec_etf, say_error,
                BYTES("\x83h\5w\5errorb\0\0\0\7w\10bad_argst\0\0\0\2m\0\0\0\7messagem\0\0\0\2no"
                      "m\0\0\0\3argm\0\0\0\1ah\3a\1a\2b\0\0\1\x2c"));
    assert_says(
        &codec_etf, say_error_to_nobody,
        BYTES("\x83h\5w\5errorw\3nilw\13bad_requestt\0\0\0\1m\0\0\0\7messagem\0\0\0\2noh\3a\0a\0a\0"));
    assert_says(&codec_msgpack, say_error_to_nobody,
                BYTES("\x95\xa5"
                      "error\xc0\xab"
                      "bad_request\x81\xa7message\xa2no\x93\0\0\0"));
}

static void say_progress(struct writer *writer) {
    reply_progress(writer, 1, 5, UINT64_MAX);
}

static void say_stuck(struct writer *writer) {
    reply_begin_stuck(writer, 1, 5, 1);
    writer_put_text(writer, "f+0x12 (a.so)");
}

static void say_stuck_without_stack(struct writer *writer) {
    reply_begin_stuck(writer, 1, 5, 0);
}

static void say_log(struct writer *writer) {
    reply_log(writer, "info", BYTES("a\xff"), MESSAGE_NO_ID);
}

static void say_log_of_a_job(struct writer *writer) {
    reply_log(writer, "error", BYTES("a"), 9);
}

static void say_bye(struct writer *writer) {
    reply_bye(writer, "eof");
}

static void test_others(void **state) {
    (void)state;

    assert_says(&codec_etf, say_progress,
                BYTES("\x83h\4w\10progressb\0\0\0\1a\5n\10\0\xff\xff\xff\xff\xff\xff\xff\xff"));
    assert_says(&codec_etf, say_stuck, BYTES("\x83h\4w\5stuckb\0\0\0\1a\5l\0\0\0\1m\0\0\0\15f+0x12 (a.so)j"));
    assert_says(&codec_etf, say_stuck_without_stack, BYTES("\x83h\4w\5stuckb\0\0\0\1a\5j"));
    assert_says(&codec_msgpack, say_stuck_without_stack, BYTES("\x94\xa5stuck\1\5\x90"));
    assert_says(&codec_etf, say_log, BYTES("\x83h\3w\3logw\4infom\0\0\0\4a\xef\xbf\xbd"));
    assert_says(&codec_etf, say_log_of_a_job, BYTES("\x83h\4w\3logw\5errorm\0\0\0\1ab\0\0\0\11"));
    assert_says(&codec_msgpack, say_log_of_a_job,
                BYTES("\x94\xa3log\xa5"
                      "error\xa1"
                      "a\11"));
    assert_says(&codec_etf, say_bye, BYTES("\x83h\2w\3byew\3eof"));
    assert_says(&codec_msgpack, say_bye,
                BYTES("\x92\xa3"
                      "bye\xa3"
                      "eof"));
}

/* PROTOCOL §5.4: at most 8 KiB, and no character cut in two. */
static void test_long_log_lines_are_cut(void **state) {
    char text[9000];
    struct writer writer;
    (void)state;

    memset(text, 'x', sizeof(text));
    memcpy(text + 8190, "\xe2\x82\xac", 3);
    writer_init(&writer, &codec_etf, 100000);
    reply_log(&writer, "info", (struct slice){(uint8_t *)text, sizeof(text)}, MESSAGE_NO_ID);
    assert_true(writer_is_complete(&writer));
    assert_int_equal(read_be32(writer.bytes + 15), 8190);
    writer_finish(&writer);
}

static void test_a_log_line_fits_the_smallest_frame(void **state) {
    char text[8000];
    struct writer writer;
    (void)state;

    memset(text, 'x', sizeof(text));
    writer_init(&writer, &codec_etf, 4096);
    reply_log(&writer, "warning", (struct slice){(uint8_t *)text, sizeof(text)}, INT32_MAX);
    assert_true(writer_is_complete(&writer));
    writer_finish(&writer);
}

static void test_kind_names(void **state) {
    (void)state;

    assert_string_equal(error_kind_name(KIND_BAD_REQUEST), "bad_request");
    assert_string_equal(error_kind_name(KIND_NO_MEMORY), "no_memory");
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        assert_true(strlen(error_kind_name((enum error_kind)kind)) > 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ok),
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_long_log_lines_are_cut),
        cmocka_unit_test(test_a_log_line_fits_the_smallest_frame),
        cmocka_unit_test(test_kind_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
