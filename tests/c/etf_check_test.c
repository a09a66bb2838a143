/* etf_check.h, PROTOCOL §9.1: every sample also cut at every length, beside a forbidden page. */
#include "samples.h"

#include "etf_check.h"

static void test_accepted_terms(void **state) {
    (void)state;

    assert_accepted(&codec_etf, BYTES("a\xff"));
    assert_accepted(&codec_etf, BYTES("b\xff\xff\xff\xff"));
    assert_accepted(&codec_etf, BYTES("n\0\0"));
    assert_accepted(&codec_etf, BYTES("n\11\1\1\2\3\4\5\6\7\10\11"));
    assert_accepted(&codec_etf, BYTES("o\0\0\0\3\0abc"));
    assert_accepted(&codec_etf, BYTES("F\x3f\xf0\0\0\0\0\0\0"));
    assert_accepted(&codec_etf, BYTES("F\xff\xef\xff\xff\xff\xff\xff\xff")); /* the lowest */
    assert_accepted(&codec_etf, BYTES("w\2ok"));
    assert_accepted(&codec_etf, BYTES("w\0"));
    assert_accepted(&codec_etf, BYTES("w\2\xc3\xa9"));
    assert_accepted(&codec_etf, BYTES("v\0\4\xf0\x9f\x98\x80"));
    assert_accepted(&codec_etf, BYTES("s\2\xe9\xff"));
    assert_accepted(&codec_etf, BYTES("d\0\3abc"));
    assert_accepted(&codec_etf, BYTES("m\0\0\0\0"));
    assert_accepted(&codec_etf, BYTES("m\0\0\0\3abc"));
    assert_accepted(&codec_etf, BYTES("M\0\0\0\1\1\x80"));
    assert_accepted(&codec_etf, BYTES("M\0\0\0\2\10ab"));
    assert_accepted(&codec_etf, BYTES("h\0"));
    assert_accepted(&codec_etf, BYTES("h\3a\1a\2h\1j"));
    assert_accepted(&codec_etf, BYTES("i\0\0\0\2a\1a\2"));
    assert_accepted(&codec_etf, BYTES("j"));
    assert_accepted(&codec_etf, BYTES("k\0\3abc"));
    assert_accepted(&codec_etf, BYTES("k\0\0"));
    assert_accepted(&codec_etf, BYTES("l\0\0\0\2a\1a\2j"));
    assert_accepted(&codec_etf, BYTES("l\0\0\0\1a\1a\2"));                 /* improper */
    assert_accepted(&codec_etf, BYTES("l\0\0\0\0j"));                      /* as on the BEAM: [] */
    assert_accepted(&codec_etf, BYTES("l\0\0\0\0l\0\0\0\0l\0\0\0\1a\1j")); /* [1] */
    assert_accepted(&codec_etf, BYTES("t\0\0\0\0"));
    assert_accepted(&codec_etf, BYTES("t\0\0\0\2w\1aa\1w\1bt\0\0\0\1jj"));
}

static void test_refused_tags_say_what_they_are(void **state) {
    static const struct {
        uint8_t tag;
        const char *words;
    } refused[] = {
        {88, "a pid"},        {103, "a pid"},      {89, "a port"},          {102, "a port"},
        {120, "a port"},      {90, "a reference"}, {101, "a reference"},    {114, "a refer"},
        {112, "a fun"},       {113, "a fun"},      {117, "a fun"},          {80, "compressed"},
        {121, "local"},       {67, "a record"},    {99, "a float as text"}, {0, "unknown tag"},
        {131, "unknown tag"}, {255, "unknown"},    {78, "unknown tag"},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(refused); i++) {
        uint8_t term[40] = {refused[i].tag};
        uint8_t inside[] = {'h', 2, 'a', 1, refused[i].tag};
        assert_not_accepted(&codec_etf, (struct slice){term, sizeof(term)}, CHECK_REFUSED, refused[i].words);
        assert_not_accepted(&codec_etf, (struct slice){inside, sizeof(inside)}, CHECK_REFUSED,
                            refused[i].words);
    }
}

static void test_only_the_tags_of_the_protocol(void **state) {
    static const char accepted[] = "FMabdhijklmnostvw";
    (void)state;

    for (int tag = 0; tag < 256; tag++) {
        uint8_t alone = (uint8_t)tag;
        bool known = tag != 0 && strchr(accepted, tag) != NULL;
        size_t used;
        const char *reason;
        enum check_verdict verdict =
            check_guarded(&codec_etf, (struct slice){&alone, 1}, true, &used, &reason);
        assert_int_equal(verdict, tag == 'j' ? CHECK_OK : known ? CHECK_BROKEN : CHECK_REFUSED);
    }
}

