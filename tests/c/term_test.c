/* term.h, term_keys.h, and the term functions of stevedore.h */
#include "samples.h"

#include "term_keys.h"
#include "writer.h"

static struct arena arena;

static int begin(void **state) {
    (void)state;
    arena_init(&arena, NULL, 0);
    return 0;
}

static int end(void **state) {
    (void)state;
    arena_finish(&arena);
    return 0;
}

/* Any literal is kept by the program, so the term may borrow from it. */
static const struct stv_term *etf(struct slice bytes) {
    const char *reason = "";
    const struct stv_term *term = codec_etf.read(&arena, bytes, &reason);
    if (term == NULL) {
        fail_msg("%s", reason);
    }
    return term;
}

static void test_null_and_other_types_answer_nothing(void **state) {
    const struct stv_term *atom = etf(BYTES("w\1a"));
    const struct stv_term *none[] = {NULL, atom};
    (void)state;

    for (size_t i = 0; i < COUNT(none); i++) {
        int64_t integer = 7;
        double number = 7;
        bool boolean = true;
        struct stv_bytes bytes;
        assert_false(stv_term_int(none[i], &integer));
        assert_false(stv_term_double(none[i], &number));
        assert_false(stv_term_bool(none[i], &boolean));
        assert_false(stv_term_big(none[i], &boolean, &bytes));
        assert_int_equal(stv_term_bits(none[i]), 0);
        assert_int_equal(stv_count(none[i]), 0);
        assert_null(stv_item(none[i], 0));
        assert_null(stv_tail(none[i]));
        assert_null(stv_key(none[i], 0));
        assert_null(stv_value(none[i], 0));
        assert_null(stv_get(none[i], "a"));
        assert_int_equal(integer, 7);
        assert_true(boolean && number > 6);
    }
    assert_false(stv_term_is(NULL, ""));
    assert_false(stv_term_bytes(NULL, &(struct stv_bytes){0}));
    assert_false(stv_term_bytes(etf(BYTES("a\1")), &(struct stv_bytes){0}));
}

static void test_scalars(void **state) {
    int64_t integer;
    double number;
    bool boolean;
    struct stv_bytes bytes;
    (void)state;

    assert_true(stv_term_int(etf(BYTES("b\xff\xff\xff\xff")), &integer));
    assert_int_equal(integer, -1);
    assert_true(stv_term_double(etf(BYTES("F\x3f\xf8\0\0\0\0\0\0")), &number));
    assert_true(number > 1.4 && number < 1.6);
    assert_true(stv_term_double(etf(BYTES("a\2")), &number));
    assert_true(number > 1.9 && number < 2.1);
    assert_true(stv_term_bool(etf(BYTES("w\4true")), &boolean) && boolean);
    assert_true(stv_term_bool(etf(BYTES("w\5false")), &boolean) && !boolean);
    assert_false(stv_term_bool(etf(BYTES("m\0\0\0\4true")), &boolean));
    assert_true(stv_term_bytes(etf(BYTES("m\0\0\0\2ab")), &bytes));
    assert_memory_equal(bytes.data, "ab", 2);
    assert_true(stv_term_big(etf(BYTES("n\11\1\1\2\3\4\5\6\7\10\11")), &boolean, &bytes) && boolean);
    assert_int_equal(bytes.size, 9);
    assert_int_equal(stv_term_bits(etf(BYTES("M\0\0\0\1\5\xf8"))), 5);
    assert_int_equal(stv_type(etf(BYTES("j"))), STV_LIST);
}

static void test_is(void **state) {
    (void)state;

    assert_true(stv_term_is(etf(BYTES("w\1a")), "a"));
    assert_true(stv_term_is(etf(BYTES("m\0\0\0\1a")), "a"));
    assert_true(stv_term_is(etf(BYTES("m\0\0\0\0")), ""));
    assert_false(stv_term_is(etf(BYTES("w\2ab")), "a"));
    assert_false(stv_term_is(etf(BYTES("w\1a")), "ab"));
    assert_false(stv_term_is(etf(BYTES("M\0\0\0\1\7a")), "a"));
}

