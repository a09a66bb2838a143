/* codec_msgpack: decoding, opening messages and batches, encoding (PROTOCOL §3, §9.2). */
#include "samples.h"

#include "writer.h"

static void test_scalars(void **state) {
    (void)state;

    assert_reads(&codec_msgpack, BYTES("\xc0"), "nil");
    assert_reads(&codec_msgpack, BYTES("\xc3"), "true");
    assert_reads(&codec_msgpack, BYTES("\xc2"), "false");
    assert_reads(&codec_msgpack, BYTES("\x7f"), "127");
    assert_reads(&codec_msgpack, BYTES("\xff"), "-1");
    assert_reads(&codec_msgpack, BYTES("\xd3\x80\0\0\0\0\0\0\0"), "-9223372036854775808");
    assert_reads(&codec_msgpack, BYTES("\xd3\0\0\0\0\0\0\0\1"), "1");
    assert_reads(&codec_msgpack, BYTES("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"), "9223372036854775807");
    assert_reads(&codec_msgpack, BYTES("\xcf\x80\0\0\0\0\0\0\1"), "16#8000000000000001");
    assert_reads(&codec_msgpack, BYTES("\xca\x3f\xc0\0\0"), "1.5");
    assert_reads(&codec_msgpack, BYTES("\xcb\xbf\xf8\0\0\0\0\0\0"), "-1.5");
    assert_reads(&codec_msgpack, BYTES("\xa2hi"), "\"hi\"");
    assert_reads(&codec_msgpack, BYTES("\xa0"), "\"\"");
    assert_reads(&codec_msgpack, BYTES("\xc4\2hi"), "<<hi>>");
}

static void test_containers(void **state) {
    (void)state;

    assert_reads(&codec_msgpack, BYTES("\x90"), "[]");
    assert_reads(&codec_msgpack, BYTES("\x93\1\x91\2\x80"), "[1,[2],#{}]");
    assert_reads(&codec_msgpack, BYTES("\xdc\0\1\xc0"), "[nil]");
    assert_reads(&codec_msgpack,
                 BYTES("\x82\xa1"
                       "b\1\xa1"
                       "a\x81\2\3"),
                 "#{\"b\",1,\"a\",#{2,3}}");
}

static const char *why_unreadable(struct slice bytes) {
    struct arena arena;
    const char *reason = NULL;
    const struct stv_term *term;

    arena_init(&arena, NULL, 0);
    term = codec_msgpack.read(&arena, bytes, &reason);
    arena_finish(&arena);
    return term == NULL ? reason : NULL;
}

static void test_keys_differ(void **state) {
    (void)state;

    assert_non_null(strstr(why_unreadable(BYTES("\x82\1\xc0\1\xc0")), "key twice"));
    assert_non_null(strstr(why_unreadable(BYTES("\x91\x82\xa1"
                                                "a\xc0\xd9\1a\xc0")),
                           "key twice"));
    assert_non_null(strstr(why_unreadable(BYTES("\x82\xa1"
                                                "a\xc0\xc4\1a\xc0")),
                           "key twice")); /* str and bin */
    assert_non_null(strstr(why_unreadable(BYTES("\x82\1\xc0\xd3\0\0\0\0\0\0\0\1\xc0")), "key twice"));
    assert_null(why_unreadable(BYTES("\x82\1\xc0\xcb\x3f\xf0\0\0\0\0\0\0\xc0"))); /* 1 and 1.0 */
}

/* --- Opening --- */

static void test_open(void **state) {
    struct opening opening;
    (void)state;

    assert_true(codec_msgpack.open(BYTES("\x92\1\2"), &opening));
    assert_int_equal(opening.shape, SHAPE_EITHER);
    assert_int_equal(opening.count, 2);
    assert_int_equal(opening.body.length, 2);
    assert_int_equal(opening.term.length, 3);
    assert_true(codec_msgpack.open(BYTES("\xdc\0\1\1"), &opening));
    assert_int_equal(opening.body.length, 1);
    assert_true(codec_msgpack.open(BYTES("\xdd\0\0\0\1\1"), &opening));
    assert_int_equal(opening.body.length, 1);
    assert_true(codec_msgpack.open(BYTES("\x90"), &opening));
    assert_int_equal(opening.count, 0);
    assert_false(codec_msgpack.open(BYTES("\x92\1"), &opening));
    assert_false(codec_msgpack.open(BYTES("\xdc\0"), &opening));
    assert_false(codec_msgpack.open(BYTES("\xdd\0\0\0"), &opening));
    assert_false(codec_msgpack.open(BYTES("\xdd\xff\xff\xff\xff\1"), &opening));
}

static void test_batch_elements(void **state) {
    struct slice body = BYTES("\xc4\1a\xc5\0\2bc\xc6\0\0\0\1d\xa1x");
    struct slice message;
    (void)state;

    assert_int_equal(codec_msgpack.next_in_batch(&body, &message), CHECK_OK);
    assert_int_equal(message.length, 1);
    assert_int_equal(codec_msgpack.next_in_batch(&body, &message), CHECK_OK);
    assert_memory_equal(message.bytes, "bc", 2);
    assert_int_equal(codec_msgpack.next_in_batch(&body, &message), CHECK_OK);
    assert_int_equal(codec_msgpack.next_in_batch(&body, &message), CHECK_REFUSED); /* a str */
    assert_false(codec_msgpack.batch_ends(body));
    body = BYTES("\xc4\2a");
    assert_int_equal(codec_msgpack.next_in_batch(&body, &message), CHECK_BROKEN);
    body = BYTES("\xc6\0\0\0");
    assert_int_equal(codec_msgpack.next_in_batch(&body, &message), CHECK_BROKEN);
    body = BYTES("");
    assert_int_equal(codec_msgpack.next_in_batch(&body, &message), CHECK_BROKEN);
    assert_true(codec_msgpack.batch_ends(body));
}

