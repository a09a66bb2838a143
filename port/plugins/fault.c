/* fault: ops that misbehave, to see what becomes of the other jobs, the worker and the host. For tests and
 * for trying things out: load it in no worker that matters.
 *
 * The faults are real ones where the machine allows it: a null pointer written to, memory mapped past the end
 * of its file, a division by zero. Raising a signal would not show that the address and the backtrace of a
 * crash are told right. The functions that do it are not inlined and have telling names, for they are what a
 * backtrace shows.
 *
 * Thread: pool threads. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
#define MAX_BYTES (INT64_C(1) << 40)
#define MAX_MS    INT64_C(86400000)
#define NS_PER_MS INT64_C(1000000)
#define FOR_EVER  INT64_MAX

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * (1000 * NS_PER_MS) + now.tv_nsec;
}

/* --- fault.crash
 * ------------------------------------------------------------------------------------------------ */

/* NULL and 0, but no compiler or analyser can rely on it. */
static int *volatile nowhere;
static volatile int zero;

static FAULTY void crash_by_null_write(void) {
    *(volatile int *)nowhere = 42;
}

/* A page of a file that is shorter: there is an address, but no memory behind it. */
static FAULTY void crash_by_mapping_past_end(void) {
    FILE *empty = tmpfile();
    if (!empty) {
        return;
    }
    volatile char *mapped = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(empty), 0);
    if (mapped != MAP_FAILED) {
        mapped[0] = 42;
    }
}

static FAULTY void crash_by_division(void) {
    volatile int quotient = 42 / zero;
    (void)quotient;
}

static FAULTY void crash_by_illegal_instruction(void) {
    __builtin_trap();
}

static FAULTY void crash_by_abort(void) {
    abort();
}

/* Not a tail call, and a frame that cannot be left out. */
static FAULTY unsigned crash_by_recursion(unsigned depth) {
    volatile char frame[512];
    frame[depth % sizeof frame] = (char)depth;
    if (depth == UINT_MAX) {
        return 0;
    }
    return crash_by_recursion(depth + 1) + (unsigned char)frame[depth % sizeof frame];
}

static FAULTY void crash_by_stack_overflow(void) {
    volatile unsigned depth = crash_by_recursion(0);
    (void)depth;
}

/* Past all frames of its thread, and over what the C library keeps behind them: the thread's own variables.
 */
static FAULTY void crash_by_overwriting_stack(void) {
    volatile char *at = __builtin_frame_address(0);
    for (size_t i = 0; i < 16384; i++) {
        at[i] = 1;
    }
}

static const struct crash {
    const char *name;
    int signal;
    void (*fault)(void); /* NULL: the signal is only sent */
} crashes[] = {
    {"SEGV", SIGSEGV, crash_by_null_write},
    {"BUS", SIGBUS, crash_by_mapping_past_end},
    {"FPE", SIGFPE, crash_by_division},
    {"ILL", SIGILL, crash_by_illegal_instruction},
    {"ABRT", SIGABRT, crash_by_abort},
    {"TRAP", SIGTRAP, NULL},
    {"SYS", SIGSYS, NULL},
    {"TERM", SIGTERM, NULL},
    {"KILL", SIGKILL, NULL},
};

static const struct crash *crash_find(const char *name) {
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++) {
        if (strcmp(crashes[i].name, name) == 0) {
            return &crashes[i];
        }
    }
    return NULL;
}

/* Some machines do not trap where others do (a division by zero on ARM): then the signal is raised after all.
 */
static enum stv_status crash(struct stv_job *job, const struct crash *crash, const char *how) {
    if (strcmp(how, "stack") == 0) {
        crash_by_stack_overflow();
    } else if (strcmp(how, "overwrite") == 0) {
        crash_by_overwriting_stack();
    } else if (strcmp(how, "fault") == 0 && crash->fault) {
        crash->fault();
    }
    if (crash->signal == SIGKILL || crash->signal == SIGTERM) {
        kill(getpid(), crash->signal);
    } else {
        (void)raise(crash->signal);
    }
    return stv_fail(job, "survived", "the worker outlived SIG%s", crash->name);
}

