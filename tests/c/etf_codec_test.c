/* codec_etf: decoding (PROTOCOL §9.1), opening messages and batches (§3), and encoding, which decodes to the
 * same. */
#include "samples.h"

#include "etf_check.h"
#include "writer.h"

/* --- Decoding --- */

static void test_integers(void **state) {
    (void)state;

    assert_reads(&codec_etf, BYTES("a\xff"), "255");
    assert_reads(&codec_etf, BYTES("b\xff\xff\xff\xff"), "-1");
    assert_reads(&codec_etf, BYTES("b\x80\0\0\0"), "-2147483648");
    assert_reads(&codec_etf, BYTES("n\0\0"), "0");
    assert_reads(&codec_etf, BYTES("n\0\1"), "0");
    assert_reads(&codec_etf, BYTES("n\4\0\0\0\0\x80"), "2147483648");
    assert_reads(&codec_etf, BYTES("n\10\0\xff\xff\xff\xff\xff\xff\xff\x7f"), "9223372036854775807");
    assert_reads(&codec_etf, BYTES("n\10\1\0\0\0\0\0\0\0\x80"), "-9223372036854775808");
    assert_reads(&codec_etf, BYTES("n\12\1\1\0\0\0\0\0\0\0\0\0"), "-1"); /* leading zeros */
    assert_reads(&codec_etf, BYTES("o\0\0\0\2\0\0\1"), "256");
}

static void test_bigs(void **state) {
    (void)state;

    assert_reads(&codec_etf, BYTES("n\10\0\0\0\0\0\0\0\0\x80"), "16#8000000000000000");
    assert_reads(&codec_etf, BYTES("n\10\1\1\0\0\0\0\0\0\x80"), "-16#8000000000000001");
    assert_reads(&codec_etf, BYTES("n\11\0\1\2\3\4\5\6\7\10\11"), "16#090807060504030201");
    assert_reads(&codec_etf, BYTES("o\0\0\0\13\1\1\2\3\4\5\6\7\10\11\0\0"), "-16#090807060504030201");
}

