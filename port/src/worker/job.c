/* The run of a job is a straight line: may it start? → decode → the op → the reply. Whatever goes wrong
 * becomes an error reply; the only thing that does not is memory for a reply of a few hundred bytes, which
 * ends the worker (nothing half-alive).
 *
 * The reply is composed as the op puts it, behind a header that is there from the start. If the op then
 * fails, or what it put is no whole term, the writer is emptied and an error composed instead.
 *
 * Thread: job_create, job_destroy: loop. job_run: any, one for each job. */
#include "job.h"

#include <stdlib.h>
#include <time.h>
#include <uv.h>

#include "black_box.h"
#include "fatal.h"
#include "inject.h"
#include "job_wait.h"

#define NS_PER_MS 1000000u
#define COPY_MAX  16384u /* larger arguments may stay where they were read */

/* Whether the arguments stay in the frame's buffer, all of which is then kept though the queue counts only
 * them: so they must be a good part of it. A call that came alone is: its buffer may be a spare one of twice
 * the size. */
static bool are_shared(const struct message *call, const struct frame_buffer *frame) {
    return frame != NULL && call->args.length > COPY_MAX && call->args.length > frame->capacity / 3;
}

struct stv_job *job_create(const struct message *call, struct op *op, struct frame_buffer *frame,
                           bool batched, size_t max_reply) {
    bool share = are_shared(call, frame);
    struct stv_job *job = malloc(sizeof *job + (share ? 0 : call->args.length));
    if (job == NULL) {
        return NULL;
    }
    *job = (struct stv_job){
        .op = op,
        .codec = call->codec,
        .id = (uint32_t)call->id,
        .priority = call->priority,
        .timeout_ms = call->timeout,
        .queue_timeout_ms = call->queue_timeout,
        .kill_after_ms = call->kill_after,
        .progress_ms = call->progress,
        .batched = batched,
        .max_reply = max_reply,
        .encoded_args = call->args,
        .received_at = uv_hrtime(),
        .deadline_index = SIZE_MAX,
    };
    list_init(&job->node);
    if (call->queue_timeout > 0) {
        job->start_by = job->received_at + (uint64_t)call->queue_timeout * NS_PER_MS;
    }
    if (share) {
        job->frame = frame_buffer_retain(frame);
    } else {
        job->encoded_args.bytes = memcpy(job + 1, call->args.bytes, call->args.length);
    }
    return job;
}

static void run_destroy(struct run *run) {
    if (run != NULL) {
        writer_finish(&run->reply);
        arena_finish(&run->arena);
        free(run);
    }
}

void job_destroy(struct stv_job *job) {
    if (job != NULL) {
        run_destroy(job->run);
        frame_buffer_release(job->frame);
        free(job);
    }
}

void job_cancel(struct stv_job *job) {
    atomic_store(&job->cancelled, true);
    job_wait_wake_all();
}

void job_outlast(struct stv_job *job) {
    if (!atomic_load(&job->cancelled)) {
        atomic_store(&job->outlasted, true);
    }
    job_cancel(job);
}

/* --- The reply ---------------------------------------------------------------------------------------------
 */

static void begin_error(struct stv_job *job, enum error_kind kind, const char *message, uint32_t more) {
    struct writer *reply = &job->run->reply;
    writer_finish(reply);
    writer_init(reply, job->codec, job->max_reply);
    reply_begin_error(reply, job->id, kind, message, more);
    job->outcome = kind;
}

static void put_pair_text(struct writer *reply, const char *key, const char *text) {
    writer_put_text(reply, key);
    writer_put_text(reply, text);
}

static void put_pair_uint(struct writer *reply, const char *key, uint64_t number) {
    writer_put_text(reply, key);
    writer_put_uint(reply, number);
}

static void put_details(struct writer *reply, const struct failure *failure) {
    writer_put_text(reply, "details");
    writer_put_map(reply, failure->detail_count);
    for (uint32_t i = 0; i < failure->detail_count; i++) {
        writer_put_text(reply, failure->details[i].key);
        if (failure->details[i].text != NULL) {
            writer_put_text(reply, failure->details[i].text);
        } else {
            writer_put_int(reply, failure->details[i].number);
        }
    }
}

