/* job_table: against the simplest possible reference, through many random additions and removals. */
#include "testing.h"

#include "job.h"
#include "job_table.h"

#define IDS   3000u
#define STEPS 60000u

static void finds_nothing_when_empty(void **state) {
    (void)state;
    struct job_table table = {0};
    assert_null(job_table_find(&table, 0));
    assert_null(job_table_find(&table, 2147483647));
}

static void agrees_with_an_array(void **state) {
    (void)state;
    struct job_table table = {0};
    struct stv_job *jobs = calloc(IDS, sizeof *jobs);
    bool *present = calloc(IDS, sizeof *present);
    uint32_t seed = 20;
    for (uint32_t step = 0; step < STEPS; step++) {
        /* Few distinct ids, spread over the whole range, so that runs of collisions form. */
        uint32_t i = next_random(&seed) % IDS;
        jobs[i].id = i % 2 == 0 ? i : 2147483647u - i * 4096u;
        if (present[i]) {
            assert_ptr_equal(job_table_find(&table, jobs[i].id), &jobs[i]);
            job_table_remove(&table, &jobs[i]);
        } else {
            assert_null(job_table_find(&table, jobs[i].id));
            job_table_add(&table, &jobs[i]);
        }
        present[i] = !present[i];
    }
    size_t count = 0;
    for (uint32_t i = 0; i < IDS; i++) {
        count += present[i];
        assert_ptr_equal(job_table_find(&table, jobs[i].id), present[i] ? &jobs[i] : NULL);
    }
    assert_int_equal(table.count, count);
    free(present);
    free(jobs);
    free(table.slots);
}

static void count_one(struct stv_job *job, void *context) {
    (void)job;
    (*(size_t *)context)++;
}

static void visits_each_once(void **state) {
    (void)state;
    struct job_table table = {0};
    struct stv_job *jobs = calloc(IDS, sizeof *jobs);
    for (uint32_t i = 0; i < IDS; i++) {
        jobs[i].id = i;
        job_table_add(&table, &jobs[i]);
    }
    size_t count = 0;
    job_table_each(&table, count_one, &count);
    assert_int_equal(count, IDS);
    free(jobs);
    free(table.slots);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_nothing_when_empty),
        cmocka_unit_test(agrees_with_an_array),
        cmocka_unit_test(visits_each_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
