/* writer.h: counting, limits, splices, rewinding. What the codecs make of each put is in their tests. */
#include "samples.h"

#include <math.h>

#include "writer.h"

#define LARGE (WRITER_SPLICE_MIN + 100u)

static const struct codec *const codecs[] = {&codec_etf, &codec_msgpack};

static void *filled(size_t size, int byte) {
    void *data = malloc(size);
    assert_non_null(data);
    memset(data, byte, size);
    return data;
}

/* The whole message in memory of exactly its size; the caller frees it. */
static struct slice copy_of(const struct writer *writer) {
    uint8_t *bytes = malloc(writer_size(writer));
    writer_copy(writer, bytes);
    return (struct slice){bytes, writer_size(writer)};
}

/* --- Counting --- */

static void test_complete_when_all_is_put(void **state) {
    (void)state;

    for (size_t i = 0; i < COUNT(codecs); i++) {
        struct writer writer;
        writer_init(&writer, codecs[i], 1000);
        assert_false(writer_is_complete(&writer));
        writer_put_message(&writer, 2);
        writer_put_list(&writer, 1);
        writer_put_map(&writer, 1);
        writer_put_int(&writer, 1);
        assert_false(writer_is_complete(&writer));
        writer_put_int(&writer, 2);
        assert_int_equal(writer.depth, 1);
        assert_int_equal(writer.open[0].left, 1);
        writer_put_list(&writer, 0);
        assert_true(writer_is_complete(&writer));
        writer_finish(&writer);
    }
}

static void test_one_too_many(void **state) {
    struct writer writer;
    (void)state;

    writer_init(&writer, &codec_etf, 1000);
    writer_put_message(&writer, 1);
    writer_put_nil(&writer);
    writer_put_nil(&writer);
    assert_int_equal(writer.error, WRITER_MALFORMED);
    assert_false(writer_is_complete(&writer));
    writer_finish(&writer);
}

static void test_only_inside_of_one_message(void **state) {
    struct writer writer;
    (void)state;

    writer_init(&writer, &codec_etf, 1000);
    writer_put_int(&writer, 1);
    assert_int_equal(writer.error, WRITER_MALFORMED);
    writer_finish(&writer);
    writer_put_message(&writer, 1);
    writer_put_message(&writer, 1);
    assert_int_equal(writer.error, WRITER_MALFORMED);
    writer_finish(&writer);
}

/* --- What is refused --- */

static void put_nan(struct writer *writer) {
    writer_put_double(writer, (double)NAN);
}

static void put_infinity(struct writer *writer) {
    writer_put_double(writer, (double)-INFINITY);
}

static void put_bad_text(struct writer *writer) {
    writer_put_text(writer, "\xff");
}

static void put_huge_map(struct writer *writer) {
    writer_put_map(writer, UINT32_MAX / 2 + 1);
}

static void put_too_deep(struct writer *writer) {
    for (int i = 0; i < 128; i++) {
        writer_put_list(writer, 1);
    }
}

static void test_malformed(void **state) {
    static void (*const puts[])(struct writer *) = {put_nan, put_infinity, put_bad_text, put_huge_map,
                                                    put_too_deep};
    (void)state;

    for (size_t i = 0; i < COUNT(puts) * COUNT(codecs); i++) {
        struct writer writer;
        size_t length;
        writer_init(&writer, codecs[i % COUNT(codecs)], 1000);
        writer_put_message(&writer, 2);
        puts[i / COUNT(codecs)](&writer);
        assert_int_equal(writer.error, WRITER_MALFORMED);
        length = writer.length;
        writer_put_int(&writer, 1); /* does nothing any more */
        assert_int_equal(writer.length, length);
        writer_finish(&writer);
    }
}

static void test_depth_of_each_codec(void **state) {
    (void)state;

    for (size_t i = 0; i < COUNT(codecs); i++) {
        struct writer writer;
        writer_init(&writer, codecs[i], 10000);
        writer_put_message(&writer, 1);
        for (uint32_t level = 1; level < codecs[i]->max_depth; level++) {
            writer_put_tuple(&writer, 1);
        }
        assert_int_equal(writer.error, WRITER_FINE);
        writer_put_tuple(&writer, 0); /* a level as well (check.h) */
        assert_int_equal(writer.error, WRITER_MALFORMED);
        writer_finish(&writer);
    }
}

/* --- Limits --- */

