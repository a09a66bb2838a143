/* JSON to terms and back (cli_json.h), and the base64 in it. */
#include "testing.h"

#include "base64.h"
#include "cli_json.h"

/* One text on its way: parsed, read, printed. */
struct trip {
    char *text;
    yyjson_doc *document;
    struct arena arena;
    struct cli_json_error error;
    const struct stv_term *term; /* NULL: refused */
};

static struct trip begin(const char *json) {
    struct trip trip = {.text = malloc(strlen(json) + 1 + CLI_JSON_PADDING)};
    strcpy(trip.text, json);
    arena_init(&trip.arena, NULL, 0);
    trip.document = cli_json_parse(trip.text, strlen(json), &trip.error);
    if (trip.document != NULL) {
        trip.term = cli_json_to_term(&trip.arena, yyjson_doc_get_root(trip.document), 1, &trip.error);
    }
    return trip;
}

static void finish(struct trip *trip) {
    yyjson_doc_free(trip->document);
    arena_finish(&trip->arena);
    free(trip->text);
}

static void assert_prints(const struct stv_term *term, const char *expected) {
    char *printed = NULL;
    size_t length;
    FILE *to = open_memstream(&printed, &length);
    assert_true(cli_json_print_term(to, term));
    fclose(to);
    assert_int_equal(printed[length - 1], '\n');
    printed[length - 1] = '\0';
    assert_string_equal(printed, expected);
    free(printed);
}

static void assert_trip(const char *json, const char *expected) {
    struct trip trip = begin(json);
    if (trip.term == NULL) {
        fail_msg("%s: %s", json, trip.error.message);
    }
    assert_prints(trip.term, expected);
    finish(&trip);
}

static void values_come_back_as_they_went(void **state) {
    (void)state;
    static const char *const values[] = {
        "null",
        "true",
        "false",
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551615",
        "1.5",
        "-0.0",
        "1e300",
        "\"\"",
        "\"text\"",
        "\"\\u0000\xc3\xa9\xf0\x9f\x98\x80\"",
        "[]",
        "[1,[2,[]],\"x\"]",
        "{}",
        "{\"a\":{\"b\":[null]}}",
        "{\"$a\":1,\"$b\":2}",
        "{\"$base64\":\"/w==\"}",
        "{\"$base64\":\"gIGCgw==\"}",
        "{\"$big\":\"0x10000000000000000\"}",
        "{\"$big\":\"-0x8000000000000001\"}",
        "{\"$bits\":[12,\"q8A=\"]}",
        "{\"$bits\":[1,\"gA==\"]}",
        "{\"$improper\":[1,2]}",
        "{\"$map\":[[1,\"one\"],[[2],\"two\"]]}",
        "{\"$map\":[[\"$base64\",\"a map, not a form\"]]}",
        "{\"$map\":[[null,1]]}",
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_trip(values[i], values[i]);
    }
}

static void what_json_cannot_tell_apart_prints_alike(void **state) {
    (void)state;
    assert_trip("{\"$atom\":\"ok\"}", "\"ok\"");
    assert_trip("{\"$atom\":\"nil\"}", "null");
    assert_trip("{\"$atom\":\"true\"}", "true");
    assert_trip("{\"$tuple\":[1,{\"$tuple\":[]}]}", "[1,[]]");
    assert_trip("{\"$base64\":\"aGk=\"}", "\"hi\"");
    assert_trip("{\"$base64\":\"\"}", "\"\"");
    assert_trip("{\"$bits\":[16,\"/w8=\"]}", "{\"$base64\":\"/w8=\"}");
    assert_trip("{\"$big\":\"-0x1F\"}", "-31");
    assert_trip("{\"$big\":\"-0x8000000000000000\"}", "-9223372036854775808");
    assert_trip("{\"$big\":\"0x0000000000000000000000\"}", "0");
    assert_trip("{\"$map\":[[\"a\",1]]}", "{\"a\":1}");
    assert_trip("{\"$map\":[[{\"$atom\":\"a\"},1]]}", "{\"a\":1}");
}

static void keys_that_would_look_alike_print_as_pairs(void **state) {
    (void)state;
    assert_trip("{\"$map\":[[{\"$atom\":\"a\"},1],[\"a\",2]]}", "{\"$map\":[[\"a\",1],[\"a\",2]]}");
    assert_trip("{\"$map\":[[\"a\",1],[{\"$base64\":\"YQ==\"},2]]}", "{\"$map\":[[\"a\",1],[\"a\",2]]}");
}

static void terms_are_what_the_protocol_means(void **state) {
    (void)state;
    struct trip trip =
        begin("[{\"$atom\":\"a\"},{\"$tuple\":[1]},18446744073709551615,{\"$bits\":[9,\"/4A=\"]},"
              "{\"$improper\":[1,2.5]},\"s\",{\"$base64\":\"cw==\"}]");
    assert_non_null(trip.term);
    static const enum stv_type types[] = {STV_ATOM, STV_TUPLE,  STV_BIG,   STV_BITSTRING,
                                          STV_LIST, STV_BINARY, STV_BINARY};
    for (size_t i = 0; i < stv_count(trip.term); i++) {
        assert_int_equal(stv_type(stv_item(trip.term, i)), types[i]);
    }
    bool negative;
    struct stv_bytes magnitude;
    assert_true(stv_term_big(stv_item(trip.term, 2), &negative, &magnitude));
    assert_false(negative);
    assert_int_equal(magnitude.size, 8);
    assert_int_equal(stv_term_bits(stv_item(trip.term, 3)), 1);
    assert_int_equal(stv_count(stv_item(trip.term, 4)), 1);
    double tail = 0;
    assert_true(stv_term_double(stv_tail(stv_item(trip.term, 4)), &tail));
    assert_true(tail == 2.5);
    assert_true(stv_item(trip.term, 5)->is_text);
    assert_false(stv_item(trip.term, 6)->is_text);
    finish(&trip);
}

