/* What an op may do with its job: the functions of stevedore.h that take one. Those for terms are in term.c.
 * Thread: the one that runs the job. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "job.h"
#include "job_wait.h"
#include "log_outbox.h"
#include "utf8.h"

#define NS_PER_MS   1000000u
#define MESSAGE_MAX 1024
#define LOG_MAX     8192

/* --- Arguments ---------------------------------------------------------------------------------------------
 */

const struct stv_term *stv_args(struct stv_job *job) {
    return job->run->args;
}

const struct stv_term *stv_arg(struct stv_job *job, const char *name) {
    return stv_get(job->run->args, name);
}

static bool is_absent(struct stv_job *job, const char *name) {
    const struct stv_term *term = stv_arg(job, name);
    return term == NULL || (stv_type(term) == STV_ATOM && stv_term_is(term, "nil"));
}

bool stv_arg_int(struct stv_job *job, const char *name, int64_t *value) {
    return stv_term_int(stv_arg(job, name), value);
}

bool stv_arg_double(struct stv_job *job, const char *name, double *value) {
    return stv_term_double(stv_arg(job, name), value);
}

bool stv_arg_bool(struct stv_job *job, const char *name, bool *value) {
    return stv_term_bool(stv_arg(job, name), value);
}

bool stv_arg_bytes(struct stv_job *job, const char *name, struct stv_bytes *value) {
    const struct stv_term *term = stv_arg(job, name);
    return term != NULL && stv_type(term) == STV_BINARY && stv_term_bytes(term, value);
}

/* The binary or atom as a C string in the job's memory; NULL if it is neither, has a NUL inside, or is no
 * UTF-8 although it must be. */
static const char *c_string(struct stv_job *job, const char *name, bool utf8) {
    const struct stv_term *term = stv_arg(job, name);
    struct stv_bytes bytes;
    if (term == NULL || stv_type(term) == STV_BITSTRING || !stv_term_bytes(term, &bytes)) {
        return NULL;
    }
    if (bytes.size > 0 && memchr(bytes.data, 0, bytes.size) != NULL) {
        return NULL;
    }
    if (utf8 && !utf8_is_valid((struct slice){bytes.data, bytes.size}, NULL)) {
        return NULL;
    }
    char *string = stv_alloc(job, bytes.size + 1);
    if (string != NULL) {
        if (bytes.size > 0) {
            memcpy(string, bytes.data, bytes.size);
        }
        string[bytes.size] = '\0';
    }
    return string;
}

bool stv_arg_text(struct stv_job *job, const char *name, const char **value) {
    const char *string = c_string(job, name, true);
    if (string == NULL) {
        return false;
    }
    *value = string;
    return true;
}

bool stv_arg_path(struct stv_job *job, const char *name, const char **value) {
    const char *string = c_string(job, name, false);
    if (string == NULL) {
        return false;
    }
    *value = string;
    return true;
}

bool stv_opt_int(struct stv_job *job, const char *name, int64_t *value) {
    return is_absent(job, name) || stv_arg_int(job, name, value);
}

bool stv_opt_double(struct stv_job *job, const char *name, double *value) {
    return is_absent(job, name) || stv_arg_double(job, name, value);
}

bool stv_opt_bool(struct stv_job *job, const char *name, bool *value) {
    return is_absent(job, name) || stv_arg_bool(job, name, value);
}

bool stv_opt_bytes(struct stv_job *job, const char *name, struct stv_bytes *value) {
    return is_absent(job, name) || stv_arg_bytes(job, name, value);
}

bool stv_opt_text(struct stv_job *job, const char *name, const char **value) {
    return is_absent(job, name) || stv_arg_text(job, name, value);
}

bool stv_opt_path(struct stv_job *job, const char *name, const char **value) {
    return is_absent(job, name) || stv_arg_path(job, name, value);
}

/* --- Replies -----------------------------------------------------------------------------------------------
 */

void stv_put_nil(struct stv_job *job) {
    writer_put_nil(&job->run->reply);
}

void stv_put_bool(struct stv_job *job, bool value) {
    writer_put_bool(&job->run->reply, value);
}