static void test_limit_is_of_the_whole_message(void **state) {
    uint8_t *data = filled(LARGE, 'x');
    size_t size = 3 + 5 + LARGE + 2;
    (void)state;

    for (size_t less = 0; less <= 1; less++) {
        struct writer writer;
        writer_init(&writer, &codec_etf, size - less);
        writer_put_message(&writer, 2);
        writer_put_borrowed(&writer, (struct slice){data, LARGE});
        writer_put_int(&writer, 1);
        assert_int_equal(writer.error, less ? WRITER_TOO_LARGE : WRITER_FINE);
        assert_true(less || writer_size(&writer) == size);
        writer_finish(&writer);
    }
    free(data);
}

static void test_limit_of_every_kind_of_binary(void **state) {
    uint8_t *data = filled(LARGE, 'x');
    struct writer writer;
    (void)state;

    writer_init(&writer, &codec_etf, LARGE - 1);
    writer_put_message(&writer, 1);
    writer_put_bytes(&writer, (struct slice){data, LARGE});
    assert_int_equal(writer.error, WRITER_TOO_LARGE);
    writer_finish(&writer);
    writer_put_message(&writer, 1);
    writer_put_owned(&writer, filled(LARGE, 'y'), LARGE); /* freed all the same */
    assert_int_equal(writer.error, WRITER_TOO_LARGE);
    writer_finish(&writer);
    writer_put_message(&writer, 1);
    writer_put_borrowed(&writer, (struct slice){data, (size_t)UINT32_MAX + 1}); /* not looked at */
    assert_int_equal(writer.error, WRITER_TOO_LARGE);
    writer_finish(&writer);
    free(data);
}

/* --- Splices --- */

static void put_parts(struct writer *writer, struct slice large, bool by_reference) {
    writer_put_message(writer, 4);
    for (int i = 0; i < 2; i++) {
        writer_put_int(writer, i);
        if (by_reference) {
            writer_put_borrowed(writer, large);
        } else {
            writer_put_bytes(writer, large);
        }
    }
}

static void test_spliced_is_the_same_as_copied(void **state) {
    struct slice large = {filled(LARGE, 'z'), LARGE};
    (void)state;

    for (size_t i = 0; i < COUNT(codecs); i++) {
        struct writer spliced, copied;
        struct slice a, b;
        writer_init(&spliced, codecs[i], 1 << 20);
        writer_init(&copied, codecs[i], 1 << 20);
        put_parts(&spliced, large, true);
        put_parts(&copied, large, false);
        assert_int_equal(spliced.splice_count, 2);
        assert_int_equal(copied.splice_count, 0);
        assert_ptr_equal(spliced.splices[0].bytes.bytes, large.bytes);
        a = copy_of(&spliced);
        b = copy_of(&copied);
        assert_int_equal(a.length, b.length);
        assert_memory_equal(a.bytes, b.bytes, a.length);
        free((void *)a.bytes);
        free((void *)b.bytes);
        writer_finish(&spliced);
        writer_finish(&copied);
    }
    free((void *)large.bytes);
}

static void test_owned_small_and_large(void **state) {
    static const size_t sizes[] = {0, 1, WRITER_SPLICE_MIN - 1, WRITER_SPLICE_MIN, LARGE};
    struct writer writer;
    struct slice whole;
    (void)state;

    writer_init(&writer, &codec_etf, 1 << 20);
    writer_put_message(&writer, COUNT(sizes));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        writer_put_owned(&writer, filled(sizes[i] + 1, 'o'), sizes[i]);
    }
    assert_true(writer_is_complete(&writer));
    assert_int_equal(writer.splice_count, 2);
    whole = copy_of(&writer);
    assert_memory_equal(whole.bytes + whole.length - LARGE - 5, "m\0\0\100\144oo", 7);
    free((void *)whole.bytes);
    writer_finish(&writer);
}

static void test_owned_is_freed_when_nothing_can_be_put(void **state) {
    struct writer writer;
    (void)state;

    writer_init(&writer, &codec_etf, 1 << 20);
    writer_put_owned(&writer, filled(10, 'a'), 10); /* before the message */
    writer_put_owned(&writer, filled(LARGE, 'a'), LARGE);
    writer_put_owned(&writer, NULL, 0);
    assert_int_equal(writer.error, WRITER_MALFORMED);
    assert_int_equal(writer.splice_count, 0);
    writer_finish(&writer);
}