static void test_refused_values(void **state) {
    (void)state;

    assert_not_accepted(&codec_etf, BYTES("F\x7f\xf0\0\0\0\0\0\0"), CHECK_REFUSED, "infinite");
    assert_not_accepted(&codec_etf, BYTES("F\xff\xf8\0\0\0\0\0\0"), CHECK_REFUSED, "not a number");
    assert_not_accepted(&codec_etf, BYTES("w\2\xc3("), CHECK_REFUSED, "UTF-8");
    assert_not_accepted(&codec_etf, BYTES("w\3\xed\xa0\x80"), CHECK_REFUSED, "UTF-8"); /* a surrogate */
    assert_not_accepted(&codec_etf, BYTES("v\0\2\xc0\x80"), CHECK_REFUSED, "UTF-8");   /* overlong */
    assert_not_accepted(&codec_etf, BYTES("M\0\0\0\0\0"), CHECK_REFUSED, "bitstring");
    assert_not_accepted(&codec_etf, BYTES("M\0\0\0\1\0a"), CHECK_REFUSED, "bitstring");
    assert_not_accepted(&codec_etf, BYTES("M\0\0\0\1\11a"), CHECK_REFUSED, "bitstring");
    assert_not_accepted(&codec_etf, BYTES("n\1\2a"), CHECK_REFUSED, "sign");
    assert_not_accepted(&codec_etf,
                        BYTES("o\0\0\0\1\xff"
                              "a"),
                        CHECK_REFUSED, "sign");
}

