/* Jobs that leave a trace: each execution appends two lines to the file that the environment variable
 * STEVEDORE_LEDGER names, `start KEY PID TID NS` before it does anything and `end KEY PID TID NS HOW` as the
 * last thing before it replies. One write(2) to a descriptor opened with O_APPEND makes a line, so lines are
 * whole whoever dies, and what is there has happened. NS is CLOCK_MONOTONIC, HOW is ok, stopped or failed.
 *
 * Between the two a job waits `ms` and, half-way, may do what `fault` says. What does it is not inlined and
 * has a telling name, for that is what a backtrace shows.
 *
 * Thread: pool threads. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "stevedore.h"

/* Exactly what sanitizers are there to find. */
#if defined(__clang__)
#define FAULTY __attribute__((noinline, no_sanitize("undefined")))
#else
#define FAULTY __attribute__((noinline, no_sanitize_undefined))
#endif

#define MEBIBYTE  ((size_t)1 << 20)
#define MAX_KEY   128
#define MAX_MS    INT64_C(86400000)
#define MAX_BYTES (INT64_C(1) << 40)
#define LAST_FD   255

struct work {
    const char *key;
    const char *fault;
    int64_t ms;
    int64_t bytes; /* what `leak` leaks */
};

/* --- The ledger --------------------------------------------------------------------------------------------
 */

static int ledger = -1; /* opened before any job */

static const char *open_ledger(void) {
    const char *path = getenv("STEVEDORE_LEDGER");
    ledger = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    return ledger < 0 ? "STEVEDORE_LEDGER must name a file that can be written" : NULL;
}

/* Without its line an execution is not to be: then the ledger could not be believed. */
static void note(const char *what, const char *key, const char *how) {
    char line[PIPE_BUF];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int length = snprintf(line, sizeof line, "%s %s %d %ld %lld%09ld%s\n", what, key, (int)getpid(),
                          syscall(SYS_gettid), (long long)now.tv_sec, now.tv_nsec, how);
    if (length < 0 || (size_t)length >= sizeof line || write(ledger, line, (size_t)length) != length) {
        _exit(EXIT_FAILURE);
    }
}

/* --- Faults that end the process ---------------------------------------------------------------------------
 */

/* NULL and 0, but no compiler or analyser can rely on it. */
static int *volatile nowhere;
static volatile int zero;

static FAULTY void ledger_segv(void) {
    *(volatile int *)nowhere = 42;
}

static FAULTY void ledger_fpe(void) {
    volatile int quotient = 42 / zero;
    (void)quotient;
    (void)raise(SIGFPE); /* some machines do not trap */
}

static FAULTY void ledger_abort(void) {
    abort();
}

/* Not a tail call, and a frame that cannot be left out. */
static FAULTY unsigned ledger_recursion(unsigned depth) {
    volatile char frame[512];
    frame[depth % sizeof frame] = (char)depth;
    if (depth == UINT_MAX) {
        return 0;
    }
    return ledger_recursion(depth + 1) + (unsigned char)frame[depth % sizeof frame];
}

static FAULTY void ledger_stack(void) {
    volatile unsigned depth = ledger_recursion(0);
    (void)depth;
}

static FAULTY void ledger_exit(void) {
    exit(3);
}

/* Nothing but the missing `bye` tells this from an orderly end. */
static FAULTY void ledger_quick_exit(void) {
    _exit(0);
}

/* --- Faults that do not ------------------------------------------------------------------------------------
 */

static FAULTY void ledger_hang(void) {
    for (;;) {
        (void)pause();
    }
}

static FAULTY void ledger_hang_busy(void) {
    while (zero == 0) {
    }
}

static FAULTY void ledger_stop_self(void) {
    (void)kill(getpid(), SIGSTOP);
}

/* Writes to what it gets, for memory counts only then, until it has enough or is refused more. */
static FAULTY enum stv_status ledger_leak(struct stv_job *job, const struct work *work) {
    static _Thread_local unsigned char *volatile leaked; /* stored, so that no compiler drops malloc */
    for (int64_t done = 0; done < work->bytes; done += (int64_t)MEBIBYTE) {
        leaked = malloc(MEBIBYTE);
        if (!leaked) {
            return stv_no_memory(job);
        }
        memset(leaked, 0x5a, MEBIBYTE);
        if (stv_should_stop(job)) {
            return STV_STOPPED;
        }
    }
    return STV_OK;
}

static enum stv_status ledger_fail(struct stv_job *job) {
    return stv_fail(job, "on_purpose", "told to fail");
}

/* --- Faults of the stream ----------------------------------------------------------------------------------
 */

static bool is_pipe(int fd, int access, struct stat *status) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) == access && fstat(fd, status) == 0 && S_ISFIFO(status->st_mode);
}

