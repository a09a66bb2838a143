/* DESIGN. The first thread that crashes records; others that crash meanwhile wait for the end of the process,
 * but not for ever. What is known at once is noted first, the frames one by one: a walk over a broken stack
 * may crash itself, and then ends the process with the first signal and the frames found so far.
 *
 * A signal that another process sent, or that was sent to the whole process, is not the doing of the job
 * whose thread it happens to strike: no job is named.
 *
 * A handler that is there already stays: a sanitizer's, which reports more than we could, and dies in a way
 * its tests look for (told `handle_segv=0`, it leaves the signal to us). One that a plugin sets later takes
 * our place, and may call us.
 *
 * Everything below crash_start may be called in a signal handler: no memory, no locks. */
#include "crash.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "black_box.h"
#include "fatal.h"
#include "native_stack.h"
#include "symbols.h"

#define STACK_SIZE   ((size_t)64 << 10)
#define GUARD_SIZE   ((size_t)16 << 10)
#define MOST_WAIT_MS 2000

static const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP};

static atomic_int recorder; /* its tid; 0: nobody crashed */
static atomic_int first_signal;

/* --- Death --- */

/* Returns only where the system does not kill: the first process of a container. A fault then repeats. */
static void die_of(int signal_number) {
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigset_t one;
    if (signal_number == 0) {
        _exit(EXIT_CALLED);
    }
    (void)sigaction(signal_number, &by_default, NULL);
    (void)sigemptyset(&one);
    (void)sigaddset(&one, signal_number);
    (void)pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    (void)raise(signal_number);
}

/* True: this thread records. Otherwise another one does, or this one has and crashed again. */
static bool claim(int signal_number) {
    const struct timespec millisecond = {.tv_nsec = 1000000};
    int by = 0;
    if (atomic_compare_exchange_strong(&recorder, &by, gettid())) {
        atomic_store(&first_signal, signal_number);
        return true;
    }
    for (int i = 0; by != gettid() && i < MOST_WAIT_MS; i++) {
        (void)nanosleep(&millisecond, NULL);
    }
    die_of(atomic_load(&first_signal));
    return false;
}

/* --- The record --- */

struct recording {
    struct black_box_crash *crash;
    const char *skip; /* innermost frames of this module; NULL: none */
};

static bool note_frame(void *data, uintptr_t pc, bool is_return) {
    struct recording *recording = data;
    struct black_box_crash *crash = recording->crash;
    if (recording->skip != NULL && symbols_find(pc - is_return).module == recording->skip) {
        return true;
    }
    recording->skip = NULL;
    uint32_t count = atomic_load(&crash->frame_count);
    native_frame_name(&crash->frames[count], pc, is_return);
    atomic_store(&crash->frame_count, count + 1);
    return count + 1 < NATIVE_STACK_MAX;
}

/* Completes a record of which all else is filled in. */
static void note_stack(struct black_box_crash *crash, void *context, const char *skip) {
    struct recording recording = {crash, skip};
    atomic_store(&crash->frame_count, 0);
    atomic_store(&crash->state, CRASH_NOTED);
    native_stack_walk(context, note_frame, &recording);
    atomic_store(&crash->state, CRASH_COMPLETE);
}

static bool is_own_doing(const siginfo_t *info) {
    return info->si_code > 0 || (info->si_code == SI_TKILL && info->si_pid == getpid());
}

static void record(struct black_box_crash *crash, const siginfo_t *info, void *context) {
    crash->signal = info->si_signo;
    crash->code = info->si_code;
    crash->at = uv_hrtime();
    if (info->si_code > 0) {
        crash->address = (uintptr_t)info->si_addr;
    } else {
        crash->sender = (uint32_t)info->si_pid;
    }
    black_box_note_run(crash, is_own_doing(info));
    note_stack(crash, context, NULL);
}

static void on_crash(int signal_number, siginfo_t *info, void *context) {
    if (claim(signal_number)) {
        struct black_box_crash *crash = black_box_crash();
        if (crash != NULL) {
            record(crash, info, context);
        }
        die_of(signal_number);
    }
}

void crash_note_exit(void) {
    struct black_box_crash *crash = black_box_crash();
    if (crash != NULL && claim(0)) {
        crash->at = uv_hrtime();
        black_box_note_run(crash, true);
        note_stack(crash, NULL, symbols_find((uintptr_t)&crash_note_exit).module);
    }
}

/* --- Start --- */

void crash_join(void) {
    stack_t stack;
    if (sigaltstack(NULL, &stack) != 0 || (stack.ss_flags & SS_DISABLE) == 0) {
        return; /* this thread has one: ours, or a sanitizer's */
    }
    char *memory = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        fatal(EXIT_NO_RESOURCES, "no memory for a stack for signals");
    }
    stack = (stack_t){.ss_sp = memory + GUARD_SIZE, .ss_size = STACK_SIZE};
    if (mprotect(memory, GUARD_SIZE, PROT_NONE) != 0 || sigaltstack(&stack, NULL) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot set a stack for signals: %s", strerror(errno));
    }
}

void crash_start(void) {
    struct sigaction ours = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction present;
    (void)sigemptyset(&ours.sa_mask);
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++) {
        bool is_free = sigaction(deadly[i], NULL, &present) == 0 && (present.sa_flags & SA_SIGINFO) == 0 &&
                       (present.sa_handler == SIG_DFL || present.sa_handler == SIG_IGN);
        if (is_free && sigaction(deadly[i], &ours, NULL) != 0) {
            fatal(EXIT_NO_RESOURCES, "cannot set a signal's handler: %s", strerror(errno));
        }
    }
}