static void test_many_splices(void **state) {
    struct slice large = {filled(WRITER_SPLICE_MIN, 'm'), WRITER_SPLICE_MIN};
    struct writer writer;
    (void)state;

    writer_init(&writer, &codec_msgpack, SIZE_MAX);
    writer_put_message(&writer, 1000);
    for (int i = 0; i < 1000; i++) {
        writer_put_borrowed(&writer, large);
    }
    assert_true(writer_is_complete(&writer));
    assert_int_equal(writer.splice_count, 1000);
    assert_int_equal(writer_size(&writer), 3 + 1000 * (3 + (size_t)WRITER_SPLICE_MIN));
    writer_finish(&writer);
    free((void *)large.bytes);
}

/* --- Starting anew --- */

static void test_zeroed_and_finished_twice(void **state) {
    struct writer writer = {0};
    (void)state;

    writer_finish(&writer);
    writer_finish(&writer);
    assert_int_equal(writer_size(&writer), 0);
    assert_false(writer_is_complete(&writer));
}

static void test_finish_leaves_it_ready_to_say_something_else(void **state) {
    struct writer writer;
    (void)state;

    writer_init(&writer, &codec_etf, 1 << 20);
    writer_put_message(&writer, 3);
    writer_put_owned(&writer, filled(LARGE, 'r'), LARGE);
    writer_put_list(&writer, 5);
    writer_put_text(&writer, "\xff");
    assert_int_equal(writer.error, WRITER_MALFORMED);
    writer_finish(&writer);
    writer_put_message(&writer, 1);
    writer_put_int(&writer, 1);
    assert_true(writer_is_complete(&writer));
    assert_int_equal(writer_size(&writer), 5);
    assert_memory_equal(writer.bytes, "\x83h\1a\1", 5);
    writer_finish(&writer);
}

/* --- Terms --- */

static void test_terms_borrow_large_binaries(void **state) {
    struct slice large = {filled(LARGE, 't'), LARGE};
    struct stv_term items[] = {
        {.type = STV_BINARY, .bytes = large},
        {.type = STV_BINARY, .is_text = true, .bytes = large},
    };
    struct stv_term list = {.type = STV_LIST, .count = 2, .items = items};
    struct writer writer;
    struct slice whole;
    (void)state;

    writer_init(&writer, &codec_msgpack, 1 << 20);
    writer_put_message(&writer, 1);
    writer_put_term(&writer, &list);
    assert_true(writer_is_complete(&writer));
    assert_int_equal(writer.splice_count, 2);
    whole = copy_of(&writer);
    assert_memory_equal(whole.bytes, "\x91\x92\xc5\x40\x64t", 6);
    assert_memory_equal(whole.bytes + 5 + LARGE, "\xda\x40\x64t", 4);
    free((void *)whole.bytes);
    writer_finish(&writer);
    free((void *)large.bytes);
}

static void test_terms_too_deep(void **state) {
    struct stv_term terms[200];
    struct writer writer;
    (void)state;

    for (size_t i = 0; i < 200; i++) {
        terms[i] = (struct stv_term){.type = STV_LIST, .count = 1, .items = &terms[i + 1]};
    }
    terms[199] = (struct stv_term){.type = STV_LIST};
    writer_init(&writer, &codec_etf, 100000);
    writer_put_message(&writer, 1);
    writer_put_term(&writer, &terms[72]); /* 127 levels, and the message */
    assert_true(writer_is_complete(&writer));
    writer_finish(&writer);
    writer_put_message(&writer, 1);
    writer_put_term(&writer, &terms[71]);
    assert_int_equal(writer.error, WRITER_MALFORMED);
    writer_finish(&writer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complete_when_all_is_put),
        cmocka_unit_test(test_one_too_many),
        cmocka_unit_test(test_only_inside_of_one_message),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_depth_of_each_codec),
        cmocka_unit_test(test_limit_is_of_the_whole_message),
        cmocka_unit_test(test_limit_of_every_kind_of_binary),
        cmocka_unit_test(test_spliced_is_the_same_as_copied),
        cmocka_unit_test(test_owned_small_and_large),
        cmocka_unit_test(test_owned_is_freed_when_nothing_can_be_put),
        cmocka_unit_test(test_many_splices),
        cmocka_unit_test(test_finish_leaves_it_ready_to_say_something_else),
        cmocka_unit_test(test_zeroed_and_finished_twice),
        cmocka_unit_test(test_terms_borrow_large_binaries),
        cmocka_unit_test(test_terms_too_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