static void test_containers(void **state) {
    const struct stv_term *list = etf(BYTES("l\0\0\0\2a\1a\2a\3"));
    const struct stv_term *map = etf(BYTES("t\0\0\0\2w\1aa\1m\0\0\0\1ba\2"));
    int64_t value;
    (void)state;

    assert_int_equal(stv_count(list), 2);
    assert_true(stv_term_int(stv_item(list, 1), &value) && value == 2);
    assert_null(stv_item(list, 2));
    assert_true(stv_term_int(stv_tail(list), &value) && value == 3);
    assert_null(stv_key(list, 0));
    assert_int_equal(stv_count(map), 2);
    assert_null(stv_item(map, 0));
    assert_true(stv_term_is(stv_key(map, 1), "b"));
    assert_true(stv_term_int(stv_value(map, 0), &value) && value == 1);
    assert_null(stv_key(map, 2));
    assert_null(stv_value(map, 2));
    assert_true(stv_term_int(stv_get(map, "b"), &value) && value == 2);
    assert_null(stv_get(map, "c"));
}

/* All different from each other, in every way two terms may nearly be equal. */
static void test_equal_and_compare(void **state) {
    static const struct slice terms[] = {
        {(const uint8_t *)"a\1", 2},
        {(const uint8_t *)"b\xff\xff\xff\xff", 5},
        {(const uint8_t *)"F\x3f\xf0\0\0\0\0\0\0", 9},
        {(const uint8_t *)"F\0\0\0\0\0\0\0\0", 9},
        {(const uint8_t *)"F\x80\0\0\0\0\0\0\0", 9},
        {(const uint8_t *)"n\10\0\0\0\0\0\0\0\0\x80", 11},
        {(const uint8_t *)"n\11\0\0\0\0\0\0\0\0\x80\1", 12},
        {(const uint8_t *)"n\11\1\0\0\0\0\0\0\0\x80\1", 12},
        {(const uint8_t *)"w\1a", 3},
        {(const uint8_t *)"w\2ab", 4},
        {(const uint8_t *)"m\0\0\0\1a", 6},
        {(const uint8_t *)"m\0\0\0\0", 5},
        {(const uint8_t *)"M\0\0\0\1\3\xe0", 7},
        {(const uint8_t *)"M\0\0\0\1\4\xe0", 7},
        {(const uint8_t *)"M\0\0\0\2\3a\xe0", 8},
        {(const uint8_t *)"j", 1},
        {(const uint8_t *)"h\0", 2},
        {(const uint8_t *)"t\0\0\0\0", 5},
        {(const uint8_t *)"l\0\0\0\1a\1j", 8},
        {(const uint8_t *)"l\0\0\0\1a\1a\2", 9},
        {(const uint8_t *)"l\0\0\0\1a\1a\3", 9},
        {(const uint8_t *)"k\0\2\1\2", 5},
        {(const uint8_t *)"h\2a\1a\2", 6},
        {(const uint8_t *)"t\0\0\0\1a\1a\2", 9},
        {(const uint8_t *)"t\0\0\0\1a\1a\3", 9},
        {(const uint8_t *)"t\0\0\0\1a\2a\2", 9},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(terms); i++) {
        for (size_t j = 0; j < COUNT(terms); j++) {
            const struct stv_term *a = etf(terms[i]);
            const struct stv_term *b = etf(terms[j]);
            int order = term_compare(a, b);
            int back = term_compare(b, a);
            assert_true(term_equal(a, b) == (i == j));
            assert_true((order == 0) == (i == j));
            assert_true((order < 0) == (back > 0));
        }
    }
}

static void test_equal_values_in_other_clothes(void **state) {
    (void)state;

    assert_true(term_equal(etf(BYTES("k\0\1\1")), etf(BYTES("l\0\0\0\1a\1j"))));
    assert_true(term_equal(etf(BYTES("M\0\0\0\1\3\xe0")), etf(BYTES("M\0\0\0\1\3\xff")))); /* unused bits */
    assert_true(term_equal(etf(BYTES("t\0\0\0\2a\1a\2a\3a\4")), etf(BYTES("t\0\0\0\2a\3a\4a\1a\2"))));
    assert_false(term_equal(etf(BYTES("t\0\0\0\2a\1a\2a\3a\4")), etf(BYTES("t\0\0\0\2a\3a\2a\1a\4"))));
}

