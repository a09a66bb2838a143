/* job_wait: until its time, until it is told to stop, and without using the CPU. */
#include "testing.h"

#include <pthread.h>
#include <time.h>
#include <uv.h>

#include "job_wait.h"

#define NS_PER_MS UINT64_C(1000000)

static atomic_bool never;
static atomic_bool stop;

static uint64_t cpu_now(void) {
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
    return (uint64_t)now.tv_sec * 1000 * NS_PER_MS + (uint64_t)now.tv_nsec;
}

static void waits_no_shorter_than_told(void **state) {
    (void)state;
    uint64_t until = uv_hrtime() + 20 * NS_PER_MS;
    job_wait_until(until, &never);
    assert_true(uv_hrtime() >= until);
    job_wait_until(until, &never);
    job_wait_until(0, &never);
}

/* Stores the CPU time that it took. */
static void *wait_for_ever(void *cpu) {
    job_wait_until(UINT64_MAX, &stop);
    *(uint64_t *)cpu = cpu_now();
    return NULL;
}

static void waits_for_ever_and_asleep(void **state) {
    (void)state;
    const uint64_t time = 300 * NS_PER_MS;
    uint64_t cpu = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &cpu), 0);
    job_wait_until(uv_hrtime() + time, &never);
    atomic_store(&stop, true);
    job_wait_wake_all();
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(cpu < time / 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_no_shorter_than_told),
        cmocka_unit_test(waits_for_ever_and_asleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
