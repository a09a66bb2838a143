/* deadlines: every job comes due once, in order of its time, and never after it was removed. */
#include "testing.h"

#include "deadlines.h"
#include "job.h"

#define JOBS 500u

struct seen {
    uint64_t last;
    size_t count;
};

static void note(struct stv_job *job, uint64_t now, void *context) {
    struct seen *seen = context;
    assert_true(job->wake_at >= seen->last);
    assert_true(job->wake_at <= now);
    assert_int_equal(job->deadline_index, SIZE_MAX);
    seen->last = job->wake_at;
    seen->count++;
}

static void run(struct deadlines *deadlines, uv_loop_t *loop) {
    (void)uv_run(loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&deadlines->timer, NULL);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(loop), 0);
    free(deadlines->heap);
}

static void come_due_in_order_without_the_removed(void **state) {
    (void)state;
    uv_loop_t loop;
    struct deadlines deadlines;
    struct seen seen = {0};
    struct stv_job *jobs = calloc(JOBS, sizeof *jobs);
    uint32_t seed = 7;
    assert_int_equal(uv_loop_init(&loop), 0);
    deadlines_init(&deadlines, &loop, note, &seen);
    uint64_t now = uv_hrtime();
    for (uint32_t i = 0; i < JOBS; i++) {
        jobs[i].deadline_index = SIZE_MAX;
        deadlines_set(&deadlines, &jobs[i], now + next_random(&seed) % 20000000);
    }
    for (uint32_t i = 0; i < JOBS; i += 3) {
        deadlines_remove(&deadlines, &jobs[i]);
        deadlines_remove(&deadlines, &jobs[i]); /* twice does no harm */
    }
    for (uint32_t i = 1; i < JOBS; i += 3) {
        deadlines_set(&deadlines, &jobs[i], now + next_random(&seed) % 20000000); /* moved */
    }
    run(&deadlines, &loop);
    assert_int_equal(seen.count, JOBS - (JOBS + 2) / 3);
    free(jobs);
}

static void again(struct stv_job *job, uint64_t now, void *context) {
    struct deadlines *deadlines = context;
    if (++job->progress_sent < 5) {
        deadlines_set(deadlines, job, now + 1000000);
    }
}

static void may_be_set_again_when_due(void **state) {
    (void)state;
    uv_loop_t loop;
    struct deadlines deadlines;
    struct stv_job job = {.deadline_index = SIZE_MAX};
    assert_int_equal(uv_loop_init(&loop), 0);
    deadlines_init(&deadlines, &loop, again, &deadlines);
    deadlines_set(&deadlines, &job, uv_hrtime());
    run(&deadlines, &loop);
    assert_int_equal(job.progress_sent, 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(come_due_in_order_without_the_removed),
        cmocka_unit_test(may_be_set_again_when_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