/* --- Keys --- */

/* A map of so many keys: the first `count` numbers in an order of no order, the last one replaced by `last`.
 */
static bool keys_differ(uint32_t count, int64_t last) {
    struct stv_term *items = arena_alloc(&arena, 2 * count * sizeof(*items));
    struct stv_term map = {.type = STV_MAP, .count = count, .items = items};

    for (uint32_t i = 0; i < count; i++) {
        int64_t key = i + 1 < count ? (int64_t)(i * 7919u % count) : last;
        items[2 * i] = (struct stv_term){.type = STV_INTEGER, .integer = key};
        items[2 * i + 1] = (struct stv_term){.type = STV_LIST};
    }
    return term_keys_differ(&map, false, &arena);
}

static void test_keys_of_small_and_large_maps(void **state) {
    static const uint32_t counts[] = {2, 3, 7, 8, 9, 10, 100, 5000, 200000};
    (void)state;

    for (size_t i = 0; i < COUNT(counts); i++) {
        assert_true(keys_differ(counts[i], -1));
        assert_false(keys_differ(counts[i], 0));
        assert_false(keys_differ(counts[i], (int64_t)((counts[i] - 2) * 7919u % counts[i])));
    }
    assert_true(keys_differ(0, 0));
    assert_true(keys_differ(1, 0));
}

static void test_order_of_a_map_is_kept(void **state) {
    const struct stv_term *map = etf(BYTES("t\0\0\0\3a\3ja\1ja\2j"));
    int64_t first;
    (void)state;

    assert_true(stv_term_int(stv_key(map, 0), &first) && first == 3);
}

/* Maps in keys, the same but for their order. */
static void test_equal_maps_as_keys(void **state) {
    const char *reason;
    (void)state;

    assert_null(codec_etf.read(&arena,
                               BYTES("t\0\0\0\2"
                                     "t\0\0\0\2a\1ja\2jj"
                                     "t\0\0\0\2a\2ja\1jj"),
                               &reason));
    assert_null(codec_etf.read(&arena,
                               BYTES("t\0\0\0\2"
                                     "h\1t\0\0\0\1jt\0\0\0\2a\1ja\2jj"
                                     "h\1t\0\0\0\1jt\0\0\0\2a\2ja\1jj"),
                               &reason));
    assert_null(codec_etf.read(&arena, BYTES("t\0\0\0\1t\0\0\0\2a\1ja\1jj"), &reason));
    etf(BYTES("t\0\0\0\2t\0\0\0\2a\1ja\2jjt\0\0\0\2a\2ja\3jj"));
}

/* A map of two keys, which are maps of two keys, … : must not take exponential time. Each level is
 * #{inner => [], #{x => [], 0 => []} => []}. */
static void test_maps_in_keys_in_maps_in_keys(void **state) {
    enum { LEVELS = 120 };
    struct writer writer;
    const char *reason = "";
    (void)state;

    writer_init(&writer, &codec_etf, 100000);
    writer_put_message(&writer, 1);
    for (int i = 0; i < LEVELS; i++) {
        writer_put_map(&writer, 2);
    }
    writer_put_int(&writer, 1);
    for (int i = 0; i < LEVELS; i++) {
        writer_put_list(&writer, 0);
        writer_put_map(&writer, 2);
        writer_put_int(&writer, 1);
        writer_put_list(&writer, 0);
        writer_put_int(&writer, 2);
        writer_put_list(&writer, 0);
        writer_put_list(&writer, 0);
    }
    assert_true(writer_is_complete(&writer));
    assert_non_null(codec_etf.read(&arena, (struct slice){writer.bytes + 1, writer.length - 1}, &reason));
    writer_finish(&writer);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_null_and_other_types_answer_nothing),
        TEST(test_scalars),
        TEST(test_is),
        TEST(test_containers),
        TEST(test_equal_and_compare),
        TEST(test_equal_values_in_other_clothes),
        TEST(test_keys_of_small_and_large_maps),
        TEST(test_order_of_a_map_is_kept),
        TEST(test_equal_maps_as_keys),
        TEST(test_maps_in_keys_in_maps_in_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
