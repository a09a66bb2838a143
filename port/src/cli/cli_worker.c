/* The worker's stdin is closed behind the call: it finishes what it got, answers, says bye and ends (PROTOCOL
 * §11), so the end of its output is the end of the exchange, and how it died is known once it is reaped.
 * Thread: main, the only one. */
#include "cli_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "cli_json.h"
#include "cli_options.h"
#include "cli_progress.h"
#include "error_kind.h"
#include "fatal.h"
#include "frame.h"
#include "frame_reader.h"
#include "message_term.h"
#include "writer.h"

#define CALL_ID        1
#define PROGRESS_MS    100
#define STUCK_AFTER_MS 1000 /* what an op gets to notice that its time is up, before that is told */
#define KILL_AFTER_MS  2000 /* … and before it is killed */

struct exchange {
    const struct cli_worker_call *call;
    pid_t pid;
    int to;
    struct frame_reader from;
    bool is_answered;
    int code;
};

/* --- Errors on stderr --- */

/* The first error or result decides; prints the error as an object that starts with its kind. */
static void answer_error(struct exchange *exchange, yyjson_mut_doc *document, const char *kind, size_t length,
                         yyjson_mut_val *error) {
    yyjson_mut_val *key = yyjson_mut_str(document, "kind");
    yyjson_mut_val *value = yyjson_mut_strn(document, kind, length);
    yyjson_mut_obj_insert(error, key, value, 0);
    cli_progress_clear();
    if (!cli_json_print(stderr, error, CLI_JSON_INDENTED)) {
        cli_say("%.*s", (int)length, kind);
    }
    exchange->is_answered = true;
    exchange->code = EXIT_ANSWER_IS_ERROR;
}

/* An error of our own, about a worker that did not answer. */
static void __attribute__((format(printf, 3, 4)))
answer_own_error(struct exchange *exchange, enum error_kind kind, const char *format, ...) {
    char message[200];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    yyjson_mut_doc *document = must(yyjson_mut_doc_new(NULL));
    yyjson_mut_val *error = yyjson_mut_obj(document);
    yyjson_mut_obj_add_str(document, error, "message", message);
    const char *name = error_kind_name(kind);
    answer_error(exchange, document, name, strlen(name), error);
    yyjson_mut_doc_free(document);
}

/* --- What the worker says (PROTOCOL §5) --- */

static void on_ok(struct exchange *exchange, const struct stv_term *message) {
    cli_progress_clear();
    exchange->is_answered = true;
    exchange->code = exchange->call->take_result(exchange->call->context, stv_item(message, 2));
}

static void on_error(struct exchange *exchange, const struct stv_term *message) {
    struct stv_bytes kind = {0};
    stv_term_bytes(stv_item(message, 2), &kind);
    yyjson_mut_doc *document = must(yyjson_mut_doc_new(NULL));
    yyjson_mut_val *details =
        stv_count(message) > 3 ? cli_json_from_term(document, stv_item(message, 3)) : NULL;
    yyjson_mut_val *error = yyjson_mut_is_obj(details) ? details : yyjson_mut_obj(document);
    answer_error(exchange, document, (const char *)kind.data, kind.size, error);
    yyjson_mut_doc_free(document);
}

static void on_progress(struct exchange *exchange, const struct stv_term *message) {
    int64_t done = 0, total = 0;
    stv_term_int(stv_item(message, 2), &done);
    stv_term_int(stv_item(message, 3), &total);
    if (exchange->call->shows_progress) {
        cli_progress_show(done, total);
    }
}

static void on_log(struct exchange *exchange, const struct stv_term *message) {
    (void)exchange;
    struct stv_bytes level = {0}, text = {0};
    stv_term_bytes(stv_item(message, 1), &level);
    stv_term_bytes(stv_item(message, 2), &text);
    if (stv_count(message) == 3 && stv_term_is(stv_item(message, 1), "error")) {
        return; /* why it cannot start (PROTOCOL §5.4): it is on stderr already */
    }
    cli_progress_clear();
    (void)fprintf(stderr, "[%.*s] %.*s\n", (int)level.size, (const char *)level.data, (int)text.size,
                  (const char *)text.data);
}

/* A warning, with the stack below it. */
static void on_stuck(struct exchange *exchange, const struct stv_term *message) {
    (void)exchange;
    const struct stv_term *stack = stv_item(message, 3);
    cli_progress_clear();
    (void)fputs("[warning] the op was asked to stop and goes on\n", stderr);
    for (size_t i = 0; i < stv_count(stack); i++) {
        struct stv_bytes frame = {0};
        stv_term_bytes(stv_item(stack, i), &frame);
        (void)fprintf(stderr, "  %.*s\n", (int)frame.size, (const char *)frame.data);
    }
}