static bool is_read_here(const struct stat *pipe) {
    struct stat other;
    for (int fd = 0; fd <= LAST_FD; fd++) {
        if (is_pipe(fd, O_RDONLY, &other) && other.st_dev == pipe->st_dev && other.st_ino == pipe->st_ino) {
            return true;
        }
    }
    return false;
}

/* The worker keeps the descriptor of its replies to itself. It is a pipe that nobody reads in here, and was
 * made after the copy of stderr, which may be one, too. */
static int find_protocol_output(void) {
    struct stat status;
    for (int fd = LAST_FD; fd > STDERR_FILENO; fd--) {
        if (is_pipe(fd, O_WRONLY, &status) && !is_read_here(&status)) {
            return fd;
        }
    }
    return -1;
}

static FAULTY void ledger_half_frame(void) {
    static const char half[] = "\0\0\0\100\203 a frame of 64 bytes";
    (void)!write(find_protocol_output(), half, sizeof half - 1);
    _exit(0);
}

static FAULTY void ledger_garbage(void) {
    static const char garbage[] = "\0\0\0\10no term!";
    (void)!write(find_protocol_output(), garbage, sizeof garbage - 1);
}

/* --- The ops -----------------------------------------------------------------------------------------------
 */

/* Those after which there is nothing to say. */
static const struct fault {
    const char *name;
    void (*run)(void);
} faults[] = {
    {"segv", ledger_segv},
    {"abort", ledger_abort},
    {"fpe", ledger_fpe},
    {"stack", ledger_stack},
    {"exit", ledger_exit},
    {"_exit", ledger_quick_exit},
    {"hang", ledger_hang},
    {"hang_busy", ledger_hang_busy},
    {"stop_self", ledger_stop_self},
    {"half_frame", ledger_half_frame},
    {"garbage", ledger_garbage},
};

static const struct fault *fault_find(const char *name) {
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (strcmp(faults[i].name, name) == 0) {
            return &faults[i];
        }
    }
    return NULL;
}

static bool is_known(const char *fault) {
    return strcmp(fault, "none") == 0 || strcmp(fault, "leak") == 0 || strcmp(fault, "fail") == 0 ||
           fault_find(fault);
}

static enum stv_status do_fault(struct stv_job *job, const struct work *work) {
    const struct fault *fault = fault_find(work->fault);
    if (fault) {
        fault->run();
    } else if (strcmp(work->fault, "leak") == 0) {
        return ledger_leak(job, work);
    } else if (strcmp(work->fault, "fail") == 0) {
        return ledger_fail(job);
    }
    return STV_OK;
}

static enum stv_status do_work(struct stv_job *job, const struct work *work) {
    if (stv_wait(job, work->ms / 2)) {
        return STV_STOPPED;
    }
    enum stv_status status = do_fault(job, work);
    if (status == STV_OK && stv_wait(job, work->ms - work->ms / 2)) {
        return STV_STOPPED;
    }
    return status;
}

static bool is_good_key(const char *key) {
    return *key != '\0' && strlen(key) <= MAX_KEY && strpbrk(key, " \n") == NULL;
}

static enum stv_status run(struct stv_job *job) {
    struct work work = {.fault = "none", .bytes = INT64_C(64) << 20};
    if (!stv_arg_text(job, "key", &work.key) || !is_good_key(work.key)) {
        return stv_bad_arg(job, "key", "a text of 1 to 128 bytes without spaces");
    }
    note("start", work.key, "");
    if (!stv_opt_int(job, "ms", &work.ms) || work.ms < 0 || work.ms > MAX_MS) {
        return stv_bad_arg(job, "ms", "an integer from 0 to 86400000");
    }
    if (!stv_opt_text(job, "fault", &work.fault) || !is_known(work.fault)) {
        return stv_bad_arg(job, "fault", "one that ledger.c knows");
    }
    if (!stv_opt_int(job, "bytes", &work.bytes) || work.bytes < 0 || work.bytes > MAX_BYTES) {
        return stv_bad_arg(job, "bytes", "an integer from 0 to 2^40");
    }
    enum stv_status status = do_work(job, &work);
    note("end", work.key, status == STV_OK ? " ok" : status == STV_STOPPED ? " stopped" : " failed");
    return status == STV_OK ? stv_reply_text(job, work.key) : status;
}

#define DOC                                                                                                  \
    "Notes its `key` in the ledger, takes `ms` milliseconds (default 0), stops when told to, replies the "   \
    "key. "                                                                                                  \
    "`fault`, half-way: none (the default), segv, abort, fpe, stack, exit, _exit, hang, hang_busy, leak "    \
    "(`bytes`, default 64 MiB), half_frame, garbage, fail, stop_self."

static const struct stv_op ops[] = {
    {"ledger.work", run, DOC, 0},
    {"ledger.idempotent", run, DOC, STV_IDEMPOTENT},
};

STV_PLUGIN_WITH("ledger", "1.0.0", ops, open_ledger, NULL);