void stv_put_int(struct stv_job *job, int64_t value) {
    writer_put_int(&job->run->reply, value);
}

void stv_put_uint(struct stv_job *job, uint64_t value) {
    writer_put_uint(&job->run->reply, value);
}

void stv_put_double(struct stv_job *job, double value) {
    writer_put_double(&job->run->reply, value);
}

void stv_put_text(struct stv_job *job, const char *text) {
    writer_put_text(&job->run->reply, text);
}

void stv_put_bytes(struct stv_job *job, const void *data, size_t size) {
    writer_put_bytes(&job->run->reply, (struct slice){data, size});
}

void stv_put_term(struct stv_job *job, const struct stv_term *term) {
    writer_put_term(&job->run->reply, term);
}

/* Counts beyond what a message can hold cannot be filled anyway: the writer refuses the largest. */
static uint32_t clamp(size_t count) {
    return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

void stv_put_list(struct stv_job *job, size_t count) {
    writer_put_list(&job->run->reply, clamp(count));
}

void stv_put_map(struct stv_job *job, size_t pairs) {
    job->run->has_maps = true;
    writer_put_map(&job->run->reply, clamp(pairs));
}

enum stv_status stv_reply_nil(struct stv_job *job) {
    stv_put_nil(job);
    return STV_OK;
}

enum stv_status stv_reply_bool(struct stv_job *job, bool value) {
    stv_put_bool(job, value);
    return STV_OK;
}

enum stv_status stv_reply_int(struct stv_job *job, int64_t value) {
    stv_put_int(job, value);
    return STV_OK;
}

enum stv_status stv_reply_double(struct stv_job *job, double value) {
    stv_put_double(job, value);
    return STV_OK;
}

enum stv_status stv_reply_text(struct stv_job *job, const char *text) {
    stv_put_text(job, text);
    return STV_OK;
}

enum stv_status stv_reply_bytes(struct stv_job *job, const void *data, size_t size) {
    stv_put_bytes(job, data, size);
    return STV_OK;
}

enum stv_status stv_reply_term(struct stv_job *job, const struct stv_term *term) {
    stv_put_term(job, term);
    return STV_OK;
}

enum stv_status stv_reply_take(struct stv_job *job, void *data, size_t size) {
    writer_put_owned(&job->run->reply, data, size);
    return STV_OK;
}

/* --- Errors ------------------------------------------------------------------------------------------------
 */

/* Error texts often quote paths and the like, which need not be UTF-8. */
static const char *copy_text(struct stv_job *job, const char *text) {
    size_t size = 3 * strlen(text) + 1; /* each byte that is no UTF-8 becomes three */
    char *copy = stv_alloc(job, size);
    return copy == NULL ? "(no memory for the text)" : utf8_repair_string(text, copy, size);
}

static enum stv_status fail_with(struct stv_job *job, enum error_kind kind, const char *message) {
    job->run->failure.kind = kind;
    job->run->failure.message = copy_text(job, message);
    return STV_FAILED;
}

enum stv_status stv_fail(struct stv_job *job, const char *code, const char *format, ...) {
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args); /* cut off if longer */
    va_end(args);
    job->run->failure.code = copy_text(job, code);
    return fail_with(job, KIND_FAILED, message);
}

enum stv_status stv_fail_errno(struct stv_job *job, int error, const char *what) {
    char code[32];
    const char *name = strerrorname_np(error);
    (void)snprintf(code, sizeof code, "%s", name == NULL ? "unknown" : name);
    for (char *letter = code; *letter != '\0'; letter++) {
        *letter = (char)(*letter >= 'A' && *letter <= 'Z' ? *letter - 'A' + 'a' : *letter);
    }
    const char *text = strerrordesc_np(error);
    return stv_fail(job, code, "%s: %s", what, text == NULL ? "unknown error" : text);
}

/* The type; for a number the value. What is in a text may be a secret, and errors are logged. */
static const char *describe(const struct stv_term *term, char *room, size_t size) {
    static const char *const names[] = {"an integer",  "a large integer", "a float", "an atom", "a binary",
                                        "a bitstring", "a list",          "a tuple", "a map"};
    if (term == NULL) {
        return "nothing";
    }
    if (stv_type(term) == STV_INTEGER) {
        (void)snprintf(room, size, "%lld", (long long)term->integer);
        return room;
    }
    return stv_term_is(term, "nil") ? "nil" : names[stv_type(term)];
}

