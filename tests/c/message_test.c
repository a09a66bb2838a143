/* message.h, PROTOCOL §3, §4, §8: every message also cut at every length, beside a forbidden page. */
#include "samples.h"

#include "message.h"

#define CALL            "\x83h\4w\4calla\7w\4echo"       /* {call, 7, echo, … */
#define CALL_WITH(opts) "\x83h\5w\4calla\7w\4echoj" opts /* {call, 7, echo, [], Opts} */

/* A message read from beside a forbidden page, which is kept for what the message borrows. */
struct outcome {
    enum message_verdict verdict;
    struct message message;
    const char *reason;
    struct guarded guarded;
};

static void read_guarded(struct outcome *outcome, struct slice bytes) {
    outcome->guarded = guarded_end(bytes.bytes, bytes.length);
    outcome->reason = NULL;
    outcome->verdict = message_read(outcome->guarded.slice, &outcome->message, &outcome->reason);
}

/* Whatever is cut off a message: it is broken, or was bad before the cut. */
static void assert_cut(struct slice bytes, enum message_verdict whole) {
    for (size_t length = 0; length < bytes.length; length++) {
        struct outcome outcome;
        read_guarded(&outcome, (struct slice){bytes.bytes, length});
        assert_int_not_equal(outcome.verdict, MESSAGE_OK);
        assert_non_null(outcome.reason);
        if (whole == MESSAGE_OK) {
            assert_int_equal(outcome.verdict, MESSAGE_BROKEN);
        }
        guarded_finish(&outcome.guarded);
    }
}

static struct outcome good(struct slice bytes) {
    struct outcome outcome;

    assert_cut(bytes, MESSAGE_OK);
    read_guarded(&outcome, bytes);
    if (outcome.verdict != MESSAGE_OK) {
        fail_msg("%s", outcome.reason);
    }
    return outcome;
}

