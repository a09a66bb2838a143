/* What happens to calls. Messages are read completely before anything is done (message.h), then dispatched by
 * table. A call becomes a job, which ends in exactly one place: complete() if it was handed to the threads or
 * ran here, say_refusal() if it never became one, worker_forget() if it never ran. Thread: loop.
 */
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

#include "black_box.h"
#include "control_ops.h"
#include "crash.h"
#include "fatal.h"
#include "log_outbox.h"
#include "log_relay.h"
#include "lookout.h"
#include "ops.h"
#include "say.h"
#include "symbols.h"

#define SPARE_SLOTS      65536u /* of the black box, for jobs whose replies wait to be written */
#define SHORT_ARGS_MAX   4096u  /* a short op with more than that to decode is not short */
#define SHORT_RUN_MAX_US 5000u
#define LOG_PAUSE_UNSENT ((size_t)1 << 20)   /* log lines wait */
#define PAUSE_UNSENT     ((size_t)64 << 20)  /* jobs wait (PROTOCOL §10) */
#define GIVE_UP_UNSENT   ((size_t)512 << 20) /* and with max_frame more the host is given up */

static void on_printed(void *context, const char *level, struct slice line) {
    say_log(context, level, line);
}

/* --- Ends of jobs ------------------------------------------------------------------------------------------
 */

void worker_forget(struct worker *worker, struct stv_job *job) {
    black_box_free(job->slot);
    deadlines_remove(&worker->deadlines, job);
    job_table_remove(&worker->jobs, job);
    job_destroy(job);
}

void worker_end_unstarted(struct worker *worker, struct stv_job *job, enum error_kind kind,
                          const char *message) {
    struct refusal refusal = {.codec = job->codec,
                              .id = job->id,
                              .batched = job->batched,
                              .kind = kind,
                              .message = message,
                              .receipt.queued_us = (uv_hrtime() - job->received_at) / 1000};
    if (kind == KIND_QUEUE_TIMEOUT) {
        refusal.extra[0].key = "limit_ms";
        refusal.extra[0].number = job->queue_timeout_ms;
    }
    say_refusal(worker, &refusal);
    worker_forget(worker, job);
}

static void destroy_job(void *job) {
    job_destroy(job);
}

/* Sends the reply of a job that job_run has run. Takes the job. */
static void send_reply(struct worker *worker, struct stv_job *job) {
    if (job->progress_ms > 0) {
        say_progress(worker, job);
    }
    worker->outcomes[job->outcome]++;
    uint32_t slot = job->slot;
    output_send(&worker->output, &job->run->reply, job->batched, destroy_job, job);
    output_mark(&worker->output, slot);
}

static void complete(struct worker *worker, struct stv_job *job) {
    deadlines_remove(&worker->deadlines, job);
    job_table_remove(&worker->jobs, job);
    send_reply(worker, job);
}

/* What a job logged goes before its reply: the list is taken first, so all that its jobs logged is in the
 * outbox by now. What no reply waits for stays there while the host does not read, for there it is bounded.
 */
void worker_collect(struct worker *worker) {
    struct list finished;
    list_init(&finished);
    threads_take_finished(&worker->threads, &finished);
    if (!worker->logs_paused || !list_is_empty(&finished)) {
        say_what_ops_logged(worker);
    }
    for (struct list *node; (node = list_take(&finished)) != NULL;) {
        complete(worker, list_entry(node, struct stv_job, node));
    }
}

/* The threads have finished jobs, or ops have logged. */
static void on_wake(uv_async_t *async) {
    struct worker *worker = async->data;
    if (!worker->abandoned) { /* or else all have been answered */
        worker_collect(worker);
    }
    output_flush(&worker->output);
    ending_check(worker);
}

/* --- Calls -------------------------------------------------------------------------------------------------
 */

static void move_to_threads(struct worker *worker, struct op *op, uint64_t cpu_us) {
    op->on_loop = false;
    say_warning(worker, "op %s is flagged short but took %llu us: it runs on the threads from now on",
                op->op->name, (unsigned long long)cpu_us);
}

/* Runs a short op here and now. A run that took long may only have been kept from the CPU; so it raises a
 * suspicion, and the next run's CPU time is asked for, which otherwise would cost more than the op. Control
 * ops stay whatever they take. */
