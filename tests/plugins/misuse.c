/* Ops that break the rules, of replying above all. Each has to end as `failed` with the code `bad_reply`
 * unless it says otherwise, and none may harm the worker or the stream. */
#include <math.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stevedore.h"

static enum stv_status run_two_replies(struct stv_job *job) {
    stv_reply_int(job, 1);
    return stv_reply_int(job, 2);
}

static enum stv_status run_two_puts(struct stv_job *job) {
    stv_put_int(job, 1);
    stv_put_int(job, 2);
    return STV_OK;
}

/* Both are freed all the same. */
static enum stv_status run_two_takes(struct stv_job *job) {
    stv_reply_take(job, calloc(1, 100000), 100000);
    return stv_reply_take(job, calloc(1, 100000), 100000);
}

static enum stv_status run_short_list(struct stv_job *job) {
    stv_put_list(job, 3);
    stv_put_int(job, 1);
    return STV_OK;
}

static enum stv_status run_long_list(struct stv_job *job) {
    stv_put_list(job, 1);
    stv_put_int(job, 1);
    stv_put_int(job, 2);
    return STV_OK;
}

static enum stv_status run_half_pair(struct stv_job *job) {
    stv_put_map(job, 1);
    stv_put_text(job, "key");
    return STV_OK;
}

static enum stv_status run_huge_list(struct stv_job *job) {
    stv_put_list(job, SIZE_MAX);
    return STV_OK;
}

static enum stv_status run_deep(struct stv_job *job) {
    for (int i = 0; i < 1000; i++) {
        stv_put_list(job, 1);
    }
    stv_put_nil(job);
    return STV_OK;
}

static enum stv_status run_nan(struct stv_job *job) {
    return stv_reply_double(job, NAN);
}

static enum stv_status run_infinity(struct stv_job *job) {
    return stv_reply_double(job, -INFINITY);
}

static enum stv_status run_bad_text(struct stv_job *job) {
    return stv_reply_text(job, "\xff\xfe");
}

/* No error described: still `failed`. */
static enum stv_status run_silent_failure(struct stv_job *job) {
    (void)job;
    return STV_FAILED;
}

/* The error counts: `failed` with the code `second_thoughts`. */
static enum stv_status run_reply_then_fail(struct stv_job *job) {
    stv_reply_int(job, 1);
    return stv_fail(job, "second_thoughts", "it replied, then failed");
}

/* Says it was stopped when nobody asked. */
static enum stv_status run_stopped_unasked(struct stv_job *job) {
    (void)job;
    return STV_STOPPED;
}

static enum stv_status run_unknown_status(struct stv_job *job) {
    (void)job;
    return (enum stv_status)42;
}

/* More facts than there is room for: 16 of them are told. `failed` with the code `many`. */
static enum stv_status run_many_details(struct stv_job *job) {
    static const char keys[] = "abcdefghijklmnopqrstuvwxyz";
    for (int i = 0; i < 26; i++) {
        stv_detail_int(job, keys + i, i);
    }
    return stv_fail(job, "many", "26 details");
}

/* The same fact twice: the second value is told, for a map has no key twice. `failed` with the code `twice`.
 */
static enum stv_status run_detail_twice(struct stv_job *job) {
    stv_detail_int(job, "n", 1);
    stv_detail_text(job, "n", "two");
    return stv_fail(job, "twice", "the same detail twice");
}

/* A message and a detail that are no UTF-8: `failed` with the code `bytes`, readable. */
static enum stv_status run_bad_message(struct stv_job *job) {
    stv_detail_text(job, "what", "\xff");
    return stv_fail(job, "bytes", "not \xff UTF-8");
}

/* Logs at levels that are none: no misuse of replying, `ok`. */
static enum stv_status run_bad_level(struct stv_job *job) {
    volatile int levels[] = {1000, -1, STV_ERROR + 1};
    for (int i = 0; i < 3; i++) {
        stv_log(job, (enum stv_level)levels[i], "a line");
    }
    return stv_reply_nil(job);
}