static void on_bye(struct exchange *exchange, const struct stv_term *message) {
    (void)exchange;
    (void)message;
}

static void dispatch(struct exchange *exchange, const struct stv_term *message) {
    static const struct {
        const char *tag;
        void (*take)(struct exchange *exchange, const struct stv_term *message);
    } handlers[] = {{"ok", on_ok},   {"error", on_error}, {"progress", on_progress},
                    {"log", on_log}, {"stuck", on_stuck}, {"bye", on_bye}};
    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        if (stv_count(message) > 0 && stv_term_is(stv_item(message, 0), handlers[i].tag)) {
            handlers[i].take(exchange, message);
            return;
        }
    }
    cli_say("ignored a message of an unknown kind from the worker");
}

static bool take_message(void *context, struct slice bytes) {
    struct exchange *exchange = context;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    const struct stv_term *message;
    const char *reason;
    bool fine = message_term_read(&arena, bytes, &message, &reason) == MESSAGE_TERM_OK;
    if (fine) {
        dispatch(exchange, message);
    } else {
        cli_say("cannot read what the worker said: %s", reason);
    }
    arena_finish(&arena);
    return fine;
}

/* --- Start --- */

#define MOST_ARGUMENTS (2 * SERVE_MOST_PLUGINS + 8)

/* The worker's command line; `numbers` is memory for what has to be printed. One job needs one thread. */
static void list_arguments(const struct serve_options *options, const char **arguments, char numbers[32]) {
    size_t count = 0;
    arguments[count++] = "stevedore";
    arguments[count++] = "--threads";
    arguments[count++] = "1";
    (void)snprintf(numbers, 32, "%zu", options->max_frame);
    arguments[count++] = "--max-frame";
    arguments[count++] = numbers;
    for (size_t i = 0; i < options->plugin_count; i++) {
        arguments[count++] = "--plugin";
        arguments[count++] = options->plugins[i];
    }
    arguments[count] = NULL;
}

/* This executable again, with its stdin and stdout as given and everything else inherited. Returns 0 or an
 * errno. */
static int spawn(const struct serve_options *options, int in, int out, pid_t *pid) {
    const char *arguments[MOST_ARGUMENTS];
    char numbers[32];
    list_arguments(options, arguments, numbers);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    int error = posix_spawn(pid, "/proc/self/exe", &files, NULL, (char *const *)arguments, environ);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

/* False: there is no worker, and that was said. */
static bool start(struct exchange *exchange) {
    (void)signal(SIGPIPE, SIG_IGN); /* a worker that died is noticed when its output ends */
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) {
        cli_say("cannot make a pipe: %s", strerror(errno));
        return false;
    }
    int error = spawn(&exchange->call->worker, to[0], from[1], &exchange->pid);
    close(to[0]);
    close(from[1]);
    (void)fcntl(to[1], F_SETFL, O_NONBLOCK);
    exchange->to = to[1];
    frame_reader_init(&exchange->from, from[0], exchange->call->worker.max_frame);
    if (error != 0) {
        cli_say("cannot start a worker: %s", strerror(error));
    }
    return error == 0;
}

/* --- The call --- */

static void compose(struct writer *writer, const struct cli_worker_call *call) {
    uint32_t options = 2 * (call->timeout_ms > 0) + call->shows_progress;
    writer_put_message(writer, 5);
    writer_put_symbol(writer, "call");
    writer_put_id(writer, CALL_ID);
    writer_put_text(writer, call->op);
    writer_put_term(writer, call->args);
    writer_put_map(writer, options);
    if (call->timeout_ms > 0) {
        writer_put_text(writer, "timeout");
        writer_put_int(writer, call->timeout_ms);
        writer_put_text(writer, "kill_after");
        writer_put_int(writer, STUCK_AFTER_MS);
    }
    if (call->shows_progress) {
        writer_put_text(writer, "progress");
        writer_put_int(writer, PROGRESS_MS);
    }
}