static void run_on_loop(struct worker *worker, struct stv_job *job) {
    struct op *op = job->op;
    bool is_control = (op->op->flags & OP_CONTROL) != 0;
    job->started_at = job->received_at;
    job_run(job, op->suspected);
    if (op->suspected && job->receipt.cpu_us > SHORT_RUN_MAX_US) {
        move_to_threads(worker, op, job->receipt.cpu_us);
    }
    op->suspected = !is_control && job->receipt.ran_us > SHORT_RUN_MAX_US;
    say_what_ops_logged(worker);
    send_reply(worker, job);
}

static void run_on_threads(struct worker *worker, struct stv_job *job) {
    const char *what = NULL;
    job_table_add(&worker->jobs, job);
    lookout_watch(worker, job);
    if (!threads_submit(&worker->threads, job, &what)) {
        const struct queue *queue = &worker->threads.queue; /* its limits never change */
        bool jobs = strcmp(what, "jobs") == 0;
        struct refusal refusal = {
            .codec = job->codec,
            .id = job->id,
            .batched = job->batched,
            .kind = KIND_OVERLOADED,
            .message = jobs ? "the queue is full: try again later, or raise --max-queue"
                            : "too many bytes of arguments wait: try again later",
            .extra = {{.key = "what", .text = what},
                      {.key = "limit", .number = jobs ? queue->max_jobs : queue->max_bytes}}};
        say_refusal(worker, &refusal);
        worker_forget(worker, job);
    }
}

/* Why a call cannot become a job; false if it can. */
static bool is_refused(struct worker *worker, const struct message *call, const struct op *op,
                       struct refusal *refusal) {
    if (job_table_find(&worker->jobs, (uint32_t)call->id) != NULL) {
        refusal->kind = KIND_BAD_REQUEST;
        refusal->message = "the id is in use (PROTOCOL §4.1)";
    } else if (op == NULL) {
        refusal->kind = KIND_UNKNOWN_OP;
        refusal->message = "no op of that name: call `ops` for a list, or load its plugin";
        refusal->extra[0].key = "op";
    } else if (worker->ending != ENDING_NOT && (op->op->flags & OP_CONTROL) == 0) {
        refusal->kind = KIND_UNAVAILABLE;
        refusal->message = "the worker is ending";
    } else {
        return false;
    }
    return true;
}

/* NULL: it cannot be, and *refusal says why. */
static struct stv_job *create_job(const struct worker *worker, const struct message *call, struct op *op,
                                  struct frame_buffer *buffer, struct refusal *refusal) {
    uint32_t slot = black_box_take((uint32_t)call->id);
    if (slot == BLACK_BOX_NONE) {
        refusal->kind = KIND_OVERLOADED;
        refusal->message = "the black box has no slot left: read the replies that wait, or give it more room";
        refusal->extra[0].key = "what";
        refusal->extra[0].text = "jobs";
        refusal->extra[1].key = "limit";
        refusal->extra[1].number = black_box_room();
        return NULL;
    }
    struct stv_job *job = job_create(call, op, buffer, refusal->batched, worker->max_frame);
    if (job == NULL) {
        black_box_free(slot);
        refusal->kind = KIND_NO_MEMORY;
        refusal->message = "no memory for the job";
        return NULL;
    }
    job->slot = slot;
    return job;
}

static void handle_call(struct worker *worker, const struct message *call, struct frame_buffer *buffer,
                        bool batched) {
    struct op *op = op_table_find(&worker->ops, call->op);
    char name[256];
    struct refusal refusal = {.codec = call->codec, .id = call->id, .batched = batched};
    worker->calls++;
    if (is_refused(worker, call, op, &refusal)) {
        (void)snprintf(name, sizeof name, "%.*s", (int)call->op.length, (const char *)call->op.bytes);
        refusal.extra[0].text = name;
        say_refusal(worker, &refusal);
        return;
    }
    struct stv_job *job = create_job(worker, call, op, buffer, &refusal);
    if (job == NULL) {
        say_refusal(worker, &refusal);
    } else if (op->on_loop && ((op->op->flags & OP_CONTROL) != 0 || call->args.length <= SHORT_ARGS_MAX)) {
        run_on_loop(worker, job);
    } else {
        run_on_threads(worker, job);
    }
}