/* --- Encoding --- */

static void test_encodings(void **state) {
    struct slice expected = BYTES("\x9b\xa2ok\5\xff\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xc0\xc3\xc2"
                                  "\xcb\x3f\xf8\0\0\0\0\0\0\xa1t\xc4\1b\x82\1\x90\2\x91\3");
    struct writer writer;
    (void)state;

    writer_init(&writer, &codec_msgpack, 1000);
    writer_put_message(&writer, 11);
    writer_put_symbol(&writer, "ok");
    writer_put_id(&writer, 5);
    writer_put_int(&writer, -1);
    writer_put_uint(&writer, UINT64_MAX);
    writer_put_nil(&writer);
    writer_put_bool(&writer, true);
    writer_put_bool(&writer, false);
    writer_put_double(&writer, 1.5);
    writer_put_text(&writer, "t");
    writer_put_bytes(&writer, BYTES("b"));
    writer_put_map(&writer, 2);
    writer_put_int(&writer, 1);
    writer_put_list(&writer, 0);
    writer_put_int(&writer, 2);
    writer_put_tuple(&writer, 1);
    writer_put_int(&writer, 3);
    assert_true(writer_is_complete(&writer));
    assert_int_equal(writer.length, expected.length);
    assert_memory_equal(writer.bytes, expected.bytes, expected.length);
    writer_finish(&writer);
}

/* Decodes with one codec, encodes as MessagePack. */
static void assert_becomes(const struct codec *from, struct slice bytes, enum writer_error error,
                           struct slice expected) {
    struct arena arena;
    struct writer writer;
    const char *reason;

    arena_init(&arena, NULL, 0);
    writer_init(&writer, &codec_msgpack, 100000);
    writer_put_message(&writer, 1);
    writer_put_term(&writer, from->read(&arena, bytes, &reason));
    assert_int_equal(writer.error, error);
    if (error == WRITER_FINE) {
        assert_true(writer_is_complete(&writer));
        assert_int_equal(writer.length, 1 + expected.length);
        assert_memory_equal(writer.bytes + 1, expected.bytes, expected.length);
    }
    writer_finish(&writer);
    arena_finish(&arena);
}

static void test_objects_come_back(void **state) {
    static const struct slice objects[] = {
        {(const uint8_t *)"\xcf\x80\0\0\0\0\0\0\1", 9},
        {(const uint8_t *)"\x94\xc0\xc2\xc3\xa1s", 6},
        {(const uint8_t *)"\x82\xa1"
                          "b\xc4\1b\xa1"
                          "a\x81\x91\1\xe0",
         12},
        {(const uint8_t *)"\xcb\x80\0\0\0\0\0\0\0", 9},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(objects); i++) {
        assert_becomes(&codec_msgpack, objects[i], WRITER_FINE, objects[i]);
    }
}

static void test_terms_of_etf(void **state) {
    (void)state;

    assert_becomes(&codec_etf, BYTES("w\4nope"), WRITER_FINE, BYTES("\xa4nope"));
    assert_becomes(&codec_etf, BYTES("w\3nil"), WRITER_FINE, BYTES("\xc0"));
    assert_becomes(&codec_etf, BYTES("m\0\0\0\1x"), WRITER_FINE, BYTES("\xc4\1x"));
    assert_becomes(&codec_etf, BYTES("h\2a\1j"), WRITER_FINE, BYTES("\x92\1\x90"));
    assert_becomes(&codec_etf, BYTES("l\0\0\0\1a\1a\2"), WRITER_MALFORMED, BYTES(""));
    assert_becomes(&codec_etf, BYTES("M\0\0\0\1\3\xe0"), WRITER_MALFORMED, BYTES(""));
    assert_becomes(&codec_etf, BYTES("n\10\1\1\0\0\0\0\0\0\x80"), WRITER_MALFORMED, BYTES(""));
    assert_becomes(&codec_etf, BYTES("n\11\0\1\2\3\4\5\6\7\10\11"), WRITER_MALFORMED, BYTES(""));
}

static void test_batch_header(void **state) {
    uint8_t bytes[32];
    size_t length = codec_msgpack.put_batch_header(bytes, 1);
    struct opening opening;
    struct slice message;
    (void)state;

    length += codec_msgpack.put_batch_item(bytes + length, 2);
    memcpy(bytes + length, "xy", 2);
    length += 2;
    length += codec_msgpack.put_batch_end(bytes + length);
    assert_true(codec_msgpack.open((struct slice){bytes, length}, &opening));
    assert_int_equal(opening.count, 1);
    assert_int_equal(codec_msgpack.next_in_batch(&opening.body, &message), CHECK_OK);
    assert_memory_equal(message.bytes, "xy", 2);
    assert_true(codec_msgpack.batch_ends(opening.body));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),           cmocka_unit_test(test_containers),
        cmocka_unit_test(test_keys_differ),       cmocka_unit_test(test_open),
        cmocka_unit_test(test_batch_elements),    cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_objects_come_back), cmocka_unit_test(test_terms_of_etf),
        cmocka_unit_test(test_batch_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
