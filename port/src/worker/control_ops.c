/* Thread: loop. */
#include "control_ops.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "black_box.h"
#include "fatal.h"
#include "worker.h"

#define PROTOCOL_VERSION 1
#define MOST_TAKEN_BACK  65536u /* at once */
#define MOST_BYTES_OF_ID 7u     /* ei writes what needs 28 bits or more as a big */

static struct worker *worker;

static void put_pair_uint(struct stv_job *job, const char *key, uint64_t value) {
    stv_put_text(job, key);
    stv_put_uint(job, value);
}

static void put_pair_text(struct stv_job *job, const char *key, const char *value) {
    stv_put_text(job, key);
    stv_put_text(job, value);
}

/* --- ops ---------------------------------------------------------------------------------------------------
 */

static const struct {
    unsigned flag;
    const char *name;
} flag_names[] = {{STV_IDEMPOTENT, "idempotent"}, {STV_SHORT, "short"}, {OP_CONTROL, "control"}};

#define FLAG_COUNT (sizeof flag_names / sizeof *flag_names)

static void put_flags(struct stv_job *job, unsigned flags) {
    size_t count = 0;
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        count += (flags & flag_names[i].flag) != 0;
    }
    stv_put_list(job, count);
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if ((flags & flag_names[i].flag) != 0) {
            stv_put_text(job, flag_names[i].name);
        }
    }
}

static void put_ops(struct stv_job *job) {
    stv_put_list(job, worker->ops.count);
    for (size_t i = 0; i < worker->ops.count; i++) {
        const struct op *op = &worker->ops.ops[i];
        stv_put_map(job, 4);
        put_pair_text(job, "name", op->op->name);
        put_pair_text(job, "doc", op->op->doc == NULL ? "" : op->op->doc);
        stv_put_text(job, "flags");
        put_flags(job, op->op->flags);
        put_pair_text(job, "plugin", op->plugin);
    }
}

static enum stv_status run_ops(struct stv_job *job) {
    put_ops(job);
    return STV_OK;
}

/* --- hello -------------------------------------------------------------------------------------------------
 */

static void put_limits(struct stv_job *job) {
    stv_put_map(job, 6);
    put_pair_uint(job, "max_frame", worker->max_frame);
    put_pair_uint(job, "max_queue", worker->threads.queue.max_jobs);
    put_pair_uint(job, "max_queue_bytes", worker->threads.queue.max_bytes);
    put_pair_uint(job, "max_depth", CHECK_MAX_DEPTH);
    put_pair_uint(job, "max_terms", CHECK_MAX_TERMS);
    put_pair_uint(job, "max_big", CHECK_MAX_BIG);
}

static void put_plugins(struct stv_job *job) {
    stv_put_list(job, worker->plugins.count);
    for (size_t i = 0; i < worker->plugins.count; i++) {
        const struct plugin *plugin = &worker->plugins.loaded[i];
        stv_put_map(job, 3);
        put_pair_text(job, "name", plugin->info->name);
        put_pair_text(job, "version", plugin->info->version);
        stv_put_text(job, "file");
        stv_put_bytes(job, plugin->file, strlen(plugin->file));
    }
}

static void put_confinement(struct stv_job *job) {
    stv_put_map(job, MEASURE_COUNT);
    for (enum measure measure = 0; measure < MEASURE_COUNT; measure++) {
        put_pair_text(job, confine_name(measure), worker->confinement.status[measure]);
    }
}

static enum stv_status run_hello(struct stv_job *job) {
    stv_put_map(job, 9);
    put_pair_uint(job, "protocol", PROTOCOL_VERSION);
    put_pair_text(job, "version", STEVEDORE_VERSION);
    put_pair_uint(job, "os_pid", (uint64_t)getpid());
    put_pair_uint(job, "threads", worker->threads.count);
    stv_put_text(job, "codecs");
    stv_put_list(job, 2);
    stv_put_text(job, codec_etf.name);
    stv_put_text(job, codec_msgpack.name);
    stv_put_text(job, "limits");
    put_limits(job);
    stv_put_text(job, "plugins");
    put_plugins(job);
    stv_put_text(job, "confinement");
    put_confinement(job);
    stv_put_text(job, "ops");
    put_ops(job);
    return STV_OK;
}

/* --- stats -------------------------------------------------------------------------------------------------
 */

/* What runs, copied out under the threads' mutex: never more than there are threads. */
struct running {
    size_t count;
    uint64_t now;
    struct {
        uint32_t id;
        const char *op;
        uint64_t ran_ms;
        bool stuck;
    } * jobs;
};

/* A thread that has taken a job may not have called its op yet: the host would count on what the black box
 * denies. */
static void note_running(struct stv_job *job, void *context) {
    struct running *running = context;
    if (black_box_state(job->slot) != SLOT_RUNNING) {
        return;
    }
    running->jobs[running->count].id = job->id;
    running->jobs[running->count].op = job->op->op->name;
    running->jobs[running->count].ran_ms =
        running->now > job->started_at ? (running->now - job->started_at) / 1000000 : 0;
    running->jobs[running->count].stuck = job->is_stuck;
    running->count++;
}