/* How long the worker may do nothing at all, in ms for poll. */
static int patience(const struct cli_worker_call *call) {
    int64_t ms = (int64_t)call->timeout_ms + KILL_AFTER_MS;
    if (call->timeout_ms == 0) {
        return -1;
    }
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* False: for so long the worker has taken nothing. One that died meanwhile is noticed when its output ends:
 * no error here. */
static bool write_all(int fd, const uint8_t *bytes, size_t size, int patience_ms) {
    struct pollfd pipe = {.fd = fd, .events = POLLOUT};
    while (size > 0) {
        if (poll(&pipe, 1, patience_ms) == 0) {
            return false;
        }
        ssize_t count = write(fd, bytes, size);
        if (count < 0 && errno != EINTR && errno != EAGAIN) {
            return true;
        }
        bytes += count > 0 ? count : 0;
        size -= count > 0 ? (size_t)count : 0;
    }
    return true;
}

static void answer_not_taken(struct exchange *exchange) {
    kill(exchange->pid, SIGKILL);
    answer_own_error(exchange, KIND_TIMED_OUT, "the worker did not take the call for %d ms: it was killed",
                     patience(exchange->call));
}

static void send_written(struct exchange *exchange, const struct writer *writer) {
    size_t size = writer_size(writer);
    uint8_t *frame = must(malloc(FRAME_HEADER + size));
    write_be32(frame, (uint32_t)size);
    writer_copy(writer, frame + FRAME_HEADER);
    if (!write_all(exchange->to, frame, FRAME_HEADER + size, patience(exchange->call))) {
        answer_not_taken(exchange);
    }
    free(frame);
}

static void send_call(struct exchange *exchange) {
    struct writer writer;
    writer_init(&writer, &codec_etf, exchange->call->worker.max_frame);
    compose(&writer, exchange->call);
    if (writer_is_complete(&writer)) {
        send_written(exchange, &writer);
    } else if (writer.error == WRITER_TOO_LARGE) {
        answer_own_error(exchange, KIND_TOO_LARGE, "the call is larger than --max-frame");
    } else {
        answer_own_error(exchange, KIND_BAD_REQUEST,
                         "the arguments are nested too deeply, or memory ran out");
    }
    writer_finish(&writer);
    close(exchange->to);
}

static void answer_late(struct exchange *exchange) {
    kill(exchange->pid, SIGKILL);
    if (!exchange->is_answered) {
        answer_own_error(exchange, KIND_TIMED_OUT,
                         "the op ran longer than %" PRIu32
                         " ms and did not stop when asked: its worker was killed",
                         exchange->call->timeout_ms);
    }
}

static void receive(struct exchange *exchange) {
    if (exchange->call->timeout_ms > 0) {
        exchange->from.deadline_ms = frame_reader_clock() + exchange->call->timeout_ms + KILL_AFTER_MS;
    }
    struct slice frame;
    enum frame_reader_status status;
    while ((status = frame_reader_next(&exchange->from, &frame)) == FRAME_READER_FRAME) {
        message_term_each(frame, take_message, exchange);
    }
    if (status == FRAME_READER_LATE) {
        answer_late(exchange);
    } else if (status == FRAME_READER_FAILED) {
        cli_say("cannot read from the worker: %s", exchange->from.reason);
        kill(exchange->pid, SIGKILL);
    }
}

/* --- End --- */

/* A worker's own reasons to end, which it has told on stderr (PROTOCOL §11.1); any other code is the op's
 * doing. */
static bool is_code_of_worker(int code) {
    return code >= EXIT_WRONG_USAGE && code <= EXIT_NO_MEMORY;
}

/* Why there was no answer, from how the worker ended. */
static void judge_end(struct exchange *exchange, int status) {
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        answer_own_error(exchange, KIND_CRASHED, "the op killed its worker: SIG%s (%s)",
                         name == NULL ? "?" : name, strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) == EXIT_CALLED) {
        answer_own_error(exchange, KIND_CRASHED, "the op, or a library in it, called exit()");
    } else if (!is_code_of_worker(WEXITSTATUS(status))) {
        answer_own_error(exchange, KIND_CRASHED, "the op ended its worker with exit code %d",
                         WEXITSTATUS(status));
    } else {
        exchange->code = WEXITSTATUS(status);
        cli_say("the worker ended with exit code %d before it answered", exchange->code);
    }
}

static void reap(struct exchange *exchange) {
    int status = 0;
    while (waitpid(exchange->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!exchange->is_answered) {
        judge_end(exchange, status);
    }
}

int cli_worker_call(const struct cli_worker_call *call) {
    struct exchange exchange = {.call = call};
    if (!start(&exchange)) {
        return EXIT_NO_RESOURCES;
    }
    send_call(&exchange);
    receive(&exchange);
    cli_progress_clear();
    reap(&exchange);
    close(exchange.from.fd);
    frame_reader_finish(&exchange.from);
    return exchange.code;
}
