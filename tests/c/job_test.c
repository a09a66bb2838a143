/* job: whether it keeps the buffer of the frame that it came in. */
#include "testing.h"

#include "job.h"

#define CAPACITY ((size_t)1 << 20)

static struct frame_buffer *buffer;

/* A job with so many bytes of arguments, somewhere in the buffer. */
static struct stv_job *make(size_t length) {
    struct message call = {.codec = &codec_etf, .id = 1, .args = {buffer->bytes + 100, length}};
    struct stv_job *job = job_create(&call, NULL, buffer, false, CAPACITY);
    assert_non_null(job);
    assert_int_equal(job->encoded_args.length, length);
    return job;
}

static void assert_kept(size_t length, bool kept) {
    struct stv_job *job = make(length);
    assert_int_equal(buffer->references, kept ? 2 : 1);
    assert_int_equal(job->encoded_args.bytes == buffer->bytes + 100, kept);
    assert_memory_equal(job->encoded_args.bytes, buffer->bytes + 100, length);
    job_destroy(job);
    assert_int_equal(buffer->references, 1);
}

static void large_arguments_stay_where_they_were_read(void **state) {
    (void)state;
    assert_kept(CAPACITY - 100, true);
    assert_kept(CAPACITY / 2 - 100, true); /* alone in a buffer that was spare */
}

static void small_arguments_do_not_keep_a_large_buffer(void **state) {
    (void)state;
    assert_kept(0, false);
    assert_kept(1000, false);
    assert_kept(17000, false);
    assert_kept(CAPACITY / 4, false);
}

static int make_buffer(void **state) {
    (void)state;
    buffer = frame_buffer_take(CAPACITY);
    memset(buffer->bytes, 'x', CAPACITY);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_arguments_stay_where_they_were_read),
        cmocka_unit_test(small_arguments_do_not_keep_a_large_buffer),
    };
    return cmocka_run_group_tests(tests, make_buffer, NULL);
}
