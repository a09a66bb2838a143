/* output: what arrives in the pipe is what was sent, frame by frame, whatever the sizes and however slowly it
 * is read. */
#include "testing.h"

#include <fcntl.h>
#include <unistd.h>

#include "frame.h"
#include "output.h"
#include "reply.h"

struct sink {
    uint8_t *bytes;
    size_t length;
    int gone;
    int progress;
    size_t released;
};

static struct sink sink;

static void on_gone(void *context) {
    ((struct sink *)context)->gone++;
}

static void on_progress(void *context) {
    ((struct sink *)context)->progress++;
}

static void on_release(void *owner) {
    writer_finish(owner);
    free(owner);
    sink.released++;
}

/* {ok, Id, <<0:Size/unit:8>>, {1, 2, 3}} */
static struct writer *make_reply(const struct codec *codec, uint32_t id, size_t size) {
    static const uint8_t zeros[1 << 20];
    struct writer *writer = malloc(sizeof *writer);
    writer_init(writer, codec, 1 << 24);
    reply_begin_ok(writer, id);
    writer_put_borrowed(writer, (struct slice){zeros, size});
    reply_end(writer, (struct receipt){1, 2, 3});
    assert_true(writer_is_complete(writer));
    return writer;
}

static void read_some(int fd) {
    uint8_t bytes[50000];
    ssize_t count = read(fd, bytes, sizeof bytes);
    if (count > 0) {
        sink.bytes = realloc(sink.bytes, sink.length + (size_t)count);
        memcpy(sink.bytes + sink.length, bytes, (size_t)count);
        sink.length += (size_t)count;
    }
}

struct fixture {
    uv_loop_t loop;
    struct output output;
    int reader;
};

static struct fixture *make(void) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    int ends[2];
    sink = (struct sink){0};
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    fixture->reader = ends[0];
    output_init(&fixture->output, &fixture->loop, ends[1], on_gone, on_progress, &sink);
    return fixture;
}

static void finish(struct fixture *fixture) {
    uv_close((uv_handle_t *)&fixture->output.poll, NULL);
    (void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    (void)close(fixture->output.fd);
    (void)close(fixture->reader);
    free(sink.bytes);
    free(fixture);
}

static void read_all(struct fixture *fixture) {
    for (int idle = 0; idle < 3; idle++) {
        size_t before = sink.length;
        (void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
        read_some(fixture->reader);
        if (sink.length > before || !output_is_done(&fixture->output)) {
            idle = 0;
        }
    }
}

/* Takes the next frame off the sink. */
static struct slice next_frame(size_t *at) {
    struct slice content;
    size_t needed;
    assert_int_equal(
        frame_next((struct slice){sink.bytes + *at, sink.length - *at}, 1 << 24, &content, &needed),
        FRAME_READY);
    *at += FRAME_HEADER + content.length;
    return content;
}

static uint32_t id_of(struct slice etf) {
    assert_true(etf.length > 11);
    assert_int_equal(etf.bytes[7], 98); /* 131 104 4 119 2 'o' 'k' 98 Id:32 */
    return read_be32(etf.bytes + 8);
}

static void single_frames_of_all_sizes_arrive_in_order(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 16000, 16384, 20000, 70000, 5, 1 << 20, 3};
    const size_t count = sizeof sizes / sizeof *sizes;
    struct fixture *fixture = make();
    for (uint32_t i = 0; i < count; i++) {
        struct writer *reply = make_reply(&codec_etf, i, sizes[i]);
        output_send(&fixture->output, reply, false, on_release, reply);
    }
    output_flush(&fixture->output);
    read_all(fixture);
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(id_of(next_frame(&at)), i);
    }
    assert_int_equal(at, sink.length);
    assert_int_equal(sink.released, count);
    assert_int_equal(fixture->output.unsent, 0);
    assert_int_equal(fixture->output.bytes, sink.length);
    finish(fixture);
}

static void replies_of_a_burst_share_a_batch(void **state) {
    (void)state;
    struct fixture *fixture = make();
    for (uint32_t i = 0; i < 10; i++) {
        struct writer *reply = make_reply(&codec_etf, i, 10);
        output_send(&fixture->output, reply, true, on_release, reply);
    }
    output_flush(&fixture->output);
    read_all(fixture);
    size_t at = 0;
    struct slice frame = next_frame(&at);
    assert_int_equal(at, sink.length);
    assert_int_equal(frame.bytes[0], 131);
    assert_int_equal(frame.bytes[1], 108);
    assert_int_equal(read_be32(frame.bytes + 2), 10);
    size_t item = 6;
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(frame.bytes[item], 109);
        size_t length = read_be32(frame.bytes + item + 1);
        assert_int_equal(id_of((struct slice){frame.bytes + item + 5, length}), i);
        item += 5 + length;
    }
    assert_int_equal(frame.bytes[item], 106);
    assert_int_equal(item + 1, frame.length);
    finish(fixture);
}

static void a_batch_of_one_is_an_ordinary_frame(void **state) {
    (void)state;
    struct fixture *fixture = make();
    struct writer *reply = make_reply(&codec_etf, 77, 10);
    output_send(&fixture->output, reply, true, on_release, reply);
    output_flush(&fixture->output);
    read_all(fixture);
    size_t at = 0;
    assert_int_equal(id_of(next_frame(&at)), 77);
    assert_int_equal(at, sink.length);
    finish(fixture);
}

