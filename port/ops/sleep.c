/* sleep: waits, and stops as soon as it is told to. For trying out time limits, cancelling and progress.
 * Thread: a pool thread; it keeps it busy while it waits. */
#include <time.h>

#include "ops.h"

/* A job that holds a thread for longer than a day is a mistake in somebody's units. */
#define LONGEST_MS (INT64_C(24) * 60 * 60 * 1000)

/* How often it notes its progress; stv_wait itself returns at once when the job should stop. */
#define SLICE_MS 20

#define NS_PER_MS INT64_C(1000000)

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * (1000 * NS_PER_MS) + now.tv_nsec;
}

static enum stv_status run_sleep(struct stv_job *job) {
    int64_t total;
    if (!stv_arg_int(job, "ms", &total) || total < 0 || total > LONGEST_MS) {
        return stv_bad_arg(job, "ms", "an integer from 0 to 86400000");
    }
    int64_t start = now_ns();
    int64_t slept = 0;
    while (slept < total) {
        stv_progress(job, (uint64_t)slept, (uint64_t)total);
        int64_t left = total - slept;
        if (stv_wait(job, left < SLICE_MS ? left : SLICE_MS)) {
            return STV_STOPPED;
        }
        slept = (now_ns() - start) / NS_PER_MS; /* whole ones: never short of the time asked for */
    }
    stv_progress(job, (uint64_t)total, (uint64_t)total);
    return stv_reply_nil(job);
}

const struct stv_op sleep_ops[] = {
    {.name = "sleep",
     .run = run_sleep,
     .doc = "Waits for `ms` milliseconds (0 to 86400000, a day) and replies nil. Progress: milliseconds. "
            "Stops at "
            "once when told to.",
     .flags = STV_IDEMPOTENT},
};