enum stv_status stv_bad_arg(struct stv_job *job, const char *name, const char *expected) {
    const struct stv_term *args = stv_args(job);
    bool named = stv_type(args) == STV_MAP; /* else no argument has a name */
    char room[32];
    char message[MESSAGE_MAX];
    (void)snprintf(message, sizeof message, "argument %s: expected %s, %s %s%s", name, expected,
                   named ? "got" : "but the arguments are",
                   describe(named ? stv_arg(job, name) : args, room, sizeof room),
                   named ? "" : ", not a map");
    job->run->failure.arg = copy_text(job, name);
    job->run->failure.expected = copy_text(job, expected);
    return fail_with(job, KIND_BAD_ARGS, message);
}

enum stv_status stv_no_memory(struct stv_job *job) {
    return fail_with(job, KIND_NO_MEMORY, "the op found no memory");
}

enum stv_status stv_too_large(struct stv_job *job, uint64_t limit) {
    char message[MESSAGE_MAX];
    (void)snprintf(message, sizeof message, "the result would be larger than %llu bytes",
                   (unsigned long long)limit);
    job->run->failure.limit = limit;
    return fail_with(job, KIND_TOO_LARGE, message);
}

/* A key that is there already gets the new value (a map with a key twice cannot be decoded); if there is no
 * room, the last one gives way. */
static void put_detail(struct stv_job *job, const char *key, const char *text, int64_t number) {
    struct failure *failure = &job->run->failure;
    uint32_t index = 0;
    while (index < failure->detail_count && strcmp(failure->details[index].key, key) != 0) {
        index++;
    }
    if (index == JOB_MAX_DETAILS) {
        index--;
    } else if (index == failure->detail_count) {
        failure->detail_count++;
    }
    failure->details[index].key = key;
    failure->details[index].text = text;
    failure->details[index].number = number;
}

void stv_detail_text(struct stv_job *job, const char *key, const char *text) {
    put_detail(job, key, copy_text(job, text), 0);
}

void stv_detail_int(struct stv_job *job, const char *key, int64_t value) {
    put_detail(job, key, NULL, value);
}

/* --- While it runs -----------------------------------------------------------------------------------------
 */

bool stv_should_stop(struct stv_job *job) {
    return atomic_load_explicit(&job->cancelled, memory_order_relaxed) ||
           (job->stop_by != 0 && uv_hrtime() >= job->stop_by);
}

bool stv_wait(struct stv_job *job, int64_t milliseconds) {
    uint64_t now = uv_hrtime();
    uint64_t until = UINT64_MAX;
    if (milliseconds < (int64_t)((UINT64_MAX - now) / NS_PER_MS)) {
        until = now + (milliseconds > 0 ? (uint64_t)milliseconds * NS_PER_MS : 0);
    }
    job_wait_until(job->stop_by != 0 && job->stop_by < until ? job->stop_by : until, &job->cancelled);
    return stv_should_stop(job);
}

void stv_progress(struct stv_job *job, uint64_t done, uint64_t total) {
    atomic_store_explicit(&job->total, total, memory_order_relaxed);
    atomic_store_explicit(&job->done, done, memory_order_relaxed);
}

/* An op in C may pass any number. */
static enum stv_level known_level(enum stv_level level) {
    return (unsigned)level <= STV_ERROR ? level : STV_ERROR;
}

void stv_log(struct stv_job *job, enum stv_level level, const char *format, ...) {
    char text[LOG_MAX];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length > 0) {
        size_t size = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
        log_outbox_put(known_level(level), job->id, job->codec, (struct slice){(const uint8_t *)text, size});
    }
}

void *stv_alloc(struct stv_job *job, size_t size) {
    return arena_alloc(&job->run->arena, size);
}

/* What a reply's envelope takes at most, so that a result of this size fits. */
#define ENVELOPE 128u

size_t stv_max_reply(struct stv_job *job) {
    return job->max_reply - ENVELOPE;
}
