/* A job has up to three times at which it wants to be looked at (start_by, progress_at, stuck_at), and one
 * place in deadlines, at the earliest of them.
 *
 * When a job starts is not told to the loop, for that would cost every job something. So stuck_at is judged
 * as if it started at once, or had just started; only when that time has come the thread is asked, and if the
 * job started later it is looked at again. Thread: loop. */
#include "lookout.h"

#include "black_box.h"
#include "native_stack.h"
#include "say.h"
#include "worker.h"

#define NS_PER_MS 1000000u
#define STACK_MS  20u /* what a thread gets to tell its stack */

static uint64_t after(uint64_t from, uint32_t ms) {
    return from + (uint64_t)ms * NS_PER_MS;
}

/* Of two times of which 0 is never. */
static uint64_t earlier(uint64_t time, uint64_t other) {
    return time == 0 || (other != 0 && other < time) ? other : time;
}

static void set_deadline(struct worker *worker, struct stv_job *job, uint64_t now) {
    uint64_t start_by = job->start_by > now ? job->start_by : 0;
    uint64_t at = earlier(start_by, earlier(job->progress_at, job->stuck_at));
    if (at != 0) {
        deadlines_set(&worker->deadlines, job, at);
    }
}

/* When a job that started then has had time enough to stop: since its timeout, or since it was cancelled. */
static uint64_t stuck_at(const struct worker *worker, const struct stv_job *job, uint64_t started_at) {
    uint32_t kill_after_ms = job->kill_after_ms > 0 ? job->kill_after_ms : worker->kill_after_ms;
    uint64_t out_of_time = job->timeout_ms > 0 ? after(started_at, job->timeout_ms) : 0;
    uint64_t asked_at = earlier(out_of_time, job->cancelled_at);
    return kill_after_ms == 0 || asked_at == 0 ? 0 : after(asked_at, kill_after_ms);
}

void lookout_watch(struct worker *worker, struct stv_job *job) {
    job->progress_at = job->progress_ms > 0 ? after(job->received_at, job->progress_ms) : 0;
    job->stuck_at = stuck_at(worker, job, job->received_at);
    set_deadline(worker, job, job->received_at);
}

void lookout_cancel(struct worker *worker, struct stv_job *job) {
    job_cancel(job);
    if (job->cancelled_at != 0 || job->is_stuck) {
        return;
    }
    uint64_t now = job->cancelled_at = uv_hrtime();
    job->stuck_at = earlier(job->stuck_at, stuck_at(worker, job, now));
    set_deadline(worker, job, now);
}

/* If it has ended meanwhile, the stack may be another job's, and it was not stuck after all. */
static void tell_stuck(struct worker *worker, struct stv_job *job, uint64_t ran_us) {
    struct native_frame stack[NATIVE_STACK_MAX];
    size_t depth = 0;
    pid_t tid;
    if (black_box_thread_of(job->id, &tid)) {
        depth = native_stack_of(tid, stack, NATIVE_STACK_MAX, STACK_MS);
    }
    if (threads_running_since(&worker->threads, job) != 0) {
        job->is_stuck = true;
        say_stuck(worker, job, ran_us, stack, depth);
    }
}

/* One that waits is never stuck, but may start now. One that was cancelled does not wait: it is finished. */
static void look_whether_stuck(struct worker *worker, struct stv_job *job, uint64_t now) {
    uint64_t started_at = threads_running_since(&worker->threads, job);
    if (started_at == 0) {
        job->stuck_at = job->cancelled_at == 0 ? stuck_at(worker, job, now) : 0;
        return;
    }
    job->stuck_at = stuck_at(worker, job, started_at);
    if (now >= job->stuck_at) {
        job->stuck_at = 0;
        tell_stuck(worker, job, (now - started_at) / 1000);
    }
}

static bool is_due(uint64_t time, uint64_t now) {
    return time != 0 && time <= now;
}

void lookout_on_due(struct stv_job *job, uint64_t now, void *context) {
    struct worker *worker = context;
    if (worker->abandoned) {
        return; /* it has been answered */
    }
    if (is_due(job->start_by, now) && threads_take_back(&worker->threads, job)) {
        worker_end_unstarted(worker, job, KIND_QUEUE_TIMEOUT, "waited longer than its queue_timeout allowed");
    } else {
        if (is_due(job->progress_at, now)) {
            say_progress(worker, job);
            job->progress_at = after(now, job->progress_ms);
        }
        if (is_due(job->stuck_at, now)) {
            look_whether_stuck(worker, job, now);
        }
        set_deadline(worker, job, now);
    }
    output_flush(&worker->output);
    ending_check(worker);
}