static void compose_failure(struct stv_job *job) {
    const struct failure *failure = &job->run->failure;
    struct writer *reply = &job->run->reply;
    switch (failure->kind) {
    case KIND_BAD_ARGS:
        begin_error(job, KIND_BAD_ARGS, failure->message, 2);
        put_pair_text(reply, "arg", failure->arg);
        put_pair_text(reply, "expected", failure->expected);
        break;
    case KIND_TOO_LARGE:
        begin_error(job, KIND_TOO_LARGE, failure->message, 1);
        put_pair_uint(reply, "limit", failure->limit);
        break;
    case KIND_NO_MEMORY:
        begin_error(job, KIND_NO_MEMORY, failure->message, 0);
        break;
    default:
        begin_error(job, KIND_FAILED, failure->message, failure->detail_count > 0 ? 2 : 1);
        put_pair_text(reply, "code", failure->code);
        if (failure->detail_count > 0) {
            put_details(reply, failure);
        }
    }
}

static void compose_failed(struct stv_job *job, const char *code, const char *message) {
    begin_error(job, KIND_FAILED, message, 1);
    put_pair_text(&job->run->reply, "code", code);
}

static void compose_too_large(struct stv_job *job) {
    begin_error(job, KIND_TOO_LARGE, "the result is larger than a frame may be", 1);
    put_pair_uint(&job->run->reply, "limit", job->max_reply);
}

static void compose_no_memory(struct stv_job *job) {
    begin_error(job, KIND_NO_MEMORY, "memory ran out while the result was composed", 0);
}

static void compose_stopped(struct stv_job *job) {
    if (atomic_load(&job->outlasted)) {
        begin_error(job, KIND_CANCELLED, "its worker had to go before it was done", 1);
        put_pair_text(&job->run->reply, "clock", "drain_timeout");
    } else if (atomic_load(&job->cancelled)) {
        begin_error(job, KIND_CANCELLED, "cancelled while it ran", 0);
    } else if (job->stop_by != 0 && uv_hrtime() >= job->stop_by) {
        begin_error(job, KIND_TIMED_OUT, "ran longer than its timeout allowed", 1);
        put_pair_uint(&job->run->reply, "limit_ms", job->timeout_ms);
    } else {
        compose_failed(job, "bad_status",
                       "the op returned STV_STOPPED although nothing had asked it to stop");
    }
}

/* A map with a key twice would be a frame that the BEAM cannot decode. NULL, or what is wrong. Looked for
 * only in replies with maps that the op composed itself; those copied from its arguments are fine. */
static const char *key_twice(struct stv_job *job) {
    struct writer *reply = &job->run->reply;
    const char *reason = NULL;
    uint8_t *copy = NULL;
    struct slice result = {reply->bytes, reply->length};
    if (!job->run->has_maps) {
        return NULL;
    }
    if (reply->splice_count > 0) {
        copy = malloc(writer_size(reply));
        if (copy == NULL) {
            return codec_out_of_memory;
        }
        writer_copy(reply, copy);
        result = (struct slice){copy, writer_size(reply)};
    }
    result.bytes += job->run->result_at;
    result.length -= job->run->result_at;
    (void)job->codec->read(&job->run->arena, result, &reason);
    free(copy);
    return reason;
}

/* The op said STV_OK: what it put must be exactly one term. */
static void check_result(struct stv_job *job) {
    struct writer *reply = &job->run->reply;
    job->outcome = OUTCOME_OK;
    if (reply->error == WRITER_FINE && reply->depth == 1 && reply->open[0].left == 2) {
        writer_put_nil(reply); /* nothing was put */
    }
    if (reply->error == WRITER_TOO_LARGE) {
        compose_too_large(job);
    } else if (reply->error == WRITER_NO_MEMORY) {
        compose_no_memory(job);
    } else if (reply->error != WRITER_FINE || reply->depth != 1 || reply->open[0].left != 1) {
        compose_failed(job, "bad_reply",
                       "the op's reply is not one whole term of finite numbers and UTF-8 texts");
    } else {
        const char *wrong = key_twice(job);
        if (wrong == codec_out_of_memory) {
            compose_no_memory(job);
        } else if (wrong != NULL) {
            compose_failed(job, "bad_reply", wrong);
        }
    }
}