static void put_running(struct stv_job *job, const struct running *running) {
    stv_put_list(job, running->count);
    for (size_t i = 0; i < running->count; i++) {
        stv_put_map(job, 4);
        put_pair_uint(job, "id", running->jobs[i].id);
        put_pair_text(job, "op", running->jobs[i].op);
        put_pair_uint(job, "ran_ms", running->jobs[i].ran_ms);
        stv_put_text(job, "stuck");
        stv_put_bool(job, running->jobs[i].stuck);
    }
}

static uint64_t max_rss_kb(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss : 0;
}

static enum stv_status run_stats(struct stv_job *job) {
    struct threads_load load = threads_load(&worker->threads);
    struct running running = {.now = uv_hrtime()};
    running.jobs = stv_alloc(job, worker->threads.count * sizeof *running.jobs);
    if (running.jobs == NULL) {
        return stv_no_memory(job);
    }
    threads_each_running(&worker->threads, note_running, &running);

    stv_put_map(job, 13 + KIND_COUNT + 1 + 1);
    put_pair_uint(job, "uptime_ms", (running.now - worker->started_at) / 1000000);
    put_pair_uint(job, "threads", worker->threads.count);
    put_pair_uint(job, "running", running.count);
    put_pair_uint(job, "queued", load.queued);
    put_pair_uint(job, "queued_bytes", load.queued_bytes);
    put_pair_uint(job, "calls", worker->calls);
    put_pair_uint(job, "taken_back", worker->taken_back);
    put_pair_uint(job, "frames_in", worker->input.frames);
    put_pair_uint(job, "frames_out", worker->output.frames);
    put_pair_uint(job, "bytes_in", worker->input.bytes);
    put_pair_uint(job, "bytes_out", worker->output.bytes);
    put_pair_uint(job, "unsent_bytes", worker->output.unsent);
    put_pair_uint(job, "max_rss_kb", max_rss_kb());
    put_pair_uint(job, "ok", worker->outcomes[OUTCOME_OK]);
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        put_pair_uint(job, error_kind_name((enum error_kind)kind), worker->outcomes[kind]);
    }
    stv_put_text(job, "jobs");
    put_running(job, &running);
    return STV_OK;
}

/* --- take_back ---------------------------------------------------------------------------------------------
 */

/* Takes up to `most` jobs that have not started, those whose turn is next first. Returns how many. */
static size_t take_back(size_t most, struct list *taken) {
    size_t count = 0;
    struct stv_job *next;
    while (count < most && (next = threads_take_back_any(&worker->threads)) != NULL) {
        list_append(taken, &next->node);
        count++;
    }
    return count;
}

static bool read_count(struct stv_job *job, int64_t *count) {
    return (stv_term_int(stv_args(job), count) || stv_arg_int(job, "count", count)) && *count >= 0 &&
           *count <= INT32_MAX;
}

/* The list is all that the host hears of these jobs: it must fit a frame, and must not get lost. */
static enum stv_status run_take_back(struct stv_job *job) {
    int64_t count;
    if (!read_count(job, &count)) {
        return stv_bad_arg(job, "count", "an integer from 0 to 2147483647");
    }
    size_t room = stv_max_reply(job) / MOST_BYTES_OF_ID;
    size_t most = room < MOST_TAKEN_BACK ? room : MOST_TAKEN_BACK;
    struct list taken;
    list_init(&taken);
    size_t taken_count = take_back((uint64_t)count < most ? (size_t)count : most, &taken);
    worker->taken_back += taken_count;
    stv_put_list(job, taken_count);
    for (struct list *node; (node = list_take(&taken)) != NULL;) {
        struct stv_job *unstarted = list_entry(node, struct stv_job, node);
        stv_put_uint(job, unstarted->id);
        worker_forget(worker, unstarted);
    }
    if (job->run->reply.error != WRITER_FINE) {
        fatal(EXIT_NO_MEMORY, "no memory for the ids of jobs that were taken back");
    }
    return STV_OK;
}

/* --- ping --------------------------------------------------------------------------------------------------
 */

static enum stv_status run_ping(struct stv_job *job) {
    return stv_reply_text(job, "pong");
}

const struct stv_op control_ops[] = {
    {"ping", run_ping, "Replies \"pong\".", STV_IDEMPOTENT | OP_CONTROL},
    {"hello", run_hello, "Who this worker is: protocol, version, limits, plugins and ops.",
     STV_IDEMPOTENT | OP_CONTROL},
    {"ops", run_ops, "The list of ops, with their docs and flags.", STV_IDEMPOTENT | OP_CONTROL},
    {"take_back", run_take_back,
     "Takes up to `count` jobs out of the queue, those whose turn is next first, and replies their ids: they "
     "never ran and get no reply of their own.",
     OP_CONTROL},
    {"stats", run_stats, "Counters, and what runs now.", STV_IDEMPOTENT | OP_CONTROL},
};
const size_t control_ops_count = sizeof control_ops / sizeof *control_ops;

void control_ops_init(struct worker *of) {
    worker = of;
}