static void handle_cancel(struct worker *worker, const struct message *cancel, struct frame_buffer *buffer,
                          bool batched) {
    (void)buffer;
    (void)batched;
    struct stv_job *job = job_table_find(&worker->jobs, (uint32_t)cancel->id);
    if (job == NULL) {
        return; /* its reply is on the way */
    }
    if (threads_take_back(&worker->threads, job)) {
        worker_end_unstarted(worker, job, KIND_CANCELLED, "cancelled before it ran");
    } else {
        lookout_cancel(worker, job);
    }
}

static void handle_stop(struct worker *worker, const struct message *stop, struct frame_buffer *buffer,
                        bool batched) {
    (void)buffer;
    (void)batched;
    ending_stop(worker, stop->grace);
}

/* --- Messages ----------------------------------------------------------------------------------------------
 */

typedef void handler(struct worker *worker, const struct message *message, struct frame_buffer *buffer,
                     bool batched);

static handler *const handlers[] = {
    [MESSAGE_CALL] = handle_call, [MESSAGE_CANCEL] = handle_cancel, [MESSAGE_STOP] = handle_stop};

static void receive(struct worker *worker, struct slice bytes, struct frame_buffer *buffer, bool batched) {
    struct message message;
    const char *reason = NULL;
    switch (message_read(bytes, &message, &reason)) {
    case MESSAGE_OK:
        worker->codec = message.codec;
        handlers[message.type](worker, &message, buffer, batched);
        break;
    case MESSAGE_BAD:
        worker->codec = message.codec;
        say_refusal(worker, &(struct refusal){.codec = message.codec,
                                              .id = message.id,
                                              .batched = batched,
                                              .kind = KIND_BAD_REQUEST,
                                              .message = reason});
        break;
    case MESSAGE_BROKEN:
        fatal(EXIT_BROKEN_STREAM, "%s", reason);
    }
}

static void on_frame(void *context, struct slice content, struct frame_buffer *buffer) {
    struct batch batch;
    struct slice message;
    switch (batch_open(content, &batch)) {
    case BATCH_NONE:
        receive(context, content, buffer, false);
        break;
    case BATCH_OK:
        while (batch_next(&batch, &message)) {
            receive(context, message, buffer, true);
        }
        break;
    case BATCH_BROKEN:
        fatal(EXIT_BROKEN_STREAM, "a batch whose lengths are wrong (PROTOCOL §8)");
    }
}

static void on_burst(void *context) {
    struct worker *worker = context;
    output_flush(&worker->output);
    ending_check(worker);
}

static void on_end(void *context) {
    ending_at_eof(context);
}

/* --- Output ------------------------------------------------------------------------------------------------
 */

static void on_output_gone(void *context) {
    ending_reader_gone(context);
}

static void pause_jobs(struct worker *worker, bool pause) {
    if (pause != worker->paused) {
        worker->paused = pause;
        threads_pause(&worker->threads, pause);
    }
}

static void pause_logs(struct worker *worker, bool pause) {
    log_pipe_set_reading(&worker->printed, !pause);
    log_pipe_set_reading(&worker->errors, !pause);
    if (worker->logs_paused && !pause) {
        (void)uv_async_send(&worker->threads.wake); /* for what ops have logged meanwhile */
    }
    worker->logs_paused = pause;
}

static void on_output_progress(void *context) {
    struct worker *worker = context;
    size_t unsent = worker->output.unsent;
    if (unsent > GIVE_UP_UNSENT + worker->max_frame) {
        fatal(EXIT_IO, "the host does not read: %zu bytes of replies wait (PROTOCOL §10)", unsent);
    }
    pause_jobs(worker, unsent > PAUSE_UNSENT);
    pause_logs(worker, unsent > LOG_PAUSE_UNSENT);
    ending_check(worker);
}

/* --- Start -------------------------------------------------------------------------------------------------
 */

