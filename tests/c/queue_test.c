/* queue: order by priority, first come first served within one, both bounds. */
#include "testing.h"

#include "job.h"
#include "queue.h"

static struct stv_job make(uint32_t id, uint32_t priority, size_t bytes) {
    return (struct stv_job){.id = id, .priority = priority, .encoded_args.length = bytes};
}

static uint32_t take_id(struct queue *queue) {
    struct stv_job *job = queue_take(queue);
    assert_non_null(job);
    return job->id;
}

static void takes_by_priority_then_by_arrival(void **state) {
    (void)state;
    struct stv_job jobs[] = {make(1, 5, 0), make(2, 9, 0), make(3, 0, 0), make(4, 5, 0), make(5, 0, 0)};
    struct queue queue;
    queue_init(&queue, 10, 10);
    for (size_t i = 0; i < 5; i++) {
        queue_push(&queue, &jobs[i]);
    }
    const uint32_t order[] = {3, 5, 1, 4, 2};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(take_id(&queue), order[i]);
    }
    assert_null(queue_take(&queue));
}

static void removes_from_the_middle(void **state) {
    (void)state;
    struct stv_job jobs[] = {make(1, 5, 3), make(2, 5, 4), make(3, 5, 5)};
    struct queue queue;
    queue_init(&queue, 10, 100);
    for (size_t i = 0; i < 3; i++) {
        queue_push(&queue, &jobs[i]);
    }
    queue_remove(&queue, &jobs[1]);
    assert_int_equal(queue.jobs, 2);
    assert_int_equal(queue.bytes, 8);
    assert_int_equal(take_id(&queue), 1);
    assert_int_equal(take_id(&queue), 3);
    assert_int_equal(queue.bytes, 0);
}

static void refuses_one_job_too_many(void **state) {
    (void)state;
    struct stv_job jobs[] = {make(1, 5, 0), make(2, 5, 0)};
    struct queue queue;
    queue_init(&queue, 2, 100);
    queue_push(&queue, &jobs[0]);
    assert_null(queue_refuses(&queue, 0));
    queue_push(&queue, &jobs[1]);
    assert_string_equal(queue_refuses(&queue, 0), "jobs");
}

static void refuses_one_byte_too_many(void **state) {
    (void)state;
    struct stv_job job = make(1, 5, 60);
    struct queue queue;
    queue_init(&queue, 10, 100);
    queue_push(&queue, &job);
    assert_null(queue_refuses(&queue, 40));
    assert_string_equal(queue_refuses(&queue, 41), "bytes");
    assert_string_equal(queue_refuses(&queue, SIZE_MAX), "bytes");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_by_priority_then_by_arrival),
        cmocka_unit_test(removes_from_the_middle),
        cmocka_unit_test(refuses_one_job_too_many),
        cmocka_unit_test(refuses_one_byte_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
