/* DESIGN. The walk is libgcc's, which needs neither memory nor locks where glibc has _dl_find_object (2.35).
 * It steps from the handler over the signal's frame to the place that was interrupted, from where on frames
 * are told. A jump to nowhere (a call of a null pointer) has left the one thing that can be told on the
 * stack: where the call returns to. The walk is sent there by changing the saved registers, which are put
 * back afterwards.
 *
 * Another thread takes its own stack, in a signal handler, and gives the addresses to who asked. `question`
 * says who is asked, in which round: a handler that comes too late finds another round, or none, and leaves.
 * Naming is the asker's work.
 *
 * Thread: native_stack_of: loop. The rest: any. */
#include "native_stack.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include "fatal.h"
#include "symbols.h"

#define POLL_NS 50000

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNCHECKED __attribute__((no_sanitize("address")))
#endif
#endif
#if !defined(UNCHECKED)
#define UNCHECKED __attribute__((no_sanitize_address))
#endif

/* --- The walk --- */

#if defined(__x86_64__)
#define HAS_REGISTERS 1
static uintptr_t *saved_pc(ucontext_t *context) {
    return (uintptr_t *)&context->uc_mcontext.gregs[REG_RIP];
}
static uintptr_t *saved_sp(ucontext_t *context) {
    return (uintptr_t *)&context->uc_mcontext.gregs[REG_RSP];
}
/* As `ret` would do. */
static UNCHECKED void step_back(ucontext_t *context) {
    *saved_pc(context) = *(uintptr_t *)*saved_sp(context); /* NOLINT(performance-no-int-to-ptr) */
    *saved_sp(context) += sizeof(uintptr_t);
}
#elif defined(__aarch64__)
#define HAS_REGISTERS 1
static uintptr_t *saved_pc(ucontext_t *context) {
    return (uintptr_t *)&context->uc_mcontext.pc;
}
static uintptr_t *saved_sp(ucontext_t *context) {
    return (uintptr_t *)&context->uc_mcontext.sp;
}
static void step_back(ucontext_t *context) {
    *saved_pc(context) = context->uc_mcontext.regs[30];
}
#endif

struct walk {
    uintptr_t from; /* frames before this address are the handler's */
    bool begun;
    bool stepped_back; /* the first one is where a call returns to */
    bool (*visit)(void *data, uintptr_t pc, bool is_return);
    void *data;
};

static _Unwind_Reason_Code on_frame(struct _Unwind_Context *context, void *data) {
    struct walk *walk = data;
    int is_exact = 0;
    uintptr_t pc = _Unwind_GetIPInfo(context, &is_exact);
    bool is_first = !walk->begun && pc == walk->from;
    walk->begun = walk->begun || is_first;
    if (!walk->begun) {
        return _URC_NO_REASON;
    }
    bool is_return = is_exact == 0 || (is_first && walk->stepped_back);
    return pc != 0 && walk->visit(walk->data, pc, is_return) ? _URC_NO_REASON : _URC_END_OF_STACK;
}

#ifdef HAS_REGISTERS
static void walk_from(ucontext_t *context, struct walk *walk) {
    uintptr_t pc = *saved_pc(context);
    uintptr_t sp = *saved_sp(context);
    if (symbols_find(pc).module == NULL) {
        if (!walk->visit(walk->data, pc, false)) {
            return;
        }
        step_back(context);
        walk->stepped_back = true;
    }
    walk->from = *saved_pc(context);
    (void)_Unwind_Backtrace(on_frame, walk);
    if (!walk->begun) {
        (void)walk->visit(walk->data, walk->from, walk->stepped_back);
    }
    *saved_pc(context) = pc;
    *saved_sp(context) = sp;
}
#else
static void walk_from(ucontext_t *context, struct walk *walk) {
    (void)context; /* begins in the handler itself */
    walk->begun = true;
    (void)_Unwind_Backtrace(on_frame, walk);
}
#endif

__attribute__((noinline)) void
native_stack_walk(void *context, bool (*visit)(void *data, uintptr_t pc, bool is_return), void *data) {
    struct walk walk = {.visit = visit, .data = data};
    if (context != NULL) {
        walk_from(context, &walk);
    } else {
        walk.from = (uintptr_t)__builtin_extract_return_addr(__builtin_return_address(0));
        (void)_Unwind_Backtrace(on_frame, &walk);
    }
}

/* --- Names --- */