/* As large as can be asked for: `no_memory`. */
static enum stv_status run_huge_alloc(struct stv_job *job) {
    volatile size_t size = SIZE_MAX;
    return stv_alloc(job, size) ? stv_reply_bool(job, true) : stv_no_memory(job);
}

/* What malloc gave, unchecked: `no_memory`. */
static enum stv_status run_take_null(struct stv_job *job) {
    return stv_reply_take(job, NULL, 100000);
}

static enum stv_status run_take_small_null(struct stv_job *job) {
    return stv_reply_take(job, NULL, 1);
}

/* More than can be sent: `too_large`. */
static enum stv_status run_huge_reply(struct stv_job *job) {
    size_t size = stv_max_reply(job) + 4096;
    void *data = calloc(1, size);
    return data ? stv_reply_take(job, data, size) : stv_no_memory(job);
}

/* As much as can be sent: no misuse at all, `ok`. */
static enum stv_status run_largest_reply(struct stv_job *job) {
    size_t size = stv_max_reply(job);
    void *data = calloc(1, size);
    return data ? stv_reply_take(job, data, size) : stv_no_memory(job);
}

/* Closes what is not its own: stdout and stderr. Replies nil. */
static enum stv_status run_close_standard(struct stv_job *job) {
    (void)close(STDOUT_FILENO);
    (void)close(STDERR_FILENO);
    return stv_reply_nil(job);
}

/* Forks a child that calls exit(3), as after an exec that failed. Replies its status. */
static enum stv_status run_fork_and_exit(struct stv_job *job) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        exit(3);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        return stv_fail(job, "no_exit", "the child did not exit");
    }
    return stv_reply_int(job, WEXITSTATUS(status));
}

/* A map with the arguments in it: no misuse at all, `ok`. */
static enum stv_status run_map_of_args(struct stv_job *job) {
    stv_put_map(job, 1);
    stv_put_text(job, "args");
    stv_put_term(job, stv_args(job));
    return STV_OK;
}

static const struct stv_op ops[] = {
    {"misuse.two_replies", run_two_replies, "", 0},
    {"misuse.two_puts", run_two_puts, "", 0},
    {"misuse.two_takes", run_two_takes, "", 0},
    {"misuse.short_list", run_short_list, "", 0},
    {"misuse.long_list", run_long_list, "", 0},
    {"misuse.half_pair", run_half_pair, "", 0},
    {"misuse.huge_list", run_huge_list, "", 0},
    {"misuse.deep", run_deep, "", 0},
    {"misuse.nan", run_nan, "", 0},
    {"misuse.infinity", run_infinity, "", 0},
    {"misuse.bad_text", run_bad_text, "", 0},
    {"misuse.silent_failure", run_silent_failure, "", 0},
    {"misuse.reply_then_fail", run_reply_then_fail, "", 0},
    {"misuse.stopped_unasked", run_stopped_unasked, "", 0},
    {"misuse.unknown_status", run_unknown_status, "", 0},
    {"misuse.many_details", run_many_details, "", 0},
    {"misuse.detail_twice", run_detail_twice, "", 0},
    {"misuse.bad_message", run_bad_message, "", 0},
    {"misuse.bad_level", run_bad_level, "", 0},
    {"misuse.huge_alloc", run_huge_alloc, "", 0},
    {"misuse.take_null", run_take_null, "", 0},
    {"misuse.take_small_null", run_take_small_null, "", 0},
    {"misuse.huge_reply", run_huge_reply, "", 0},
    {"misuse.largest_reply", run_largest_reply, "", 0},
    {"misuse.close_standard", run_close_standard, "", 0},
    {"misuse.fork_and_exit", run_fork_and_exit, "", 0},
    {"misuse.map_of_args", run_map_of_args, "", 0},
};

STV_PLUGIN("misuse", "1.0.0", ops);
