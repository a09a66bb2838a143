/* Jobs mostly end long before their deadline, so entries come and go much more often than the timer fires.
 * The timer is therefore only ever moved to an earlier time; when it goes off for a job that has left, it is
 * set anew. Thread: loop. */
#include "deadlines.h"

#include <stdlib.h>

#include "fatal.h"
#include "job.h"

#define NS_PER_MS 1000000u
#define ABSENT    SIZE_MAX

static void place(struct deadlines *deadlines, size_t index, struct stv_job *job) {
    deadlines->heap[index] = job;
    job->deadline_index = index;
}

static void sift_up(struct deadlines *deadlines, size_t index) {
    struct stv_job *job = deadlines->heap[index];
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (deadlines->heap[parent]->wake_at <= job->wake_at) {
            break;
        }
        place(deadlines, index, deadlines->heap[parent]);
        index = parent;
    }
    place(deadlines, index, job);
}

static void sift_down(struct deadlines *deadlines, size_t index) {
    struct stv_job *job = deadlines->heap[index];
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= deadlines->count) {
            break;
        }
        if (child + 1 < deadlines->count &&
            deadlines->heap[child + 1]->wake_at < deadlines->heap[child]->wake_at) {
            child++;
        }
        if (job->wake_at <= deadlines->heap[child]->wake_at) {
            break;
        }
        place(deadlines, index, deadlines->heap[child]);
        index = child;
    }
    place(deadlines, index, job);
}

static void on_timer(uv_timer_t *timer);

static void arm(struct deadlines *deadlines) {
    if (deadlines->count == 0) {
        return;
    }
    uint64_t wake_at = deadlines->heap[0]->wake_at;
    if (deadlines->armed_for != 0 && deadlines->armed_for <= wake_at) {
        return;
    }
    uint64_t now = uv_hrtime();
    uint64_t wait_ms = wake_at > now ? (wake_at - now + NS_PER_MS - 1) / NS_PER_MS : 0;
    deadlines->armed_for = wake_at;
    uv_update_time(deadlines->timer.loop);
    (void)uv_timer_start(&deadlines->timer, on_timer, wait_ms, 0); /* fails only without a callback */
}

static void on_timer(uv_timer_t *timer) {
    struct deadlines *deadlines = timer->data;
    uint64_t now = uv_hrtime();
    deadlines->armed_for = 0;
    while (deadlines->count > 0 && deadlines->heap[0]->wake_at <= now) {
        struct stv_job *job = deadlines->heap[0];
        deadlines_remove(deadlines, job);
        deadlines->due(job, now, deadlines->context);
    }
    arm(deadlines);
}

void deadlines_init(struct deadlines *deadlines, uv_loop_t *loop,
                    void (*due)(struct stv_job *job, uint64_t now, void *context), void *context) {
    *deadlines = (struct deadlines){.due = due, .context = context};
    (void)uv_timer_init(loop, &deadlines->timer); /* cannot fail */
    deadlines->timer.data = deadlines;
}

static void grow(struct deadlines *deadlines) {
    deadlines->capacity = deadlines->capacity == 0 ? 64 : 2 * deadlines->capacity;
    deadlines->heap = must(realloc(deadlines->heap, deadlines->capacity * sizeof(struct stv_job *)));
}

void deadlines_set(struct deadlines *deadlines, struct stv_job *job, uint64_t wake_at) {
    deadlines_remove(deadlines, job);
    if (deadlines->count == deadlines->capacity) {
        grow(deadlines);
    }
    job->wake_at = wake_at;
    place(deadlines, deadlines->count++, job);
    sift_up(deadlines, job->deadline_index);
    arm(deadlines);
}

void deadlines_remove(struct deadlines *deadlines, struct stv_job *job) {
    size_t index = job->deadline_index;
    if (index == ABSENT) {
        return;
    }
    struct stv_job *last = deadlines->heap[--deadlines->count];
    job->deadline_index = ABSENT;
    if (last != job) {
        place(deadlines, index, last);
        sift_up(deadlines, index);
        sift_down(deadlines, last->deadline_index);
    }
}