/* `column` counts from 1; 0: not known. */
static void assert_refused(const char *json, const char *message, size_t column) {
    struct trip trip = begin(json);
    if (trip.term != NULL) {
        fail_msg("%s was accepted", json);
    }
    if (strstr(trip.error.message, message) == NULL) {
        fail_msg("%s: \"%s\" does not say \"%s\"", json, trip.error.message, message);
    }
    size_t at = trip.error.at == NULL ? 0 : (size_t)(trip.error.at - trip.text) + 1;
    if (at != column) {
        fail_msg("%s: column %zu instead of %zu", json, at, column);
    }
    finish(&trip);
}

static void errors_say_what_and_where(void **state) {
    (void)state;
    assert_refused("[1,", "not JSON", 4);
    assert_refused("[1] 2", "not JSON", 5);
    assert_refused("[18446744073709551616]", "18446744073709551616 is beyond 64 bits", 2);
    assert_refused("[-9223372036854775809]", "beyond 64 bits", 2);
    assert_refused("[1e999]", "beyond 64 bits", 2);
    assert_refused("[{\"$nonsense\":1}]", "unknown form \"$nonsense\"", 4);
    assert_refused("{\"$base64\":\"QUI\"}", "$base64 takes base64", 3);
    assert_refused("{\"$base64\":\"Q=I=\"}", "$base64 takes base64", 3);
    assert_refused("{\"$base64\":\" QUI\"}", "$base64 takes base64", 3);
    assert_refused("{\"$base64\":\"QUI=\\u0000\"}", "$base64 takes base64", 3);
    assert_refused("{\"$base64\":7}", "$base64 takes base64", 3);
    assert_refused("{\"$atom\":1}", "$atom takes a text", 3);
    assert_refused("{\"$tuple\":1}", "$tuple takes an array", 3);
    assert_refused("{\"$big\":\"12\"}", "$big takes an integer", 3);
    assert_refused("{\"$big\":\"0x\"}", "$big takes an integer", 3);
    assert_refused("{\"$big\":\"0x1g\"}", "$big takes an integer", 3);
    assert_refused("{\"$big\":12}", "$big takes an integer", 3);
    assert_refused("{\"$bits\":[9,\"/w==\"]}", "$bits says 9 bits and has 1 bytes", 3);
    assert_refused("{\"$bits\":[0,\"\"]}", "$bits takes", 3);
    assert_refused("{\"$bits\":[-8,\"/w==\"]}", "$bits", 3);
    assert_refused("{\"$bits\":\"/w==\"}", "$bits takes", 3);
    assert_refused("{\"$improper\":[1]}", "$improper takes", 3);
    assert_refused("{\"$improper\":[1,[2]]}", "cannot be a list", 3);
    assert_refused("{\"$map\":{\"a\":1}}", "$map takes an array", 3);
    assert_refused("{\"$map\":[[1,2],[3]]}", "element 2 is none", 3);
}

static char *nested(size_t levels) {
    char *text = malloc(2 * levels + 2);
    memset(text, '[', levels);
    text[levels] = '1';
    memset(text + levels + 1, ']', levels);
    text[2 * levels + 1] = '\0';
    return text;
}

static void assert_depth(size_t levels, bool is_accepted) {
    char *text = nested(levels);
    struct trip trip = begin(text);
    assert_int_equal(trip.term != NULL, is_accepted);
    if (!is_accepted) {
        assert_non_null(strstr(trip.error.message, "nested deeper than 128 levels"));
    }
    finish(&trip);
    free(text);
}

/* PROTOCOL §10, max_depth: 128 levels with the message's own. */
static void depth_is_bounded_whatever_the_text_does(void **state) {
    (void)state;
    assert_depth(127, true);
    assert_depth(128, false);
    assert_depth(1000000, false);
}

static void atoms_have_at_most_255_characters(void **state) {
    (void)state;
    char text[300];
    snprintf(text, sizeof text, "{\"$atom\":\"%0255d\"}", 0);
    struct trip trip = begin(text);
    assert_non_null(trip.term);
    finish(&trip);
    snprintf(text, sizeof text, "{\"$atom\":\"%0256d\"}", 0);
    assert_refused(text, "$atom takes a text of at most 255", 3);
}

static void base64_of_any_length_comes_back(void **state) {
    (void)state;
    uint32_t seed = 1;
    uint8_t bytes[200], decoded[201];
    char text[269];
    for (size_t length = 0; length <= sizeof bytes; length++) {
        for (size_t i = 0; i < length; i++) {
            bytes[i] = (uint8_t)next_random(&seed);
        }
        base64_encode((struct slice){bytes, length}, text);
        assert_int_equal(strlen(text), base64_encoded_length(length));
        size_t count;
        assert_true(base64_decode(text, strlen(text), decoded, &count));
        assert_int_equal(count, length);
        assert_memory_equal(decoded, bytes, length);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back_as_they_went),
        cmocka_unit_test(what_json_cannot_tell_apart_prints_alike),
        cmocka_unit_test(keys_that_would_look_alike_print_as_pairs),
        cmocka_unit_test(terms_are_what_the_protocol_means),
        cmocka_unit_test(errors_say_what_and_where),
        cmocka_unit_test(depth_is_bounded_whatever_the_text_does),
        cmocka_unit_test(atoms_have_at_most_255_characters),
        cmocka_unit_test(base64_of_any_length_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