static enum stv_status run_crash(struct stv_job *job) {
    const char *name = "SEGV";
    const struct crash *which = stv_opt_text(job, "signal", &name) ? crash_find(name) : NULL;
    if (!which) {
        return stv_bad_arg(job, "signal", "one of SEGV, BUS, FPE, ILL, ABRT, TRAP, SYS, TERM, KILL");
    }
    const char *how = "fault";
    bool is_text = stv_opt_text(job, "how", &how);
    bool is_of_stack = is_text && (strcmp(how, "stack") == 0 || strcmp(how, "overwrite") == 0);
    if (!is_text || (!is_of_stack && strcmp(how, "fault") != 0 && strcmp(how, "raise") != 0)) {
        return stv_bad_arg(job, "how", "fault, raise, stack or overwrite");
    }
    if (is_of_stack && which->signal != SIGSEGV) {
        return stv_bad_arg(job, "how", "fault or raise: what is done to the stack ends in a SEGV");
    }
    return crash(job, which, how);
}

/* --- fault.hang, fault.spin
 * ------------------------------------------------------------------------------------- */

static FAULTY void hang_busy(int64_t until) {
    while (now_ns() < until) {
    }
}

static FAULTY void hang_blocked(int64_t until) {
    while (now_ns() < until) {
        struct timespec slice = {.tv_nsec = 5 * NS_PER_MS};
        nanosleep(&slice, NULL);
    }
}

/* A lock that nobody gives back. */
static FAULTY void hang_deadlocked(void) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    pthread_mutex_lock(&lock);
}

static enum stv_status run_hang(struct stv_job *job) {
    const char *mode = "blocked";
    bool is_text = stv_opt_text(job, "mode", &mode);
    bool is_busy = is_text && strcmp(mode, "busy") == 0;
    if (!is_busy && (!is_text || strcmp(mode, "blocked") != 0)) {
        return stv_bad_arg(job, "mode", "blocked or busy");
    }
    int64_t ms = FOR_EVER;
    if (!stv_opt_int(job, "ms", &ms) || ms < 0 || (ms > MAX_MS && ms != FOR_EVER)) {
        return stv_bad_arg(job, "ms", "an integer from 0 to 86400000; left out: for ever");
    }
    if (!is_busy && ms == FOR_EVER) {
        hang_deadlocked();
    }
    (is_busy ? hang_busy : hang_blocked)(ms == FOR_EVER ? INT64_MAX : now_ns() + ms * NS_PER_MS);
    return stv_reply_nil(job);
}

static enum stv_status run_spin(struct stv_job *job) {
    int64_t total;
    if (!stv_arg_int(job, "ms", &total) || total < 0 || total > MAX_MS) {
        return stv_bad_arg(job, "ms", "an integer from 0 to 86400000");
    }
    int64_t start = now_ns();
    for (int64_t spun = 0; spun < total; spun = (now_ns() - start) / NS_PER_MS) {
        stv_progress(job, (uint64_t)spun, (uint64_t)total);
        if (stv_should_stop(job)) {
            return STV_STOPPED;
        }
    }
    stv_progress(job, (uint64_t)total, (uint64_t)total);
    return stv_reply_nil(job);
}

/* --- fault.leak, fault.alloc
 * ------------------------------------------------------------------------------------ */

static bool read_bytes_arg(struct stv_job *job, size_t *bytes) {
    int64_t value;
    bool is_good = stv_arg_int(job, "bytes", &value) && value >= 0 && value <= MAX_BYTES;
    *bytes = is_good ? (size_t)value : 0;
    return is_good;
}

/* Memory counts only once it is written to. */
static enum stv_status touch(struct stv_job *job, unsigned char *memory, size_t size) {
    for (size_t done = 0; done < size;) {
        size_t chunk = size - done < MEBIBYTE ? size - done : MEBIBYTE;
        memset(memory + done, 0x5a, chunk);
        done += chunk;
        stv_progress(job, done, size);
        if (stv_should_stop(job)) {
            return STV_STOPPED;
        }
    }
    return STV_OK;
}

static enum stv_status run_alloc(struct stv_job *job) {
    size_t bytes;
    if (!read_bytes_arg(job, &bytes)) {
        return stv_bad_arg(job, "bytes", "an integer from 0 to 2^40");
    }
    unsigned char *memory = malloc(bytes ? bytes : 1);
    if (!memory) {
        return stv_no_memory(job);
    }
    enum stv_status status = touch(job, memory, bytes);
    free(memory);
    return status == STV_OK ? stv_reply_int(job, (int64_t)bytes) : status;
}