/* Adds the receipt. An op's error text or details may be too large, or no UTF-8: then a plain error goes
 * instead. */
static void finish_reply(struct stv_job *job) {
    struct writer *reply = &job->run->reply;
    reply_end(reply, job->receipt);
    if (writer_is_complete(reply)) {
        return;
    }
    if (reply->error == WRITER_TOO_LARGE && job->outcome == OUTCOME_OK) {
        compose_too_large(job);
    } else {
        compose_failed(job, "bad_reply", "the op's error is too large, or its texts are not UTF-8");
    }
    reply_end(reply, job->receipt);
    if (!writer_is_complete(reply)) {
        fatal(EXIT_NO_MEMORY, "no memory for an error reply");
    }
}

/* --- The run -----------------------------------------------------------------------------------------------
 */

/* True if it may start; otherwise the reply is composed. */
static bool may_start(struct stv_job *job) {
    if (atomic_load(&job->cancelled)) {
        begin_error(job, KIND_CANCELLED, "cancelled before it ran", 0);
        return false;
    }
    if (job->start_by != 0 && job->started_at >= job->start_by) {
        begin_error(job, KIND_QUEUE_TIMEOUT, "waited longer than its queue_timeout allowed", 1);
        put_pair_uint(&job->run->reply, "limit_ms", job->queue_timeout_ms);
        return false;
    }
    return true;
}

static bool decode_args(struct stv_job *job) {
    const char *reason = NULL;
    INJECT("before_decode");
    job->run->args = job->codec->read(&job->run->arena, job->encoded_args, &reason);
    INJECT("after_decode");
    if (job->run->args == NULL) {
        begin_error(job, reason == codec_out_of_memory ? KIND_NO_MEMORY : KIND_BAD_REQUEST, reason, 0);
    }
    return job->run->args != NULL;
}

static void call_op(struct stv_job *job) {
    reply_begin_ok(&job->run->reply, job->id);
    job->run->result_at = job->run->reply.length;
    INJECT("before_run");
    black_box_set(job->slot, job->id, SLOT_RUNNING);
    enum stv_status status = job->op->op->run(job);
    black_box_set(job->slot, job->id, SLOT_FINISHED);
    INJECT("after_run");
    switch (status) {
    case STV_OK:
        check_result(job);
        break;
    case STV_STOPPED:
        compose_stopped(job);
        break;
    default:
        compose_failure(job);
    }
}

static uint64_t cpu_now(bool measure) {
    struct timespec now;
    if (!measure || clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0) {
        return 0;
    }
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct run *run_create(const struct stv_job *job) {
    struct run *run = must(malloc(sizeof *run));
    run->args = NULL;
    run->has_maps = false;
    run->failure = (struct failure){
        .kind = KIND_FAILED, .code = "unknown", .message = "the op failed and did not say why"};
    arena_init(&run->arena, run->first, sizeof run->first);
    writer_init(&run->reply, job->codec, job->max_reply);
    return run;
}

void job_run(struct stv_job *job, bool measure_cpu) {
    black_box_enter(job->id, job->op, job->started_at); /* decoding may crash, too */
    job->run = run_create(job);
    job->receipt.queued_us = (job->started_at - job->received_at) / 1000;
    if (may_start(job) && decode_args(job)) {
        if (job->timeout_ms > 0) {
            job->stop_by = job->started_at + (uint64_t)job->timeout_ms * NS_PER_MS;
        }
        uint64_t cpu = cpu_now(measure_cpu);
        call_op(job);
        job->receipt.ran_us = (uv_hrtime() - job->started_at) / 1000;
        job->receipt.cpu_us = measure_cpu ? (cpu_now(true) - cpu) / 1000 : job->receipt.ran_us;
    }
    INJECT("before_encode");
    finish_reply(job);
    INJECT("after_encode");
    black_box_leave();
}