static void test_scalars(void **state) {
    (void)state;

    assert_reads(&codec_etf, BYTES("F\xbf\xf8\0\0\0\0\0\0"), "-1.5");
    assert_reads(&codec_etf, BYTES("w\2ok"), "ok");
    assert_reads(&codec_etf, BYTES("w\0"), "");
    assert_reads(&codec_etf, BYTES("v\0\4\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80");
    assert_reads(&codec_etf, BYTES("s\2ab"), "ab");
    assert_reads(&codec_etf,
                 BYTES("s\2\xe9"
                       "b"),
                 "\xc3\xa9"
                 "b");
    assert_reads(&codec_etf, BYTES("d\0\2\xff\xe9"), "\xc3\xbf\xc3\xa9");
    assert_reads(&codec_etf, BYTES("m\0\0\0\3abc"), "<<abc>>");
    assert_reads(&codec_etf, BYTES("m\0\0\0\0"), "<<>>");
    assert_reads(&codec_etf, BYTES("M\0\0\0\2\3a\xe0"), "11 bits of e061");
    assert_reads(&codec_etf, BYTES("M\0\0\0\2\10ab"), "<<ab>>"); /* all bits: a binary */
}

static void test_containers(void **state) {
    (void)state;

    assert_reads(&codec_etf, BYTES("h\0"), "{}");
    assert_reads(&codec_etf, BYTES("h\2a\1h\1j"), "{1,{[]}}");
    assert_reads(&codec_etf, BYTES("i\0\0\0\1a\1"), "{1}");
    assert_reads(&codec_etf, BYTES("t\0\0\0\0"), "#{}");
    assert_reads(&codec_etf, BYTES("t\0\0\0\2w\1ba\1w\1at\0\0\0\1a\2a\3"), "#{b,1,a,#{2,3}}");
}

static void test_lists(void **state) {
    (void)state;

    assert_reads(&codec_etf, BYTES("j"), "[]");
    assert_reads(&codec_etf, BYTES("k\0\0"), "[]");
    assert_reads(&codec_etf, BYTES("k\0\3\1\2\xff"), "[1,2,255]");
    assert_reads(&codec_etf, BYTES("l\0\0\0\2a\1l\0\0\0\1a\2jj"), "[1,[2]]");
    assert_reads(&codec_etf, BYTES("l\0\0\0\1a\1a\2"), "[1|2]");
    assert_reads(&codec_etf, BYTES("l\0\0\0\1a\1h\1k\0\1\2"), "[1|{[2]}]");
}

/* What the BEAM reads as one list is one list here. */
static void test_lists_in_pieces(void **state) {
    (void)state;

    assert_reads(&codec_etf, BYTES("l\0\0\0\0j"), "[]");
    assert_reads(&codec_etf, BYTES("l\0\0\0\0a\1"), "1");
    assert_reads(&codec_etf, BYTES("l\0\0\0\0l\0\0\0\1a\1l\0\0\0\0j"), "[1]");
    assert_reads(&codec_etf, BYTES("l\0\0\0\1a\1l\0\0\0\2a\2a\3j"), "[1,2,3]");
    assert_reads(&codec_etf, BYTES("l\0\0\0\1a\1l\0\0\0\1a\2a\3"), "[1,2|3]");
    assert_reads(&codec_etf, BYTES("l\0\0\0\1a\1l\0\0\0\1a\2k\0\2\3\4"), "[1,2,3,4]");
    assert_reads(&codec_etf, BYTES("l\0\0\0\1a\1k\0\0"), "[1]");
    assert_reads(&codec_etf, BYTES("h\2l\0\0\0\1a\1l\0\0\0\1a\2ja\3"), "{[1,2],3}");
}

static const char *why_unreadable(struct slice bytes) {
    struct arena arena;
    const char *reason = NULL;
    const struct stv_term *term;

    arena_init(&arena, NULL, 0);
    term = codec_etf.read(&arena, bytes, &reason);
    arena_finish(&arena);
    return term == NULL ? reason : NULL;
}

static void test_keys_differ(void **state) {
    (void)state;

    assert_non_null(strstr(why_unreadable(BYTES("t\0\0\0\2a\1ja\1j")), "key twice"));
    assert_non_null(strstr(why_unreadable(BYTES("t\0\0\0\2s\1aj"
                                                "d\0\1aj")),
                           "key twice"));
    assert_non_null(strstr(why_unreadable(BYTES("h\1t\0\0\0\2k\0\1\1jl\0\0\0\1a\1jj")), "key twice"));
    assert_null(why_unreadable(BYTES("t\0\0\0\2a\1jF\x3f\xf0\0\0\0\0\0\0j"))); /* 1 and 1.0 */
    assert_null(why_unreadable(BYTES("t\0\0\0\2w\1ajm\0\0\0\1aj")));           /* an atom and a binary */
}

/* --- Opening (PROTOCOL §3, §4) --- */

static void test_open(void **state) {
    struct opening opening;
    (void)state;

    assert_true(codec_etf.open(BYTES("\x83h\2a\1j"), &opening));
    assert_int_equal(opening.shape, SHAPE_MESSAGE);
    assert_int_equal(opening.count, 2);
    assert_int_equal(opening.body.length, 3);
    assert_true(codec_etf.open(BYTES("\x83i\0\0\0\1j"), &opening));
    assert_int_equal(opening.shape, SHAPE_MESSAGE);
    assert_true(codec_etf.open(BYTES("\x83l\0\0\0\1m\0\0\0\1aj"), &opening));
    assert_int_equal(opening.shape, SHAPE_BATCH);
    assert_int_equal(opening.count, 1);
    assert_true(codec_etf.open(BYTES("\x83j"), &opening));
    assert_int_equal(opening.shape, SHAPE_BATCH);
    assert_int_equal(opening.count, 0);
    assert_true(codec_etf.open(BYTES("\x83"
                                     "a\1"),
                               &opening));
    assert_int_equal(opening.shape, SHAPE_OTHER);
    assert_int_equal(opening.term.length, 2);
    assert_false(codec_etf.open(BYTES("\x83"), &opening));
    assert_false(codec_etf.open(BYTES("\x83h"), &opening));
    assert_false(codec_etf.open(BYTES("\x83h\3jj"), &opening));
    assert_false(codec_etf.open(BYTES("\x83i\0\0\0"), &opening));
    assert_false(codec_etf.open(BYTES("\x83l\xff\xff\xff\xffjj"), &opening));
}

/* --- Encoding --- */

static void assert_encodes(void (*put)(struct writer *writer), struct slice expected) {
    struct writer writer;

    writer_init(&writer, &codec_etf, 1000);
    writer_put_message(&writer, 1);
    put(&writer);
    assert_true(writer_is_complete(&writer));
    assert_int_equal(writer_size(&writer), 3 + expected.length);
    assert_memory_equal(writer.bytes, "\x83h\1", 3);
    assert_memory_equal(writer.bytes + 3, expected.bytes, expected.length);
    writer_finish(&writer);
}

static void put_small(struct writer *writer) {
    writer_put_tuple(writer, 7);
    writer_put_id(writer, 5); /* always tag 98 (PROTOCOL §5) */
    writer_put_int(writer, 255);
    writer_put_int(writer, -1);
    writer_put_symbol(writer, "ok");
    writer_put_nil(writer);
    writer_put_bool(writer, true);
    writer_put_double(writer, 1.0);
}

static void put_containers(struct writer *writer) {
    writer_put_list(writer, 3);
    writer_put_list(writer, 0);
    writer_put_map(writer, 1);
    writer_put_text(writer, "a");
    writer_put_bytes(writer, BYTES("\xff"));
    writer_put_list(writer, 1);
    writer_put_tuple(writer, 0);
}

static void put_largest(struct writer *writer) {
    writer_put_tuple(writer, 3);
    writer_put_int(writer, INT64_MIN);
    writer_put_uint(writer, UINT64_MAX);
    writer_put_int(writer, INT64_MAX);
}

static void test_encodings(void **state) {
    (void)state;

    assert_encodes(put_small, BYTES("h\7b\0\0\0\5a\xff"
                                    "b\xff\xff\xff\xffw\2okw\3nilw\4trueF\x3f\xf0\0\0\0\0\0\0"));
    assert_encodes(put_containers, BYTES("l\0\0\0\3jt\0\0\0\1m\0\0\0\1am\0\0\0\1\xffl\0\0\0\1h\0jj"));
    assert_encodes(put_largest, BYTES("h\3n\10\1\0\0\0\0\0\0\0\x80n\10\0\xff\xff\xff\xff\xff\xff\xff\xff"
                                      "n\10\0\xff\xff\xff\xff\xff\xff\xff\x7f"));
}

/* Decodes, encodes, and compares the bytes. */
static void assert_comes_back(struct slice bytes) {
    struct arena arena;
    struct writer writer;
    const char *reason;

    arena_init(&arena, NULL, 0);
    writer_init(&writer, &codec_etf, 100000);
    writer_put_message(&writer, 1);
    writer_put_term(&writer, codec_etf.read(&arena, bytes, &reason));
    assert_true(writer_is_complete(&writer));
    assert_int_equal(writer_size(&writer), 3 + bytes.length);
    assert_memory_equal(writer.bytes + 3, bytes.bytes, bytes.length);
    writer_finish(&writer);
    arena_finish(&arena);
}

static void test_terms_come_back(void **state) {
    uint8_t large_big[6 + 300] = {'o', 0, 0, 1, 44, 1};
    (void)state;

    memset(large_big + 6, 0xab, 300);
    assert_comes_back((struct slice){large_big, sizeof(large_big)});
    assert_comes_back(BYTES("n\11\1\1\2\3\4\5\6\7\10\11"));
    assert_comes_back(BYTES("n\10\0\0\0\0\0\0\0\0\x80"));
    assert_comes_back(BYTES("F\x80\0\0\0\0\0\0\0")); /* -0.0 */
    assert_comes_back(BYTES("w\4\xf0\x9f\x98\x80"));
    assert_comes_back(BYTES("w\0"));
    assert_comes_back(BYTES("M\0\0\0\2\3a\xe0"));
    assert_comes_back(BYTES("l\0\0\0\2a\1a\2a\3"));
    assert_comes_back(BYTES("l\0\0\0\2a\1l\0\0\0\1jjj"));
    assert_comes_back(BYTES("h\3t\0\0\0\2w\1bjw\1ajh\0j"));
    assert_comes_back(BYTES("t\0\0\0\2t\0\0\0\1a\1ja\1a\2j")); /* a map as a key */
}

/* An atom of 255 four-byte characters needs the two-byte length. */
static void test_longest_atom(void **state) {
    uint8_t bytes[3 + 1020] = {'v', 1020 >> 8, 1020 & 0xff};
    (void)state;

    for (size_t i = 3; i < sizeof(bytes); i += 4) {
        memcpy(bytes + i, "\xf0\x9f\x98\x80", 4);
    }
    assert_comes_back((struct slice){bytes, sizeof(bytes)});
}

static void test_deepest_comes_back(void **state) {
    uint8_t bytes[127 * 6 + 1];
    (void)state;

    for (size_t i = 0; i < 127; i++) {
        memcpy(bytes + 5 * i, "l\0\0\0\1", 5);
    }
    memset(bytes + 127 * 5, 'j', 128);
    assert_comes_back((struct slice){bytes, sizeof(bytes)});
}

static void test_batch_header(void **state) {
    uint8_t bytes[32];
    size_t length = codec_etf.put_batch_header(bytes, 1);
    struct opening opening;
    struct slice message;
    (void)state;

    length += codec_etf.put_batch_item(bytes + length, 2);
    memcpy(bytes + length, "xy", 2);
    length += 2;
    length += codec_etf.put_batch_end(bytes + length);
    assert_int_equal(length, 14);
    assert_memory_equal(bytes, "\x83l\0\0\0\1m\0\0\0\2xyj", 14); /* PROTOCOL §3 */
    assert_true(codec_etf.open((struct slice){bytes, length}, &opening));
    assert_int_equal(codec_etf.next_in_batch(&opening.body, &message), CHECK_OK);
    assert_int_equal(message.length, 2);
    assert_true(codec_etf.batch_ends(opening.body));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),     cmocka_unit_test(test_bigs),
        cmocka_unit_test(test_scalars),      cmocka_unit_test(test_containers),
        cmocka_unit_test(test_lists),        cmocka_unit_test(test_lists_in_pieces),
        cmocka_unit_test(test_keys_differ),  cmocka_unit_test(test_open),
        cmocka_unit_test(test_encodings),    cmocka_unit_test(test_terms_come_back),
        cmocka_unit_test(test_longest_atom), cmocka_unit_test(test_deepest_comes_back),
        cmocka_unit_test(test_batch_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