static void assert_wrong(struct slice bytes, enum message_verdict verdict, int64_t id, const char *words) {
    struct outcome outcome;

    read_guarded(&outcome, bytes);
    assert_int_equal(outcome.verdict, verdict);
    assert_int_equal(outcome.message.id, id);
    assert_true(utf8_is_valid((struct slice){(const uint8_t *)outcome.reason, strlen(outcome.reason)}, NULL));
    if (strstr(outcome.reason, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", outcome.reason, words);
    }
    guarded_finish(&outcome.guarded);
    assert_cut(bytes, verdict);
}

static void assert_bad(struct slice bytes, int64_t id, const char *words) {
    assert_wrong(bytes, MESSAGE_BAD, id, words);
}

static void assert_slice(struct slice actual, struct slice expected) {
    assert_int_equal(actual.length, expected.length);
    assert_memory_equal(actual.bytes, expected.bytes, expected.length);
}

/* --- Calls (§4.1) --- */

static void assert_call(struct slice bytes, struct slice args) {
    struct outcome outcome = good(bytes);
    const struct message *message = &outcome.message;

    assert_int_equal(message->type, MESSAGE_CALL);
    assert_int_equal(message->id, 7);
    assert_slice(message->op, BYTES("echo"));
    assert_slice(message->args, args);
    assert_int_equal(message->timeout, 0);
    assert_int_equal(message->queue_timeout, 0);
    assert_int_equal(message->kill_after, 0);
    assert_int_equal(message->progress, 0);
    assert_int_equal(message->priority, MESSAGE_DEFAULT_PRIORITY);
    guarded_finish(&outcome.guarded);
}

static void test_calls(void **state) {
    (void)state;

    assert_call(BYTES(CALL "m\0\0\0\3abc"), BYTES("m\0\0\0\3abc"));
    assert_call(BYTES(CALL "h\2a\1k\0\1a"), BYTES("h\2a\1k\0\1a"));
    assert_call(BYTES(CALL_WITH("t\0\0\0\0")), BYTES("j"));
    assert_call(BYTES("\x83i\0\0\0\4m\0\0\0\4callb\0\0\0\7m\0\0\0\4echoj"), BYTES("j"));
    assert_call(BYTES("\x83h\4d\0\4calln\1\0\7s\4echoj"), BYTES("j"));
    assert_call(BYTES("\x94\xa4"
                      "call\7\xa4"
                      "echo\x91\1"),
                BYTES("\x91\1"));
    assert_call(BYTES("\xdc\0\4\xc4\4call\xcc\7\xc4\4echo\xc0"), BYTES("\xc0"));
    assert_call(BYTES("\xdd\0\0\0\5\xa4"
                      "call\7\xa4"
                      "echo\xc0\x80"),
                BYTES("\xc0"));
}

static void assert_all_options(struct slice bytes) {
    struct outcome outcome = good(bytes);

    assert_int_equal(outcome.message.timeout, 100);
    assert_int_equal(outcome.message.queue_timeout, INT32_MAX);
    assert_int_equal(outcome.message.kill_after, 50);
    assert_int_equal(outcome.message.progress, 1);
    assert_int_equal(outcome.message.priority, 0);
    guarded_finish(&outcome.guarded);
}

static void test_options(void **state) {
    (void)state;

    assert_all_options(BYTES(CALL_WITH("t\0\0\0\5w\7timeoutad"
                                       "m\0\0\0\15queue_timeoutb\x7f\xff\xff\xff"
                                       "w\12kill_aftera2"
                                       "w\10progressa\1w\10prioritya\0")));
    assert_all_options(BYTES("\x95\xa4"
                             "call\7\xa4"
                             "echo\xc0\x85\xa7timeoutd\xadqueue_timeout\xce\x7f\xff\xff\xff\xaakill_after\62"
                             "\xa8progress\1\xa8priority\0"));
}

static void test_wrong_options(void **state) {
    (void)state;

    assert_bad(
        BYTES(CALL_WITH("t\0\0\0\1w\6timouta\1")), 7,
        "unknown option \"timout\": options are timeout, queue_timeout, kill_after, progress, priority");
    assert_bad(BYTES(CALL_WITH("t\0\0\0\1m\0\0\0\2a\xff"
                               "a\1")),
               7, "unknown option \"a\xef\xbf\xbd\"");
    assert_bad(BYTES(CALL_WITH("t\0\0\0\1a\1a\1")), 7, "name of an option");
    assert_bad(BYTES(CALL_WITH("t\0\0\0\1w\7timeouta\0")), 7,
               "\"timeout\" must be an integer from 1 to 2147483647");
    assert_bad(BYTES(CALL_WITH("t\0\0\0\1w\7timeoutn\4\0\0\0\0\x80")), 7, "\"timeout\" must be");
    assert_bad(BYTES(CALL_WITH("t\0\0\0\1w\7timeoutw\10infinity")), 7, "\"timeout\" must be");
    assert_bad(BYTES(CALL_WITH("t\0\0\0\1w\12kill_aftera\0")), 7,
               "\"kill_after\" must be an integer from 1 to 2147483647");
    assert_bad(BYTES(CALL_WITH("t\0\0\0\1w\10prioritya\12")), 7,
               "\"priority\" must be an integer from 0 to 9");
    assert_bad(BYTES(CALL_WITH("t\0\0\0\1w\10prioritym\0\0\0\1"
                               "1")),
               7, "\"priority\" must be");
    assert_bad(BYTES(CALL_WITH("j")), 7, "map of options");
    assert_bad(BYTES(CALL_WITH("t\0\0\0\2w\7timeouta\1w\7timeouta\2")), 7, "key twice");
}

/* The longest name must not cut what comes after it out of the reason. */
static void test_long_unknown_option(void **state) {
    uint8_t bytes[sizeof(CALL_WITH("t\0\0\0\1m\0\0\3\xe8")) + 1000] = CALL_WITH("t\0\0\0\1m\0\0\3\xe8");
    size_t length = sizeof(CALL_WITH("t\0\0\0\1m\0\0\3\xe8")) - 1;
    (void)state;

    memset(bytes + length, 'n', 1000);
    bytes[length + 1000] = 'j';
    assert_bad((struct slice){bytes, length + 1001}, 7,
               "timeout, queue_timeout, kill_after, progress, priority (PROTOCOL");
}

static void test_wrong_calls(void **state) {
    (void)state;

    assert_bad(BYTES("\x83h\3w\4calla\7w\4echo"), 7, "{call, Id, Op, Args}");
    assert_bad(BYTES("\x83h\6w\4calla\7w\4echojt\0\0\0\0j"), 7, "{call, Id, Op, Args}");
    assert_bad(BYTES("\x83h\1w\4call"), MESSAGE_NO_ID, "{call, Id, Op, Args}");
    assert_bad(BYTES("\x83h\4w\4callb\xff\xff\xff\xffw\4echoj"), MESSAGE_NO_ID, "the id of a call");
    assert_bad(BYTES("\x83h\4w\4calln\4\0\0\0\0\x80w\4echoj"), MESSAGE_NO_ID, "the id of a call");
    assert_bad(BYTES("\x83h\4w\4callm\0\0\0\1"
                     "7w\4echoj"),
               MESSAGE_NO_ID, "the id of a call");
    assert_bad(BYTES("\x83h\4w\4calla\7a\1j"), 7, "names the op");
    assert_bad(BYTES("\x83h\4w\4calla\7w\0j"), 7, "names the op");
    assert_bad(BYTES("\x83h\4w\4calla\7k\0\4echoj"), 7, "names the op");
    assert_bad(BYTES("\x83h\4w\4calla\7s\1\xe9j"), 7, "Latin-1");
}

static void test_length_of_an_op(void **state) {
    uint8_t bytes[sizeof(CALL) + 300] = "\x83h\4w\4calla\7m\0\0\0\xff";
    struct outcome outcome;
    (void)state;

    memset(bytes + 16, 'o', 256);
    bytes[16 + 255] = 'j';
    outcome = good((struct slice){bytes, 16 + 255 + 1});
    assert_int_equal(outcome.message.op.length, 255);
    guarded_finish(&outcome.guarded);
    write_be32(bytes + 12, 256);
    bytes[16 + 255] = 'o';
    bytes[16 + 256] = 'j';
    assert_bad((struct slice){bytes, 16 + 256 + 1}, 7, "names the op");
    write_be32(bytes + 12, 2000);
    assert_wrong((struct slice){bytes, 16 + 256 + 1}, MESSAGE_BROKEN, MESSAGE_NO_ID, "past the end");
}

/* --- Cancel and stop (§4.2, §4.3) --- */

static void test_cancel(void **state) {
    struct outcome outcome = good(BYTES("\x83h\2w\6cancelb\x7f\xff\xff\xff"));
    (void)state;

    assert_int_equal(outcome.message.type, MESSAGE_CANCEL);
    assert_int_equal(outcome.message.id, INT32_MAX);
    guarded_finish(&outcome.guarded);
    assert_bad(BYTES("\x83h\1w\6cancel"), MESSAGE_NO_ID, "{cancel, Id}");
    assert_bad(BYTES("\x83h\3w\6cancela\1j"), MESSAGE_NO_ID, "{cancel, Id}");
    assert_bad(BYTES("\x83h\2w\6cancelb\xff\xff\xff\xff"), MESSAGE_NO_ID, "{cancel, Id}");
    assert_bad(BYTES("\x83h\3w\6cancela\1X"), MESSAGE_NO_ID, "a pid"); /* §8: never with the id */
}

static void assert_stop(struct slice bytes, int64_t grace) {
    struct outcome outcome = good(bytes);

    assert_int_equal(outcome.message.type, MESSAGE_STOP);
    assert_int_equal(outcome.message.grace, grace);
    assert_int_equal(outcome.message.id, MESSAGE_NO_ID);
    guarded_finish(&outcome.guarded);
}

static void test_stop(void **state) {
    (void)state;

    assert_stop(BYTES("\x83h\1w\4stop"), -1);
    assert_stop(BYTES("\x83h\2w\4stopa\0"), 0);
    assert_stop(BYTES("\x92\xa4stop\xcd\x13\x88"), 5000);
    assert_bad(BYTES("\x83h\2w\4stopb\xff\xff\xff\xff"), MESSAGE_NO_ID, "{stop, Ms}");
    assert_bad(BYTES("\x83h\2w\4stopw\3nil"), MESSAGE_NO_ID, "{stop, Ms}");
    assert_bad(BYTES("\x83h\3w\4stopa\1a\1"), MESSAGE_NO_ID, "{stop, Ms}");
}

/* --- Three grades of wrong (§8) --- */

static void test_bad_messages_that_carry_an_id(void **state) {
    (void)state;

    assert_bad(BYTES("\x83h\2w\4warna\7"), 7, "unknown message");
    assert_bad(BYTES("\x83h\2a\1a\7"), 7, "unknown message");
    assert_bad(BYTES(CALL "X"), 7, "a pid");
    assert_bad(BYTES("\x83h\4w\4calla\7Xj"), 7, "a pid");
    assert_bad(BYTES("\x83h\2t\0\0\0\2a\1ja\1ja\7"), 7, "unknown message");
    assert_bad(BYTES("\x94\xa4"
                     "call\7\xa4"
                     "echo\xd4\1\1"),
               7, "an ext");
}

static void test_bad_messages_without_an_id(void **state) {
    (void)state;

    assert_bad(BYTES("\x83h\0"), MESSAGE_NO_ID, "unknown message");
    assert_bad(BYTES("\x83h\1w\4warn"), MESSAGE_NO_ID, "unknown message");
    assert_bad(BYTES("\x83h\4Xa\7w\4echoj"), MESSAGE_NO_ID, "a pid");
    assert_bad(BYTES("\x83h\4w\4callXw\4echoj"), MESSAGE_NO_ID, "a pid");
    assert_bad(BYTES("\x83"
                     "a\1"),
               MESSAGE_NO_ID, "neither a message");
    assert_bad(BYTES("\x83t\0\0\0\0"), MESSAGE_NO_ID, "neither a message");
    assert_bad(BYTES("\x83k\0\3abc"), MESSAGE_NO_ID, "neither a message");
    assert_bad(BYTES("\x83l\0\0\0\1a\1j"), MESSAGE_NO_ID, "neither a message");
    assert_bad(BYTES("\x83P\0\0\0\1abcdef"), MESSAGE_NO_ID, "compressed");
    assert_bad(BYTES("\x90"), MESSAGE_NO_ID, "unknown message");
}

static void test_broken_streams(void **state) {
    (void)state;

    assert_wrong(BYTES(""), MESSAGE_BROKEN, MESSAGE_NO_ID, "empty");
    assert_wrong(BYTES("x"), MESSAGE_BROKEN, MESSAGE_NO_ID, "PROTOCOL §2");
    assert_wrong(BYTES("\x83"), MESSAGE_BROKEN, MESSAGE_NO_ID, "past the end");
    assert_wrong(BYTES("\x83h\5jj"), MESSAGE_BROKEN, MESSAGE_NO_ID, "past the end");
    assert_wrong(BYTES(CALL "m\0\0\0\4abc"), MESSAGE_BROKEN, MESSAGE_NO_ID, "past the end");
    assert_wrong(BYTES("\x83h\2w\4warnm\0\0\0\4abc"), MESSAGE_BROKEN, MESSAGE_NO_ID, "past the end");
    assert_wrong(BYTES("\x83m\0\0\0\1"), MESSAGE_BROKEN, MESSAGE_NO_ID, "past the end");
    assert_wrong(BYTES("\xdd\xff\xff\xff\xff\xa4"), MESSAGE_BROKEN, MESSAGE_NO_ID, "past the end");
}

static void test_trailing_bytes(void **state) {
    struct outcome outcome;
    (void)state;

    read_guarded(&outcome, BYTES(CALL "j\0"));
    assert_int_equal(outcome.verdict, MESSAGE_BAD);
    assert_int_equal(outcome.message.id, 7);
    assert_non_null(strstr(outcome.reason, "bytes follow"));
    guarded_finish(&outcome.guarded);
}

/* §8: from left to right. What comes after a refused term cannot be known. */
static void test_the_first_thing_wrong_decides(void **state) {
    (void)state;

    assert_bad(BYTES(CALL "h\2Xm\0\0\0\4"), 7, "a pid");
    assert_wrong(BYTES(CALL "h\2m\0\0\0\4X"), MESSAGE_BROKEN, MESSAGE_NO_ID, "past the end");
}

/* §10: the message's own level is one of the 128. */
static void test_depth(void **state) {
    uint8_t bytes[sizeof(CALL) + 300] = CALL;
    size_t length = sizeof(CALL) - 1;
    struct outcome outcome;
    (void)state;

    for (size_t level = 1; level < 128; level++, length += 2) {
        memcpy(bytes + length, "h\1", 2);
    }
    bytes[length] = 'j';
    read_guarded(&outcome, (struct slice){bytes, length + 1});
    assert_int_equal(outcome.verdict, MESSAGE_OK);
    guarded_finish(&outcome.guarded);
    memcpy(bytes + length, "h\1j", 3);
    read_guarded(&outcome, (struct slice){bytes, length + 3});
    assert_int_equal(outcome.verdict, MESSAGE_BAD);
    assert_int_equal(outcome.message.id, 7);
    assert_non_null(strstr(outcome.reason, "max_depth"));
    guarded_finish(&outcome.guarded);
}

/* One budget for all elements, and a message of a million elements is refused early. */
static void test_terms(void **state) {
    uint32_t count = CHECK_MAX_TERMS + 1;
    uint8_t *bytes = malloc(6 + count);
    struct message message;
    const char *reason;
    (void)state;

    memcpy(bytes, "\x83i", 2);
    write_be32(bytes + 2, count);
    memset(bytes + 6, 'j', count);
    assert_int_equal(message_read((struct slice){bytes, 6 + count}, &message, &reason), MESSAGE_BAD);
    assert_non_null(strstr(reason, "max_terms"));
    free(bytes);
}

/* --- Batches (§3) --- */

static enum batch_verdict open_guarded(struct slice frame, size_t *messages, size_t *size) {
    struct guarded guarded = guarded_end(frame.bytes, frame.length);
    struct batch batch;
    struct slice message;
    enum batch_verdict verdict = batch_open(guarded.slice, &batch);

    *messages = 0;
    *size = 0;
    while (verdict == BATCH_OK && batch_next(&batch, &message)) {
        (*messages)++;
        *size += message.length;
    }
    guarded_finish(&guarded);
    return verdict;
}

static void assert_batch(struct slice frame, size_t messages, size_t size) {
    size_t found, found_size;

    assert_int_equal(open_guarded(frame, &found, &found_size), BATCH_OK);
    assert_int_equal(found, messages);
    assert_int_equal(found_size, size);
    for (size_t length = 0; length < frame.length; length++) {
        assert_int_not_equal(open_guarded((struct slice){frame.bytes, length}, &found, &found_size),
                             BATCH_OK);
    }
}

static void test_batches(void **state) {
    (void)state;

    assert_batch(BYTES("\x83l\0\0\0\2m\0\0\0\3abcm\0\0\0\1dj"), 2, 4);
    assert_batch(BYTES("\x83l\0\0\0\1m\0\0\0\0j"), 1, 0);
    assert_batch(BYTES("\x83j"), 0, 0);
    assert_batch(BYTES("\x92\xc4\3abc\xc6\0\0\0\1d"), 2, 4);
    assert_batch(BYTES("\xdc\0\1\xc5\0\1a"), 1, 1);
    assert_batch(BYTES("\x90"), 0, 0);
}

static void assert_no_batch(struct slice frame, enum batch_verdict expected) {
    size_t messages, size;
    assert_int_equal(open_guarded(frame, &messages, &size), expected);
}

static void test_no_batches(void **state) {
    (void)state;

    assert_no_batch(BYTES(CALL "j"), BATCH_NONE);
    assert_no_batch(BYTES("\x94\xa4"
                          "call\7\xa4"
                          "echo\xc0"),
                    BATCH_NONE);
    assert_no_batch(BYTES("\x92\xc4\6cancel\1"), BATCH_NONE); /* a tag may be bin: a message */
    assert_no_batch(BYTES("\x83l\0\0\0\2m\0\0\0\1aa\1j"), BATCH_NONE);
    assert_no_batch(BYTES("\x83l\0\0\0\1m\0\0\0\1aa\1"), BATCH_NONE); /* improper */
    assert_no_batch(BYTES("\x83l\0\0\0\1m\0\0\0\1ajj"), BATCH_NONE);
    assert_no_batch(BYTES("\x83k\0\1a"), BATCH_NONE);
    assert_no_batch(BYTES("x"), BATCH_NONE);
    assert_no_batch(BYTES(""), BATCH_NONE);
    assert_no_batch(BYTES("\x91\xc4\1a\0"), BATCH_NONE); /* bytes after it */
    assert_no_batch(BYTES("\x83l\0\0\0\1m\0\0\0\2a"), BATCH_BROKEN);
    assert_no_batch(BYTES("\x83l\xff\xff\xff\xffm\0\0\0\2a"), BATCH_BROKEN);
    assert_no_batch(BYTES("\x83l\0\0\0\2m\0\0\0\1a"), BATCH_BROKEN);
    assert_no_batch(BYTES("\x92\xc4\1a\xc4\2a"), BATCH_BROKEN);
}

/* What is no batch although it looks like one is told apart by message_read. */
static void test_no_batches_as_messages(void **state) {
    struct outcome outcome = good(BYTES("\x92\xc4\6cancel\1"));
    (void)state;

    assert_int_equal(outcome.message.type, MESSAGE_CANCEL);
    guarded_finish(&outcome.guarded);
    assert_bad(BYTES("\x83l\0\0\0\2m\0\0\0\1aa\1j"), MESSAGE_NO_ID, "neither a message nor a batch");
    assert_bad(BYTES("\x91\xc4\1a\0"), MESSAGE_NO_ID, "bytes follow");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_long_unknown_option),
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_length_of_an_op),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_bad_messages_that_carry_an_id),
        cmocka_unit_test(test_bad_messages_without_an_id),
        cmocka_unit_test(test_broken_streams),
        cmocka_unit_test(test_trailing_bytes),
        cmocka_unit_test(test_the_first_thing_wrong_decides),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_no_batches),
        cmocka_unit_test(test_no_batches_as_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