static void add_ops(struct op_table *table, const char *name, const struct stv_op *ops, size_t count) {
    char *wrong = op_table_add(table, name, ops, count);
    if (wrong != NULL) {
        fatal(EXIT_BUG, "built-in ops: %s", wrong);
    }
}

static void load_ops(struct worker *worker) {
    control_ops_init(worker);
    add_ops(&worker->ops, "stevedore", control_ops, control_ops_count);
    for (size_t i = 0; i < builtin_ops_count; i++) {
        add_ops(&worker->ops, builtin_ops[i].name, builtin_ops[i].ops, builtin_ops[i].count);
    }
}

static void load_plugins(struct worker *worker, const struct serve_options *options, struct stdio stdio,
                         struct log_relay *printed) {
    if (options->plugin_count == 0) {
        return;
    }
    if (!log_relay_start(stdio.printed, stdio.errors, printed)) {
        fatal(EXIT_NO_RESOURCES, "cannot start a thread that reads what plugins print");
    }
    plugins_load(&worker->plugins, options->plugins, options->plugin_count, &worker->ops);
    log_relay_stop();
}

static void say_printed(struct worker *worker, struct log_pipe *pipe, struct log_relay_kept *kept) {
    log_pipe_put(pipe, kept->bytes, kept->length);
    free(kept->bytes);
    if (kept->dropped > 0) {
        say_warning(worker, "%zu bytes that plugins printed as they were loaded were dropped", kept->dropped);
    }
}

/* Before any code of a plugin. */
static void open_black_box(const struct serve_options *options, unsigned threads) {
    black_box_open(options->black_box, threads + 1, options->max_queue + threads + SPARE_SLOTS);
    black_box_join();
    native_stack_start();
    symbols_load();
    crash_join();
    crash_start();
}

static void warn_of_failed_measures(struct worker *worker) {
    for (enum measure measure = 0; measure < MEASURE_COUNT; measure++) {
        if (confine_has_failed(&worker->confinement, measure)) {
            say_warning(worker, "not in effect: %s: %s", confine_name(measure),
                        worker->confinement.status[measure]);
        }
    }
    output_flush(&worker->output);
}

/* Only a worker that is starting has it: later on a frame could be half written. */
static int starting_output;

static void tell_failed_start(const char *line) {
    say_failed_start(starting_output, line);
}

void worker_start(struct worker *worker, uv_loop_t *loop, const struct serve_options *options,
                  struct stdio stdio) {
    starting_output = stdio.output;
    fatal_use_teller(tell_failed_start);
    unsigned threads = options->threads > 0 ? options->threads : uv_available_parallelism();
    struct log_relay printed = {0};
    worker->loop = loop;
    worker->max_frame = options->max_frame;
    worker->codec = &codec_etf;
    worker->kill_after_ms = options->kill_after_ms;
    worker->started_at = uv_hrtime();
    open_black_box(options, threads);
    confine(&worker->confinement, &options->confine, options->plugins, options->plugin_count);
    if (uv_loop_init(loop) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot make an event loop");
    }
    load_ops(worker);
    load_plugins(worker, options, stdio, &printed);
    black_box_name_ops(&worker->ops);
    symbols_load(); /* the plugins' */
    confine_loaded(&worker->confinement, &options->confine);
    threads_start(&worker->threads, loop, threads, options->max_queue, 4 * options->max_frame, on_wake,
                  worker);
    fatal_use_teller(NULL);
    log_outbox_init(&worker->threads.wake);
    deadlines_init(&worker->deadlines, loop, lookout_on_due, worker);
    log_pipe_start(&worker->printed, loop, stdio.printed, "info", on_printed, worker);
    log_pipe_start(&worker->errors, loop, stdio.errors, "warning", on_printed, worker);
    output_init(&worker->output, loop, stdio.output, on_output_gone, on_output_progress, worker);
    ending_init(worker, stdio.output);
    worker->input.on_frame = on_frame;
    worker->input.on_burst = on_burst;
    worker->input.on_end = on_end;
    worker->input.context = worker;
    input_start(&worker->input, loop, stdio.input, options->max_frame);
    say_printed(worker, &worker->printed, &printed.printed);
    say_printed(worker, &worker->errors, &printed.errors);
    warn_of_failed_measures(worker);
}