static void test_lies_are_broken(void **state) {
    (void)state;

    assert_not_accepted(&codec_etf, BYTES("m\0\0\0\4abc"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("m\xff\xff\xff\xf0"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("M\xff\xff\xff\xff\1a"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("w\3ab"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("v\xff\xff"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf,
                        BYTES("d\xff\xff"
                              "ab"),
                        CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("k\xff\xff"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("n\xff\1"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("o\xff\xff\xff\xff\1"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("h\3a\1"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("i\x7f\xff\xff\xff\xff"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf,
                        BYTES("i\xff\xff\xff\xff"
                              "aa"),
                        CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("l\0\0\0\1j"), CHECK_BROKEN, "past the end"); /* no tail */
    assert_not_accepted(&codec_etf,
                        BYTES("l\xff\xff\xff\xff"
                              "aaj"),
                        CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("t\x80\0\0\0"), CHECK_BROKEN,
                        "past the end"); /* twice that is 2^32 */
    assert_not_accepted(&codec_etf, BYTES("t\0\0\0\1j"), CHECK_BROKEN, "past the end");
    assert_not_accepted(&codec_etf, BYTES("l\0\0\0\0"), CHECK_BROKEN, "past the end");
}

/* --- Limits (PROTOCOL §10) --- */

static enum check_verdict check_bytes(struct slice bytes, uint32_t depth, const char **reason) {
    struct check check = fresh_check(&codec_etf);
    size_t used;
    enum check_verdict verdict;

    check.depth = depth;
    verdict = etf_check(&check, bytes, &used);
    *reason = check.reason;
    return verdict;
}

/* `levels` lists around nothing. */
static enum check_verdict check_nested(uint32_t levels, uint32_t depth) {
    uint8_t bytes[6 * 200 + 1];
    size_t length = 0;
    const char *reason;

    for (uint32_t i = 0; i < levels; i++) {
        memcpy(bytes + length, "l\0\0\0\1", 5);
        length += 5;
    }
    memset(bytes + length, 'j', levels + 1);
    return check_bytes((struct slice){bytes, length + levels + 1}, depth, &reason);
}

static void test_depth(void **state) {
    const char *reason;
    (void)state;

    assert_int_equal(check_nested(128, 0), CHECK_OK);
    assert_int_equal(check_nested(129, 0), CHECK_REFUSED);
    assert_int_equal(check_nested(127, 1), CHECK_OK);
    assert_int_equal(check_nested(128, 1), CHECK_REFUSED);
    assert_int_equal(check_bytes(BYTES("h\0"), 127, &reason), CHECK_OK); /* an empty tuple is a level */
    assert_int_equal(check_bytes(BYTES("h\0"), 128, &reason), CHECK_REFUSED);
}

static void test_endless_nesting_is_refused_early(void **state) {
    const char *reason;
    struct slice bytes = {malloc(2 << 20), 2 << 20};
    (void)state;

    for (size_t i = 0; i < bytes.length; i += 2) {
        memcpy((uint8_t *)bytes.bytes + i, "h\1", 2);
    }
    assert_int_equal(check_bytes(bytes, 0, &reason), CHECK_REFUSED);
    assert_non_null(strstr(reason, "max_depth"));
    free((void *)bytes.bytes);
}

/* A list of `count` empty lists; or of strings of 65535 bytes, which together have as many. */
static enum check_verdict check_many(uint32_t count) {
    uint8_t *bytes = malloc(count + 6);
    const char *reason;
    enum check_verdict verdict;

    bytes[0] = 'l';
    write_be32(bytes + 1, count);
    memset(bytes + 5, 'j', count + 1);
    verdict = check_bytes((struct slice){bytes, count + 6}, 0, &reason);
    assert_true(verdict == CHECK_OK || strstr(reason, "max_terms") != NULL);
    free(bytes);
    return verdict;
}

static void test_terms(void **state) {
    (void)state;

    assert_int_equal(check_many(CHECK_MAX_TERMS - 1), CHECK_OK); /* and the list itself */
    assert_int_equal(check_many(CHECK_MAX_TERMS), CHECK_REFUSED);
}

static void test_string_bytes_are_terms(void **state) {
    struct check check = {.max_depth = 1, .terms_left = 4};
    size_t used;
    (void)state;

    assert_int_equal(etf_check(&check, BYTES("k\0\3abc"), &used), CHECK_OK);
    assert_int_equal(check.terms_left, 0);
    check.terms_left = 3;
    assert_int_equal(etf_check(&check, BYTES("k\0\3abc"), &used), CHECK_REFUSED);
}

static void test_budget_is_carried_on(void **state) {
    struct check check = {.max_depth = 2, .terms_left = 5};
    size_t used;
    (void)state;

    assert_int_equal(etf_check(&check, BYTES("h\2jj"), &used), CHECK_OK);
    assert_int_equal(check.terms_left, 2);
    assert_int_equal(etf_check(&check, BYTES("h\2jj"), &used), CHECK_REFUSED);
    check.terms_left = 0;
    assert_int_equal(etf_check(&check, BYTES("j"), &used), CHECK_REFUSED);
}

static enum check_verdict check_big(uint32_t length) {
    uint8_t bytes[CHECK_MAX_BIG + 100] = {'o'};
    const char *reason;

    write_be32(bytes + 1, length);
    return check_bytes((struct slice){bytes, 6 + length}, 0, &reason);
}

static void test_integer_size(void **state) {
    (void)state;

    assert_int_equal(check_big(CHECK_MAX_BIG), CHECK_OK);
    assert_int_equal(check_big(CHECK_MAX_BIG + 1), CHECK_REFUSED);
}

/* An atom with a two-byte length and so many characters, each `character`. */
static enum check_verdict check_atom(uint8_t tag, const char *character, size_t count) {
    uint8_t bytes[3 + 4 * 300] = {tag};
    size_t size = strlen(character);
    const char *reason;

    bytes[1] = (uint8_t)(count * size >> 8);
    bytes[2] = (uint8_t)(count * size);
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes + 3 + i * size, character, size);
    }
    return check_bytes((struct slice){bytes, 3 + count * size}, 0, &reason);
}

static void test_atom_length_is_in_characters(void **state) {
    (void)state;

    assert_int_equal(check_atom('v', "\xf0\x9f\x98\x80", 255), CHECK_OK);
    assert_int_equal(check_atom('v', "\xf0\x9f\x98\x80", 256), CHECK_REFUSED);
    assert_int_equal(check_atom('v', "a", 256), CHECK_REFUSED);
    assert_int_equal(check_atom('d', "\xe9", 255), CHECK_OK);
    assert_int_equal(check_atom('d', "\xe9", 256), CHECK_REFUSED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted_terms),
        cmocka_unit_test(test_refused_tags_say_what_they_are),
        cmocka_unit_test(test_only_the_tags_of_the_protocol),
        cmocka_unit_test(test_refused_values),
        cmocka_unit_test(test_lies_are_broken),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_endless_nesting_is_refused_early),
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_string_bytes_are_terms),
        cmocka_unit_test(test_budget_is_carried_on),
        cmocka_unit_test(test_integer_size),
        cmocka_unit_test(test_atom_length_is_in_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