static void copy_text(char *to, size_t size, const char *from, size_t length) {
    length = length < size ? length : size - 1;
    memcpy(to, from, length);
    to[length] = '\0';
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

void native_frame_name(struct native_frame *frame, uintptr_t pc, bool is_return) {
    struct symbol symbol = symbols_find(pc - is_return);
    const char *module = symbol.module == NULL ? "" : base_name(symbol.module);
    frame->pc = pc;
    frame->offset = (symbol.function_length > 0 ? symbol.in_function : symbol.in_module) + is_return;
    copy_text(frame->function, sizeof frame->function, symbol.function, symbol.function_length);
    copy_text(frame->module, sizeof frame->module, module, strlen(module));
}

const char *native_frame_text(const struct native_frame *frame, char *text, size_t size) {
    unsigned long long offset = frame->offset;
    if (frame->function[0] != '\0') {
        (void)snprintf(text, size, "%s+0x%llx (%s)", frame->function, offset, frame->module);
    } else if (frame->module[0] != '\0') {
        (void)snprintf(text, size, "%s+0x%llx", frame->module, offset);
    } else {
        (void)snprintf(text, size, "0x%llx", (unsigned long long)frame->pc);
    }
    return text;
}

/* --- Another thread --- */

struct addresses {
    uintptr_t pc[NATIVE_STACK_MAX];
    bool is_return[NATIVE_STACK_MAX];
    size_t count;
};

/* A round in the upper half; in the lower one the thread that is asked, or: */
#define NOBODY   0u
#define ANSWERS  0xfffffffeu
#define ANSWERED 0xffffffffu
static atomic_uint_least64_t question;
static struct addresses answer; /* the answering thread's until ANSWERED, the asker's then */

static uint64_t in_round(uint64_t round, uint32_t state) {
    return round << 32 | state;
}

static bool note_address(void *data, uintptr_t pc, bool is_return) {
    struct addresses *addresses = data;
    addresses->pc[addresses->count] = pc;
    addresses->is_return[addresses->count++] = is_return;
    return addresses->count < NATIVE_STACK_MAX;
}

static void on_asked(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    int error = errno;
    uint64_t asked = atomic_load(&question);
    if ((uint32_t)asked == (uint32_t)gettid()) {
        struct addresses mine = {.count = 0};
        native_stack_walk(context, note_address, &mine);
        if (atomic_compare_exchange_strong(&question, &asked, in_round(asked >> 32, ANSWERS))) {
            answer = mine;
            atomic_store(&question, in_round(asked >> 32, ANSWERED));
        }
    }
    errno = error;
}

static bool wait_for(uint64_t state, unsigned timeout_ms) {
    const struct timespec pause = {.tv_nsec = POLL_NS};
    for (uint64_t left = (uint64_t)timeout_ms * (1000000 / POLL_NS); atomic_load(&question) != state;
         left--) {
        if (left == 0) {
            return false;
        }
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

/* Takes the question back. False: the answer is being given just now. */
static bool take_back(uint64_t asked) {
    return atomic_compare_exchange_strong(&question, &asked, in_round(asked >> 32, NOBODY));
}

static int asking_signal(void) {
    return SIGRTMIN + 7; /* the first few are what libraries take */
}

size_t native_stack_of(pid_t tid, struct native_frame *frames, size_t max, unsigned timeout_ms) {
    uint64_t last = atomic_load(&question);
    uint64_t round = (last >> 32) + 1;
    uint64_t asked = in_round(round & UINT32_MAX, (uint32_t)tid);
    uint64_t answered = in_round(round & UINT32_MAX, ANSWERED);
    if ((uint32_t)last == ANSWERS) {
        return 0; /* a thread has stopped in the middle of an earlier answer */
    }
    atomic_store(&question, asked);
    bool is_asked = syscall(SYS_tgkill, getpid(), tid, asking_signal()) == 0;
    bool is_answered =
        is_asked && (wait_for(answered, timeout_ms) || (!take_back(asked) && wait_for(answered, timeout_ms)));
    if (!is_answered) {
        (void)take_back(asked);
        return 0;
    }
    size_t count = answer.count < max ? answer.count : max;
    for (size_t i = 0; i < count; i++) {
        native_frame_name(&frames[i], answer.pc[i], answer.is_return[i]);
    }
    return count;
}

/* --- Start --- */

static bool go_no_further(void *data, uintptr_t pc, bool is_return) {
    (void)data;
    (void)pc;
    (void)is_return;
    return false;
}

void native_stack_start(void) {
    native_stack_walk(NULL, go_no_further, NULL); /* the unwinder makes its tables at the first use */
    struct sigaction action = {.sa_sigaction = on_asked, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    (void)sigemptyset(&action.sa_mask);
    if (sigaction(asking_signal(), &action, NULL) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot set a signal's handler: %s", strerror(errno));
    }
}