static enum stv_status run_leak(struct stv_job *job) {
    size_t bytes;
    if (!read_bytes_arg(job, &bytes)) {
        return stv_bad_arg(job, "bytes", "an integer from 0 to 2^40");
    }
    static _Thread_local unsigned char *volatile leaked; /* stored, so that no compiler drops malloc */
    leaked = malloc(bytes ? bytes : 1);
    if (!leaked) {
        return stv_no_memory(job);
    }
    enum stv_status status = touch(job, leaked, bytes);
    return status == STV_OK ? stv_reply_int(job, (int64_t)bytes) : status;
}

/* --- fault.print, fault.exit
 * ------------------------------------------------------------------------------------ */

static enum stv_status print(struct stv_job *job, FILE *stream, struct stv_bytes text, int64_t times) {
    for (int64_t i = 0; i < times; i++) {
        if (stv_should_stop(job)) {
            return STV_STOPPED;
        }
        bool printed = fwrite(text.data, 1, text.size, stream) == text.size && fflush(stream) == 0;
        if (!printed) {
            return stv_fail_errno(job, errno, "printing");
        }
    }
    return stv_reply_int(job, times);
}

static enum stv_status run_print(struct stv_job *job) {
    struct stv_bytes text;
    if (!stv_arg_bytes(job, "text", &text)) {
        return stv_bad_arg(job, "text", "a binary");
    }
    int64_t times = 1;
    if (!stv_opt_int(job, "times", &times) || times < 0 || times > 1000000) {
        return stv_bad_arg(job, "times", "an integer from 0 to 1000000");
    }
    const char *to = "stdout";
    bool is_text = stv_opt_text(job, "to", &to);
    if (!is_text || (strcmp(to, "stdout") != 0 && strcmp(to, "stderr") != 0)) {
        return stv_bad_arg(job, "to", "stdout or stderr");
    }
    return print(job, strcmp(to, "stdout") == 0 ? stdout : stderr, text, times);
}

static FAULTY void exit_from_a_library(int code) {
    exit(code);
}

static enum stv_status run_exit(struct stv_job *job) {
    int64_t code = 0;
    if (!stv_opt_int(job, "code", &code) || code < 0 || code > 255) {
        return stv_bad_arg(job, "code", "an integer from 0 to 255");
    }
    bool is_quick = true;
    if (!stv_opt_bool(job, "quick", &is_quick)) {
        return stv_bad_arg(job, "quick", "true or false");
    }
    if (!is_quick) {
        exit_from_a_library((int)code);
    }
    _exit((int)code);
}

/* --- the plugin
 * ------------------------------------------------------------------------------------------------- */

static const struct stv_op ops[] = {
    {"fault.crash", run_crash,
     "Dies. `signal`: SEGV (the default), BUS, FPE, ILL, ABRT, TRAP, SYS, TERM or KILL. `how`: fault (the "
     "default: really "
     "doing what causes it, where there is such a thing), raise, stack (overflows it) or overwrite (writes "
     "past "
     "its beginning, over the thread's own variables; both only SEGV).",
     0},
    {"fault.hang", run_hang,
     "Does not stop when told to. `mode`: blocked (the default: a deadlock) or busy. `ms`: only for so long, "
     "then "
     "replies nil; left out: for ever.",
     0},
    {"fault.spin", run_spin,
     "Uses a CPU for `ms` milliseconds and replies nil, but stops when told to. Progress: milliseconds.",
     STV_IDEMPOTENT},
    {"fault.leak", run_leak, "Allocates `bytes`, writes to them, forgets them, and replies how many.", 0},
    {"fault.alloc", run_alloc, "Allocates `bytes`, writes to them, frees them, and replies how many.",
     STV_IDEMPOTENT},
    {"fault.print", run_print,
     "Prints the binary `text`, as it is, `times` times (default 1) to `to`: stdout (the default) or stderr; "
     "replies how "
     "often.",
     0},
    {"fault.exit", run_exit,
     "Ends the process with `code` (default 0). `quick`: true (the default) by _exit, false by exit, as a "
     "careless library "
     "would.",
     0},
};

STV_PLUGIN("fault", "1.0.0", ops);