static void batches_keep_the_order_and_stay_of_one_codec(void **state) {
    (void)state;
    struct fixture *fixture = make();
    static const struct {
        const struct codec *codec;
        bool batched;
        size_t size;
    } sends[] = {{&codec_etf, true, 1}, {&codec_etf, true, 1},  {&codec_msgpack, true, 1},
                 {&codec_etf, true, 1}, {&codec_etf, false, 1}, {&codec_etf, true, 100000},
                 {&codec_etf, true, 1}, {&codec_etf, true, 1}};
    for (uint32_t i = 0; i < 8; i++) {
        struct writer *reply = make_reply(sends[i].codec, i, sends[i].size);
        output_send(&fixture->output, reply, sends[i].batched, on_release, reply);
    }
    output_flush(&fixture->output);
    read_all(fixture);
    size_t at = 0;
    assert_int_equal(next_frame(&at).bytes[1], 108);  /* 0 and 1 */
    assert_int_equal(next_frame(&at).bytes[0], 0x94); /* 2 */
    assert_int_equal(id_of(next_frame(&at)), 3);
    assert_int_equal(id_of(next_frame(&at)), 4);
    assert_int_equal(id_of(next_frame(&at)), 5);
    assert_int_equal(next_frame(&at).bytes[1], 108); /* 6 and 7 */
    assert_int_equal(at, sink.length);
    finish(fixture);
}

static void many_batches_fill_many_buffers(void **state) {
    (void)state;
    struct fixture *fixture = make();
    const uint32_t count = 5000;
    for (uint32_t i = 0; i < count; i++) {
        struct writer *reply = make_reply(&codec_etf, i, i % 300);
        output_send(&fixture->output, reply, true, on_release, reply);
    }
    output_flush(&fixture->output);
    read_all(fixture);
    size_t at = 0;
    uint32_t seen = 0;
    while (at < sink.length) {
        struct slice frame = next_frame(&at);
        assert_true(frame.length <= 65536);
        seen += read_be32(frame.bytes + 2);
    }
    assert_int_equal(seen, count);
    assert_int_equal(sink.released, count);
    finish(fixture);
}

static void nothing_follows_the_last_message(void **state) {
    (void)state;
    struct fixture *fixture = make();
    for (uint32_t i = 0; i < 6; i++) {
        struct writer *reply = make_reply(&codec_etf, i, i % 2 == 0 ? 100 : 100000);
        output_send(&fixture->output, reply, i == 4, on_release, reply);
        if (i == 1) {
            output_end(&fixture->output);
        }
        output_flush(&fixture->output);
    }
    read_all(fixture);
    size_t at = 0;
    assert_int_equal(id_of(next_frame(&at)), 0);
    assert_int_equal(id_of(next_frame(&at)), 1);
    assert_int_equal(at, sink.length);
    assert_int_equal(sink.released, 6);
    finish(fixture);
}

static void it_is_told_of_what_waits_while_nobody_reads(void **state) {
    (void)state;
    struct fixture *fixture = make();
    for (int burst = 1; burst <= 5; burst++) {
        struct writer *reply = make_reply(&codec_etf, 1, 1 << 20);
        output_send(&fixture->output, reply, false, on_release, reply);
        output_flush(&fixture->output);
        assert_true(fixture->output.waiting);
        assert_int_equal(sink.progress, burst);
    }
    read_all(fixture);
    assert_true(sink.progress > 5);
    finish(fixture);
}

static void a_reader_that_goes_releases_everything(void **state) {
    (void)state;
    struct fixture *fixture = make();
    for (uint32_t i = 0; i < 20; i++) {
        struct writer *reply = make_reply(&codec_etf, i, 100000);
        output_send(&fixture->output, reply, false, on_release, reply);
    }
    output_flush(&fixture->output);
    assert_true(fixture->output.waiting);
    (void)close(fixture->reader);
    while (sink.gone == 0) {
        (void)uv_run(&fixture->loop, UV_RUN_ONCE);
    }
    assert_int_equal(sink.gone, 1);
    assert_int_equal(sink.released, 20);
    assert_true(output_is_done(&fixture->output));
    struct writer *late = make_reply(&codec_etf, 1, 100000);
    output_send(&fixture->output, late, false, on_release, late);
    assert_int_equal(sink.released, 21);
    fixture->reader = dup(0);
    finish(fixture);
}

static int ignore_sigpipe(void **state) {
    (void)state;
    return signal(SIGPIPE, SIG_IGN) == SIG_ERR;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_frames_of_all_sizes_arrive_in_order),
        cmocka_unit_test(replies_of_a_burst_share_a_batch),
        cmocka_unit_test(a_batch_of_one_is_an_ordinary_frame),
        cmocka_unit_test(batches_keep_the_order_and_stay_of_one_codec),
        cmocka_unit_test(many_batches_fill_many_buffers),
        cmocka_unit_test(nothing_follows_the_last_message),
        cmocka_unit_test(it_is_told_of_what_waits_while_nobody_reads),
        cmocka_unit_test(a_reader_that_goes_releases_everything),
    };
    return cmocka_run_group_tests(tests, ignore_sigpipe, NULL);
}
