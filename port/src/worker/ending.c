/* How a worker ends (PROTOCOL §11). Three things can start it, and a later one overrides an earlier: stdin
 * ends (finish all), the host says stop (finish what runs), nobody reads stdout (finish nothing). Then
 * ending_check finds the moment when no job is left, says bye, waits until that is written, and leaves.
 *
 * It always leaves by _exit: libuv's destructor, which exit() runs, joins its threads and so waits for jobs
 * that will not stop.
 *
 * Thread: loop. */
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fatal.h"
#include "log_relay.h"
#include "sanitizer.h"
#include "watchdog.h"
#include "worker.h"

#define LAST_GRACE_MS  500u /* between asking a job to stop and leaving without it */
#define BOTH_CLOSED_MS 200  /* a host that goes closes stdout and stdin, one after the other */
#define LAST_READ_MS   1000 /* for a host that was told all, to read it */
#define FINISH_S       5u   /* for the plugins; a process that has said bye must not stay */

static void outlast_running(struct stv_job *job, void *unused) {
    (void)unused;
    job_outlast(job);
}

static void return_queued(struct worker *worker) {
    for (struct stv_job *job; (job = threads_take_back_any(&worker->threads)) != NULL;) {
        worker_end_unstarted(worker, job, KIND_CANCELLED, "the worker ended before it ran");
    }
}

/* Jobs that would not stop are answered all the same: the process ends with them. None is queued any more, so
 * all have started. */
static void answer_abandoned(struct stv_job *job, void *context) {
    struct worker *worker = context;
    struct writer reply;
    writer_init(&reply, job->codec, worker->max_frame);
    bool outlasted = atomic_load(&job->outlasted);
    reply_begin_error(&reply, job->id, KIND_CANCELLED, "did not stop and ended with its worker", outlasted);
    if (outlasted) {
        writer_put_text(&reply, "clock");
        writer_put_text(&reply, "drain_timeout");
    }
    reply_end(&reply, (struct receipt){.queued_us = (job->started_at - job->received_at) / 1000,
                                       .ran_us = (uv_hrtime() - job->started_at) / 1000});
    output_send(&worker->output, &reply, job->batched, NULL, NULL);
    writer_finish(&reply);
}

static void on_last_grace(uv_timer_t *timer) {
    struct worker *worker = timer->data;
    worker_collect(worker);
    worker->abandoned = worker->jobs.count > 0;
    if (worker->ending != ENDING_GONE) {
        job_table_each(&worker->jobs, answer_abandoned, worker);
    }
    ending_check(worker);
}

static void stop_all(struct worker *worker) {
    job_table_each(&worker->jobs, outlast_running, NULL);
    (void)uv_timer_start(&worker->grace, on_last_grace, LAST_GRACE_MS, 0); /* fails only without a callback */
}

static void on_grace(uv_timer_t *timer) {
    stop_all(timer->data);
}

void ending_at_eof(struct worker *worker) {
    if (worker->ending == ENDING_NOT) {
        worker->ending = ENDING_EOF;
    }
    ending_check(worker);
}

void ending_stop(struct worker *worker, int64_t grace_ms) {
    if (worker->ending != ENDING_NOT) {
        return;
    }
    worker->ending = ENDING_STOP;
    return_queued(worker);
    if (grace_ms >= 0) {
        worker->has_grace = true;
        (void)uv_timer_start(&worker->grace, on_grace, (uint64_t)grace_ms, 0);
    }
}

void ending_reader_gone(struct worker *worker) {
    if (worker->ending == ENDING_GONE) {
        return;
    }
    worker->ending = ENDING_GONE;
    output_discard(&worker->output);
    return_queued(worker);
    stop_all(worker);
    ending_check(worker);
}

static void say_bye(struct worker *worker) {
    worker->said_bye = true;
    (void)uv_timer_stop(&worker->grace);
    (void)fflush(stdout);
    log_pipe_drain(&worker->printed);
    log_pipe_drain(&worker->errors);
    struct writer bye;
    writer_init(&bye, worker->codec, worker->max_frame);
    reply_bye(&bye, worker->ending == ENDING_EOF ? "eof" : "stop");
    output_send(&worker->output, &bye, false, NULL, NULL);
    output_end(&worker->output);
    writer_finish(&bye);
    output_flush(&worker->output);
}

static void on_unread(uv_timer_t *timer) {
    const struct worker *worker = timer->data;
    fatal(EXIT_IO, "the host does not read: %zu bytes were left when it had to end", worker->output.unsent);
}

/* A host that waits only so long gets no more time to read than what it takes moves on. */
static void await_reader(struct worker *worker) {
    bool moves = worker->output.bytes != worker->read_when_told;
    if (worker->has_grace && (moves || !uv_is_active((uv_handle_t *)&worker->grace))) {
        worker->read_when_told = worker->output.bytes;
        (void)uv_timer_start(&worker->grace, on_unread, LAST_READ_MS, 0);
    }
}

/* A host that writes to a worker that is gone may lose what it has not read: the BEAM closes a port at EPIPE,
 * with all that is still in the pipe. So stdin stays open until stdout is empty, or nobody reads it. */
static void let_host_read(int fd) {
    int unread = 0;
    for (int ms = 0; ms < LAST_READ_MS && ioctl(fd, FIONREAD, &unread) == 0 && unread > 0; ms++) {
        struct pollfd gone = {.fd = fd};
        if (poll(&gone, 1, 1) != 0) {
            return;
        }
    }
}

/* No frame may follow, so what they print goes to stderr, if there is a thread to be had for that. */
static void finish_plugins(const struct worker *worker) {
    if (worker->plugins.count == 0) {
        return;
    }
    bool relayed = log_relay_start(worker->printed.fd, worker->errors.fd, NULL);
    fatal_after(FINISH_S, EXIT_WATCHDOG, "stevedore: the plugins did not finish within 5 s\n");
    plugins_finish(&worker->plugins);
    if (relayed) {
        log_relay_stop();
    }
}

static _Noreturn void leave(const struct worker *worker) {
    if (worker->ending == ENDING_GONE && !input_ends_within(&worker->input, BOTH_CLOSED_MS)) {
        fatal(EXIT_IO, "nobody reads stdout");
    }
    if (worker->ending == ENDING_STOP && worker->output.can_poll) {
        let_host_read(worker->output.fd);
    }
    if (!worker->abandoned) {
        finish_plugins(worker);
        if (sanitizer_found_leak()) {
            fatal(EXIT_BUG, "memory was lost");
        }
    }
    _exit(EXIT_FINE);
}

void ending_check(struct worker *worker) {
    if (worker->ending == ENDING_NOT || (worker->jobs.count > 0 && !worker->abandoned)) {
        return;
    }
    if (!worker->said_bye) {
        say_bye(worker);
    }
    if (output_is_done(&worker->output)) {
        leave(worker);
    }
    await_reader(worker);
}

static void on_reader_gone(uv_async_t *async) {
    ending_reader_gone(async->data);
}

void ending_init(struct worker *worker, int output) {
    (void)uv_timer_init(worker->loop, &worker->grace); /* cannot fail */
    worker->grace.data = worker->reader_gone.data = worker;
    if (uv_async_init(worker->loop, &worker->reader_gone, on_reader_gone) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot make an event descriptor");
    }
    watchdog_start(output, &worker->reader_gone);
}
